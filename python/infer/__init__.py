"""Runs neural networks with libinfer.

    import infer

    infer.convert("resnet50.onnx", "resnet50.infer")
    session = infer.Session("resnet50.infer", threads=4)
    [logits] = session.run({"image": image})
"""

import ctypes
import math
import os
import subprocess

import numpy as np

from . import _dlpack, _library
from ._library import lib

__all__ = ["ConversionError", "Error", "Port", "Session", "convert"]

_DTYPES = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.float16),
    5: np.dtype(np.int8),
    6: np.dtype(np.int16),
    7: np.dtype(np.int32),
    8: np.dtype(np.int64),
    9: np.dtype(np.uint8),
    10: np.dtype(np.uint16),
    11: np.dtype(np.uint32),
    12: np.dtype(np.uint64),
    13: np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_BF16 = 4

try:
    import ml_dtypes

    _DTYPES[_BF16] = np.dtype(ml_dtypes.bfloat16)
    _CODES[_DTYPES[_BF16]] = _BF16
except ImportError:
    # NumPy has no bfloat16 of its own: its bits stand in for it.
    _DTYPES[_BF16] = np.dtype(np.uint16)


class Error(RuntimeError):
    """What the library says of a failed call: `status` is its name in infer.h, `node` and `op` where in the model it failed."""

    def __init__(self, message, status="", node="", op="", os_error=0):
        super().__init__(message)
        self.status, self.node, self.op, self.os_error = status, node, op, os_error


class ConversionError(Error):
    """The converter refuses a model: it is damaged, or has something that is not supported."""


def _check(status):
    if status != _library.OK:
        error = _library.ErrorInfo(struct_size=ctypes.sizeof(_library.ErrorInfo))
        lib.infer_last_error(error)
        text = [field.decode(errors="replace") for field in (error.message, error.node, error.op)]
        raise Error(text[0], lib.infer_status_name(status).decode(), text[1], text[2], error.os_error)


