"""Reads the tensors that other libraries hand over by DLPack (https://dmlc.github.io/dlpack), version 0 of its structs."""

import ctypes
from ctypes import POINTER, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p

# Memory of a GPU; managed memory is as good.
_CUDA = (2, 13)

# The legacy default stream. Whoever hands a tensor over makes it wait for the work that the tensor still needs.
STREAM = 1

# Code and bits of an element type, and the number of it in infer.h.
_DTYPES = {
    (2, 32): 1,
    (2, 64): 2,
    (2, 16): 3,
    (4, 16): 4,
    (0, 8): 5,
    (0, 16): 6,
    (0, 32): 7,
    (0, 64): 8,
    (1, 8): 9,
    (1, 16): 10,
    (1, 32): 11,
    (1, 64): 12,
    (6, 8): 13,
}


class _Tensor(ctypes.Structure):
    """DLTensor, with which DLManagedTensor begins"""

    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]


def is_cuda(value):
    """Whether a value is a tensor in a GPU's memory."""
    return hasattr(value, "__dlpack_device__") and value.__dlpack_device__()[0] in _CUDA


class View:
    """A tensor that somebody else owns; it lasts as long as this object.

    dtype: number of the element type in infer.h. address: of the first element. device_id: number of the GPU.
    """

    def __init__(self, value):
        # Its destructor gives the tensor back.
        self._capsule = value.__dlpack__(stream=STREAM)
        tensor = ctypes.cast(_pointer_of(self._capsule, b"dltensor"), POINTER(_Tensor)).contents
        self.shape = tuple(tensor.shape[: tensor.ndim])
        self.dtype = _DTYPES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
        self.size = tensor.bits // 8
        self.address = (tensor.data or 0) + tensor.byte_offset
        self.device_id = tensor.device_id
        self.contiguous = not tensor.strides or self._is_contiguous(tensor.strides[: tensor.ndim])

    @property
    def nbytes(self):
        """Bytes of the elements."""
        count = self.size
        for extent in self.shape:
            count *= extent
        return count

    def _is_contiguous(self, strides):
        if 0 in self.shape:
            return True
        distance = 1
        for extent, stride in reversed(list(zip(self.shape, strides))):
            if extent != 1 and stride != distance:
                return False
            distance *= extent
        return True
