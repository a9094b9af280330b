"""The binding on a GPU, or what it says where there is none. With INFER_TEST_DEVICE=cuda there must be one; the stand-in for the
driver (tests/cuda) counts."""

import ctypes
import os
import pathlib
import tempfile
import unittest
from ctypes import POINTER, byref, c_int, c_int64, c_void_p

import numpy as np

import infer
from infer import _dlpack

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "digits" / "digits.onnx"
DATA = ROOT / "tests" / "data" / "digits"


class Managed(ctypes.Structure):
    """DLManagedTensor"""

    Deleter = ctypes.CFUNCTYPE(None, c_void_p)
    _fields_ = [("tensor", _dlpack._Tensor), ("context", c_void_p), ("deleter", Deleter)]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [c_void_p, ctypes.c_char_p, c_void_p]


class Driver:
    """As much of the CUDA driver as it takes to have memory of a GPU."""

    def __init__(self):
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = c_int(), c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", byref(device), 0)
        self("cuDevicePrimaryCtxRetain", byref(context), device)
        self("cuCtxPushCurrent_v2", context)
        self.device = device

    def __call__(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} returns {code}")

    def close(self):
        self("cuCtxPopCurrent_v2", byref(c_void_p()))
        self("cuDevicePrimaryCtxRelease_v2", self.device)


class Resident:
    """An array in a GPU's memory, which fills only when somebody waits for it. `given` and `returned` count its capsules."""

    CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}

    def __init__(self, driver, array, device_id=0, strides=None):
        self.driver, self.array, self.address = driver, np.ascontiguousarray(array), c_void_p()
        driver("cuMemAlloc_v2", byref(self.address), ctypes.c_size_t(max(1, array.nbytes)))
        self.given = self.returned = 0
        self.shape = (c_int64 * array.ndim)(*array.shape)
        self.strides = (c_int64 * array.ndim)(*strides) if strides else POINTER(c_int64)()
        code, bits = self.CODES[array.dtype.kind], 8 * array.dtype.itemsize
        tensor = _dlpack._Tensor(self.address, 2, device_id, array.ndim, code, bits, 1, self.shape, self.strides, 0)
        self.managed = Managed(tensor, None, Managed.Deleter(self._return))
        self.destroy = Managed.Deleter(lambda capsule: self.managed.deleter(ctypes.addressof(self.managed)))

    def __dlpack_device__(self):
        return (2, self.managed.tensor.device_id)

    def __dlpack__(self, stream=None):
        source = self.array.ctypes.data_as(c_void_p)
        self.driver("cuMemcpyHtoDAsync_v2", self.address, source, ctypes.c_size_t(self.array.nbytes), c_void_p(stream))
        self.given += 1
        return _new_capsule(ctypes.addressof(self.managed), b"dltensor", ctypes.cast(self.destroy, c_void_p))

    def _return(self, managed):
        self.returned += 1

    def free(self):
        self.driver("cuMemFree_v2", self.address)


class Digits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.path = os.path.join(cls.folder.name, "digits.infer")
        infer.convert(SOURCE, cls.path)
        cls.cpu = infer.Session(cls.path, threads=1)
        cls.images = np.load(DATA / "images.npy")[:16, None].astype(np.float32) / 255

    def fails(self, status, words, call):
        with self.assertRaises(infer.Error) as caught:
            call()
        self.assertEqual(caught.exception.status, status)
        self.assertIn(words, str(caught.exception))


class Anywhere(Digits):
    def test_a_gpu_that_is_not_there(self):
        self.fails("INFER_ERROR_DEVICE", "driver", lambda: infer.Session(self.path, device="cuda:4096"))
        unknown = "cuda:GPU-00000000-0000-0000-0000-000000000000"
        self.fails("INFER_ERROR_DEVICE", "", lambda: infer.Session(self.path, device=unknown))
        for wrong in ("gpu", "cuda:x", "cuda:-1", "cuda:GPU-0"):
            with self.assertRaisesRegex(ValueError, "cuda:N"):
                infer.Session(self.path, device=wrong)

    def test_precision_has_a_name(self):
        with self.assertRaisesRegex(ValueError, "'f8'.*'bf16'"):
            infer.Session(self.path, precision="f8")
        [wanted], [got] = (infer.Session(self.path, precision=p).run({"image": self.images}) for p in ("f32", "f16"))
        np.testing.assert_array_equal(got, wanted)