def convert(source, destination, metadata=None):
    """Converts a model file; `metadata` is a dict of texts to store in the new one.

    Raises ConversionError if the model cannot be converted.
    """
    command = [_library.find_command(), "convert", "--quiet", os.fspath(source), os.fspath(destination)]
    for key, value in (metadata or {}).items():
        command += ["--metadata", f"{key}={value}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        message = done.stderr.strip().removeprefix("infer: ") or f"`infer convert` ended with status {done.returncode}"
        raise (ConversionError if done.returncode == 1 else Error)(message)


class Port:
    """An input or output of a model.

    `dtype` is NumPy's; `shape` has a number for each fixed extent, and a name or formula for each that varies.
    """

    def __init__(self, info):
        self.name = info.name.decode()
        self.code = info.dtype
        self.dtype = _DTYPES[info.dtype]
        extents = zip(info.shape[: info.rank], info.dim_names[: info.rank])
        self.shape = tuple(extent if extent >= 0 else name.decode() for extent, name in extents)
        self.fixed = all(isinstance(extent, int) for extent in self.shape)

    def __repr__(self):
        return f"Port(name={self.name!r}, dtype={self.dtype}, shape={self.shape})"


def _ports(model, count, describe):
    ports = []
    for index in range(count(model)):
        info = _library.TensorInfo(struct_size=ctypes.sizeof(_library.TensorInfo))
        _check(describe(model, index, info))
        ports.append(Port(info))
    return ports


def _metadata(model):
    key, value = ctypes.c_char_p(), ctypes.c_char_p()
    entries = {}
    for index in range(lib.infer_model_metadata_count(model)):
        _check(lib.infer_model_metadata_at(model, index, key, value))
        entries[key.value.decode()] = value.value.decode()
    return entries


class Session:
    """A model ready to run; any number of threads may run it at once.

    path: the model file.
    threads: how many threads work on a run, the calling one among them; 0 is one for each core.
    device: "cpu", "cuda", "cuda:1", or with the GPU's UUID "cuda:GPU-8f6d3c1e-…".
    precision: how a GPU computes what the model has in f32, "f32", "tf32", "f16" or "bf16".
    keep_f32: names of nodes that it computes in f32 whatever the precision is.
    check: whether the first NaN or infinity that a run has or computes ends it with an error that names the node; slow.
    """

    def __init__(self, path, threads=0, device="cpu", precision="f32", keep_f32=(), check=False):
        self._handle = ctypes.c_void_p()
        self._destroy = lib.infer_session_destroy
        model, options = ctypes.c_void_p(), ctypes.c_void_p()
        try:
            _check(lib.infer_model_open(os.fsencode(path), None, model))
            self.inputs = _ports(model, lib.infer_model_input_count, lib.infer_model_input_info)
            self.outputs = _ports(model, lib.infer_model_output_count, lib.infer_model_output_info)
            self.metadata = _metadata(model)
            _check(lib.infer_session_options_create(options))
            _check(lib.infer_session_options_set_threads(options, _unsigned(threads)))
            _set_device(options, device)
            _check(lib.infer_session_options_set_precision(options, _precision(precision)))
            for node in keep_f32:
                _check(lib.infer_session_options_keep_f32(options, node.encode()))
            _check(lib.infer_session_options_set_check(options, bool(check)))
            _check(lib.infer_session_create(model, options, self._handle))
        finally:
            lib.infer_session_options_destroy(options)
            lib.infer_model_destroy(model)
        self._names = {port.name for port in self.inputs}
        self._shapes = {}
        self._idle = []

    def __del__(self):
        self._destroy(self._handle)

    def memory(self):
        """What the session occupies, as a dict: bytes by what they are for, and the numbers of `contexts` and `plans`."""
        info = _library.MemoryInfo(struct_size=ctypes.sizeof(_library.MemoryInfo))
        _check(lib.infer_session_memory(self._handle, info))
        return {name: getattr(info, name) for name, _ in info._fields_ if name != "struct_size"}

    def run(self, feed, timeout=None):
        """Runs the model on a dict of an array for each input's name; returns the list of its outputs.

        A session on a GPU also takes contiguous tensors in that GPU's memory, of any library that speaks DLPack (PyTorch, CuPy,
        JAX). The run comes behind what that library has still to do for them.

        timeout: seconds after which the run ends with an error.
        """
        if feed.keys() != self._names:
            raise ValueError(f"inputs {sorted(feed)} are given; the model takes {sorted(self._names)}")
        # Each call that is under way has tensors of its own.
        call = self._idle.pop() if self._idle else _Call(self)
        try:
            return call.run(feed, timeout)
        finally:
            self._idle.append(call)


def _unsigned(number):
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{number} threads")
    return number


def _set_device(options, name):
    try:
        _check(lib.infer_session_options_set_device_name(options, name.encode(), 0))
    except Error as error:
        raise ValueError(str(error)) from None


def _precision(text):
    kinds = ("f32", "tf32", "f16", "bf16")
    if text not in kinds:
        raise ValueError(f"precision {text!r} is none of {', '.join(map(repr, kinds))}")
    return kinds.index(text)


class _Call:
    """The C tensors of one run at a time. What stays the same from run to run stays in them."""

    def __init__(self, session):
        # Not the session itself, which holds its calls: it would live until the garbage collector comes by.
        self.handle, self.shapes = session._handle, session._shapes
        self.tensors = _tensors(session.inputs), _tensors(session.outputs)
        self.inputs = [_Input(tensor, port) for tensor, port in zip(self.tensors[0], session.inputs)]
        self.outputs = list(zip(self.tensors[1], session.outputs))

    def run(self, feed, timeout):
        # Nothing else keeps alive what had to be converted.
        arrays = [slot.set(feed[slot.port.name]) for slot in self.inputs]
        options = _options(timeout, any(isinstance(array, _dlpack.View) for array in arrays))
        known = self.shapes
        key = tuple([slot.shape for slot in self.inputs])
        shapes = known.get(key)
        results = shapes and self._run_into(shapes, options)
        if results is None:
            results = self._run_and_copy(options)
            if len(known) > 1024:
                known.clear()
            # An array without elements has no memory that the library could write to.
            known[key] = [result.shape for result in results] if all(result.size for result in results) else None
        del arrays
        return results

    def _run_into(self, shapes, options):
        """Runs into new arrays of the shapes that the outputs had last time; None if they have too little room now."""
        results = []
        for (tensor, port), shape in zip(self.outputs, shapes):
            array = np.empty(shape, port.dtype)
            tensor.data, tensor.capacity = array.__array_interface__["data"][0], array.nbytes
            results.append(array)
        if not self._run(options):
            return None
        for index, (tensor, port) in enumerate(self.outputs):
            shape = port.shape if port.fixed else tuple(tensor.shape[: tensor.rank])
            if shape != results[index].shape:
                # It depends on more than the shapes of the inputs.
                results[index] = results[index].reshape(-1)[: math.prod(shape)].reshape(shape)
        return results

    def _run_and_copy(self, options):
        """Runs into memory of the library's, and copies the outputs from there."""
        for tensor, _ in self.outputs:
            tensor.data, tensor.capacity = None, 0
        self._run(options)
        results = []
        for tensor, port in self.outputs:
            result = np.empty(tuple(tensor.shape[: tensor.rank]), port.dtype)
            ctypes.memmove(result.__array_interface__["data"][0], tensor.data, tensor.byte_len)
            lib.infer_tensor_release(tensor)
            results.append(result)
        return results

    def _run(self, options):
        """Whether the outputs had room."""
        inputs, outputs = self.tensors
        status = lib.infer_session_run(self.handle, options, inputs, len(inputs), outputs, len(outputs))
        if status == _library.BUFFER_TOO_SMALL:
            return False
        _check(status)
        return True


def _options(timeout, on_gpu):
    """The C settings of a run, or None; with inputs in a GPU's memory it goes into the stream that waits for them."""
    if timeout is None and not on_gpu:
        return None
    options = _library.RunOptions(struct_size=ctypes.sizeof(_library.RunOptions))
    if timeout is not None:
        options.timeout_ns = max(1, int(timeout * 1e9))
    if on_gpu:
        options.stream = _dlpack.STREAM
    return ctypes.byref(options)


class _Input:
    """One input's tensor, and the type and shape that it describes now."""

    def __init__(self, tensor, port):
        self.tensor, self.port = tensor, port
        self.shape = self.dtype = None

    def set(self, value):
        """Describes an array; what it returns must be kept until the run is over."""
        port = self.port
        if not isinstance(value, np.ndarray) and _dlpack.is_cuda(value):
            return self._set_cuda(_dlpack.View(value))
        if self.tensor.device != _library.CPU:
            self.tensor.device, self.tensor.device_id, self.shape = _library.CPU, 0, None
        array = value if isinstance(value, np.ndarray) else np.asarray(value, None if hasattr(value, "dtype") else port.dtype)
        if not array.flags.c_contiguous or not array.dtype.isnative:
            array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        if array.shape != self.shape or array.dtype != self.dtype:
            self._describe(array)
        self.tensor.data = array.__array_interface__["data"][0]
        return array

    def _set_cuda(self, view):
        """As `set`, of a tensor in a GPU's memory."""
        name, tensor = self.port.name, self.tensor
        if view.dtype is None:
            raise TypeError(f"input '{name}': the tensor's elements are of no type that a model can take")
        if len(view.shape) > _library.MAX_RANK:
            raise ValueError(f"input '{name}': {len(view.shape)} dimensions; there can be {_library.MAX_RANK} at most")
        if not view.contiguous:
            raise ValueError(f"input '{name}': a tensor in a GPU's memory must be contiguous; copy it to one that is")
        tensor.device, tensor.device_id = _library.CUDA, view.device_id
        tensor.dtype, tensor.rank, tensor.byte_len = view.dtype, len(view.shape), view.nbytes
        tensor.shape[: tensor.rank] = view.shape
        tensor.data = view.address
        self.shape, self.dtype = view.shape, None
        return view

    def _describe(self, array):
        name, wanted = self.port.name, self.port.dtype
        code = self.port.code if array.dtype == wanted else _CODES.get(array.dtype)
        if code is None:
            raise TypeError(f"input '{name}': {array.dtype} elements are given; the model takes {wanted}")
        if array.ndim > _library.MAX_RANK:
            raise ValueError(f"input '{name}': {array.ndim} dimensions; there can be {_library.MAX_RANK} at most")
        tensor = self.tensor
        tensor.dtype, tensor.rank, tensor.byte_len = code, array.ndim, array.nbytes
        tensor.shape[: array.ndim] = array.shape
        self.shape, self.dtype = array.shape, array.dtype


def _tensors(ports):
    tensors = (_library.Tensor * len(ports))()
    for tensor in tensors:
        tensor.struct_size = ctypes.sizeof(_library.Tensor)
    return tensors
