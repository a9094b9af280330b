"""Finds libinfer and the `infer` command, and declares what of the C interface is used here (see infer.h)."""

import ctypes
import os
import pathlib
import shutil
from ctypes import POINTER, c_char, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

MAX_RANK = 8
OK = 0
BUFFER_TOO_SMALL = 8
CPU, CUDA = 0, 1

_HERE = pathlib.Path(__file__).resolve().parent
_CHECKOUT = _HERE.parent.parent


class Tensor(ctypes.Structure):
    """infer_tensor"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_uint32),
        ("rank", c_uint32),
        ("flags", c_uint32),
        ("device", c_uint32),
        ("device_id", c_int32),
        ("data", c_void_p),
        ("byte_len", c_uint64),
        ("capacity", c_uint64),
        ("shape", c_int64 * MAX_RANK),
        ("strides", c_int64 * MAX_RANK),
        ("owner", c_void_p),
    ]


class TensorInfo(ctypes.Structure):
    """infer_tensor_info"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_uint32),
        ("rank", c_uint32),
        ("reserved", c_uint32),
        ("name", c_char_p),
        ("shape", c_int64 * MAX_RANK),
        ("dim_names", c_char_p * MAX_RANK),
        ("dim_min", c_int64 * MAX_RANK),
        ("dim_max", c_int64 * MAX_RANK),
    ]


class ErrorInfo(ctypes.Structure):
    """infer_error"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("status", c_int32),
        ("os_error", c_int32),
        ("reserved", c_uint32),
        ("message", c_char * 512),
        ("node", c_char * 128),
        ("op", c_char * 64),
    ]


class MemoryInfo(ctypes.Structure):
    """infer_memory_info"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("contexts", c_uint32),
        ("weights", c_uint64),
        ("rearranged", c_uint64),
        ("arenas", c_uint64),
        ("scratch", c_uint64),
        ("copies", c_uint64),
        ("plans", c_uint64),
        ("device_weights", c_uint64),
        ("device_arenas", c_uint64),
        ("staging", c_uint64),
    ]


class RunOptions(ctypes.Structure):
    """infer_run_options"""

    _fields_ = [
        ("struct_size", c_uint32),
        ("flags", c_uint32),
        ("timeout_ns", c_uint64),
        ("cancel", c_void_p),
        ("stream", c_void_p),
        ("event", c_void_p),
        ("done", c_void_p),
        ("user_data", c_void_p),
    ]


_FUNCTIONS = {
    "infer_version": (c_uint32, []),
    "infer_status_name": (c_char_p, [c_int32]),
    "infer_last_error": (c_int32, [POINTER(ErrorInfo)]),
    "infer_model_open": (c_int32, [c_char_p, c_void_p, POINTER(c_void_p)]),
    "infer_model_destroy": (None, [c_void_p]),
    "infer_model_input_count": (c_size_t, [c_void_p]),
    "infer_model_output_count": (c_size_t, [c_void_p]),
    "infer_model_input_info": (c_int32, [c_void_p, c_size_t, POINTER(TensorInfo)]),
    "infer_model_output_info": (c_int32, [c_void_p, c_size_t, POINTER(TensorInfo)]),
    "infer_model_metadata_count": (c_size_t, [c_void_p]),
    "infer_model_metadata_at": (c_int32, [c_void_p, c_size_t, POINTER(c_char_p), POINTER(c_char_p)]),
    "infer_session_options_create": (c_int32, [POINTER(c_void_p)]),
    "infer_session_options_destroy": (None, [c_void_p]),
    "infer_session_options_set_threads": (c_int32, [c_void_p, c_uint32]),
    "infer_session_options_set_device_name": (c_int32, [c_void_p, c_char_p, c_uint32]),
    "infer_session_options_set_precision": (c_int32, [c_void_p, c_uint32]),
    "infer_session_options_keep_f32": (c_int32, [c_void_p, c_char_p]),
    "infer_session_options_set_check": (c_int32, [c_void_p, c_uint32]),
    "infer_session_create": (c_int32, [c_void_p, c_void_p, POINTER(c_void_p)]),
    "infer_session_memory": (c_int32, [c_void_p, POINTER(MemoryInfo)]),
    "infer_session_destroy": (None, [c_void_p]),
    "infer_session_run": (c_int32, [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]),
    "infer_tensor_release": (None, [POINTER(Tensor)]),
}


def _candidates():
    if os.environ.get("INFER_LIBRARY"):
        yield pathlib.Path(os.environ["INFER_LIBRARY"])
        return
    for folder in (_HERE, _CHECKOUT / "dist" / "lib"):
        yield folder / "libinfer.so.1"


def _load():
    places = list(_candidates())
    for path in places:
        if path.exists():
            library = ctypes.CDLL(os.fspath(path))
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
            return library
    tried = ", ".join(map(str, places))
    raise ImportError(f"libinfer is not at {tried}: build it with `make build`, or set INFER_LIBRARY to its path")


def find_command():
    """The path of the `infer` command."""
    if os.environ.get("INFER_CLI"):
        return os.environ["INFER_CLI"]
    for path in (_HERE / "infer", shutil.which("infer"), _CHECKOUT / "target" / "release" / "infer"):
        if path and os.access(path, os.X_OK) and os.path.isfile(path):
            return os.fspath(path)
    raise FileNotFoundError("the `infer` command is not to be found: build it with `make build`, or set INFER_CLI to its path")


lib = _load()