class OnGpu(Digits):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.session = infer.Session(cls.path, device="cuda")
        except infer.Error as error:
            if error.status != "INFER_ERROR_DEVICE" or os.environ.get("INFER_TEST_DEVICE") == "cuda":
                raise
            raise unittest.SkipTest(str(error))
        cls.driver = Driver()
        cls.addClassCleanup(cls.driver.close)

    def resident(self, array, **options):
        made = Resident(self.driver, array, **options)
        self.addCleanup(made.free)
        return made

    def close(self, got, wanted, tolerance=1e-4):
        self.assertEqual((got.dtype, got.shape), (wanted.dtype, wanted.shape))
        self.assertLess(np.abs(got - wanted).max(), tolerance * np.abs(wanted).max())

    def test_answers_of_the_processor(self):
        # The first run of a shape, the one that is captured, and those that are replayed; with other shapes in between.
        for count in (1, 1, 1, 5, 1, 5, 5):
            batch = {"image": self.images[:count]}
            self.close(self.session.run(batch)[0], self.cpu.run(batch)[0])

    def test_smaller_floats(self):
        wanted = self.cpu.run({"image": self.images})[0]
        for precision, tolerance in (("tf32", 5e-3), ("f16", 2e-2), ("bf16", 5e-2)):
            session = infer.Session(self.path, device="cuda:0", precision=precision)
            self.close(session.run({"image": self.images})[0], wanted, tolerance)

    def test_memory(self):
        session = infer.Session(self.path, device="cuda")
        session.run({"image": self.images})
        memory = session.memory()
        self.assertTrue(memory["device_weights"] > 0 and memory["device_arenas"] > 0 and memory["staging"] > 0)

    def test_overflow_in_f16(self):
        bright = {"image": np.full((1, 1, 8, 8), 6e4, np.float32)}
        with self.assertRaises(infer.Error) as caught:
            infer.Session(self.path, device="cuda", precision="f16", check=True).run(bright)
        self.assertEqual((caught.exception.status, caught.exception.op), ("INFER_ERROR_NOT_FINITE", "Conv"))
        self.assertIn("keep the node in f32", str(caught.exception))
        infer.Session(self.path, device="cuda", check=True).run(bright)

    def test_tensors_in_its_memory(self):
        for count in (2, 2, 2, 3, 2):
            batch = self.images[:count]
            tensor = self.resident(batch)
            self.close(self.session.run({"image": tensor})[0], self.cpu.run({"image": batch})[0])
            self.assertEqual((tensor.given, tensor.returned), (1, 1))
        # The same tensor with other contents, and the host's memory again.
        for seed in range(4):
            tensor.array[...] = np.random.default_rng(seed).random(tensor.array.shape, np.float32)
            wanted = self.cpu.run({"image": tensor.array})[0]
            self.close(self.session.run({"image": tensor})[0], wanted)
            self.close(self.session.run({"image": tensor.array})[0], wanted)

    def test_strides_of_contiguous_tensors(self):
        batch = self.images[:1]
        # The stride of an extent of 1 does not matter.
        tensor = self.resident(batch, strides=(999, 64, 8, 1))
        self.close(self.session.run({"image": tensor})[0], self.cpu.run({"image": batch})[0])

    def test_tensors_that_do_not_fit(self):
        def given(array, session=self.session, **options):
            return lambda: session.run({"image": self.resident(array, **options)})

        batch = self.images[:2]
        self.fails("INFER_ERROR_DTYPE", "'image'", given(batch.astype(np.float64)))
        self.fails("INFER_ERROR_DTYPE", "'image'", given(batch.astype(np.int32)))
        self.fails("INFER_ERROR_SHAPE", "'image'", given(batch[:, 0]))
        self.fails("INFER_ERROR_DEVICE", "CUDA device 3", given(batch, device_id=3))
        self.fails("INFER_ERROR_DEVICE", "the processor", given(batch, session=self.cpu))
        with self.assertRaisesRegex(TypeError, "'image'.*type"):
            given(batch.astype(np.complex64))()
        with self.assertRaisesRegex(ValueError, "'image'.*contiguous"):
            given(batch, strides=(1, 64, 16, 2))()
        with self.assertRaisesRegex(ValueError, "'image'.*9 dimensions"):
            given(batch.reshape(2, 1, 1, 1, 1, 1, 1, 8, 8))()
        # Later runs know nothing of it.
        self.close(self.session.run({"image": batch})[0], self.cpu.run({"image": batch})[0])

    def test_a_deadline(self):
        tensor = self.resident(self.images)
        self.fails("INFER_ERROR_CANCELLED", "", lambda: self.session.run({"image": tensor}, timeout=1e-9))
        self.assertEqual((tensor.given, tensor.returned), (1, 1))
        self.close(self.session.run({"image": tensor}, timeout=600)[0], self.cpu.run({"image": self.images})[0])


if __name__ == "__main__":
    unittest.main()
