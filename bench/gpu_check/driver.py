"""Memory and streams of a GPU, and runs of sessions that stay in them."""

import ctypes
from ctypes import byref, c_char, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

import infer
import numpy as np
from infer import _library


class Gpu:
    """The first GPU, by the driver's API. Its primary context is current on the thread that makes this."""

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = c_int(), c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", byref(device), 0)
        self("cuDevicePrimaryCtxRetain", byref(context), device)
        self("cuCtxPushCurrent_v2", context)

    def __call__(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} returns {code}")

    def free(self):
        """Bytes that nobody uses, once all work is done."""
        free, total = c_size_t(), c_size_t()
        self("cuCtxSynchronize")
        self("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def allocate(self, count):
        address = c_void_p()
        self("cuMemAlloc_v2", byref(address), c_size_t(max(1, count)))
        return address.value

    def release(self, address):
        self("cuMemFree_v2", c_void_p(address))

    def upload(self, array):
        address = self.allocate(array.nbytes)
        self("cuMemcpyHtoD_v2", c_void_p(address), array.ctypes.data_as(c_void_p), c_size_t(array.nbytes))
        return address

    def download(self, address, like):
        array = np.empty_like(like)
        self("cuMemcpyDtoH_v2", array.ctypes.data_as(c_void_p), c_void_p(address), c_size_t(array.nbytes))
        return array

    def stream(self):
        """One that does not wait for the default stream."""
        stream = c_void_p()
        self("cuStreamCreate", byref(stream), 1)
        return stream

    def wait(self, stream):
        self("cuStreamSynchronize", stream)


class Resident:
    """A session whose inputs and outputs are in the GPU's memory, run in a stream of ours."""

    ASYNC = 1

    def __init__(self, gpu, session, arrays):
        self.gpu, self.session, self.stream = gpu, session, gpu.stream()
        # What comes from the host's memory tells the shapes of the outputs.
        self.likes = session.run({port.name: array for port, array in zip(session.inputs, arrays)})
        self.inputs = self._tensors([(gpu.upload(array), array) for array in arrays], session.inputs)
        self.outputs = self._tensors([(gpu.allocate(like.nbytes), like) for like in self.likes], session.outputs)
        size = ctypes.sizeof(_library.RunOptions)
        self.options = _library.RunOptions(struct_size=size, flags=self.ASYNC, stream=self.stream)

    def _tensors(self, places, ports):
        tensors = (_library.Tensor * len(places))()
        for tensor, (address, array), port in zip(tensors, places, ports):
            tensor.struct_size, tensor.dtype, tensor.device = ctypes.sizeof(_library.Tensor), port.code, _library.CUDA
            tensor.data, tensor.rank, tensor.byte_len, tensor.capacity = address, array.ndim, array.nbytes, array.nbytes
            tensor.shape[: array.ndim] = array.shape
        return tensors

    def run(self):
        """Puts a run into the stream."""
        inputs, outputs = self.inputs, self.outputs
        handle, options = self.session._handle, byref(self.options)
        infer._check(infer.lib.infer_session_run(handle, options, inputs, len(inputs), outputs, len(outputs)))

    def wait(self):
        self.gpu.wait(self.stream)

    def results(self):
        self.wait()
        return [self.gpu.download(tensor.data, like) for tensor, like in zip(self.outputs, self.likes)]

    def close(self):
        self.wait()
        for tensor in (*self.inputs, *self.outputs):
            self.gpu.release(tensor.data)


class DeviceInfo(ctypes.Structure):
    """infer_device_info"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("capability", c_uint32),
        ("units", c_uint32),
        ("reserved", c_uint32),
        ("memory", c_uint64),
        ("memory_used", c_uint64),
        ("memory_reserved", c_uint64),
        ("uuid", c_uint8 * 16),
        ("name", c_char * 128),
    ]


def describe():
    """What the library says of the first GPU."""
    info = DeviceInfo(struct_size=ctypes.sizeof(DeviceInfo))
    infer._check(infer.lib.infer_device_describe(c_uint32(_library.CUDA), c_int(0), byref(info)))
    return info


def trim():
    infer._check(infer.lib.infer_device_trim(c_uint32(_library.CUDA), c_int(0)))
