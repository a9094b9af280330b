"""The binding on the digit classifier."""

import os
import pathlib
import tempfile
import threading
import unittest
import weakref

import numpy as np

import infer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "digits" / "digits.onnx"
DATA = ROOT / "tests" / "data" / "digits"


class Digits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "digits.infer")
        infer.convert(SOURCE, cls.path, metadata={"labels": "0 to 9"})
        cls.session = infer.Session(cls.path, threads=2)
        cls.images = np.load(DATA / "images.npy")[:, None].astype(np.float32) / 255
        cls.logits = np.load(DATA / "logits.npy")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def close(self, got, wanted):
        self.assertEqual((got.dtype, got.shape), (wanted.dtype, wanted.shape))
        self.assertLess(np.abs(got - wanted).max(initial=0), 1e-4 * np.abs(self.logits).max())

    def test_ports(self):
        [image], [logits] = self.session.inputs, self.session.outputs
        self.assertEqual((image.name, image.dtype, image.shape), ("image", np.float32, ("batch", 1, 8, 8)))
        self.assertEqual((logits.name, logits.dtype, logits.shape), ("logits", np.float32, ("batch", 10)))
        self.assertEqual(self.session.metadata["labels"], "0 to 9")

    def test_answers_of_any_batch(self):
        for count in (1, 7, 1, 0, 450, 0):
            [logits] = self.session.run({"image": self.images[:count]})
            self.close(logits, self.logits[:count])

    def test_results_are_new_arrays(self):
        [first] = self.session.run({"image": self.images[:1]})
        [second] = self.session.run({"image": self.images[1:2]})
        self.close(first, self.logits[:1])
        self.close(second, self.logits[1:2])

    def test_inputs_of_any_layout(self):
        batch = self.images[:6]
        wanted = self.session.run({"image": batch})[0]
        bytes_ = np.frombuffer(b"x" + batch.tobytes(), np.uint8)[1:]
        for same in (
            np.asfortranarray(batch),
            batch[::-1].copy()[::-1],
            batch.astype(">f4"),
            np.repeat(batch, 2, axis=0)[::2],
            bytes_.view(np.float32).reshape(batch.shape),
            batch.tolist(),
        ):
            np.testing.assert_array_equal(self.session.run({"image": same})[0], wanted)

    def test_errors_tell_what_is_wrong(self):
        def fails(status, words, call):
            with self.assertRaises(infer.Error) as caught:
                call()
            self.assertEqual(caught.exception.status, status)
            self.assertIn(words, str(caught.exception))

        run = self.session.run
        fails("INFER_ERROR_DTYPE", "'image'", lambda: run({"image": self.images.astype(np.float64)}))
        fails("INFER_ERROR_SHAPE", "'image'", lambda: run({"image": self.images[:, 0]}))
        fails("INFER_ERROR_CANCELLED", "deadline", lambda: run({"image": self.images}, timeout=1e-9))
        fails("INFER_ERROR_IO", "/no/such", lambda: infer.Session("/no/such"))
        fails("INFER_ERROR_FORMAT", "", lambda: infer.Session(SOURCE))
        fails("INFER_ERROR_INVALID_ARGUMENT", "1025", lambda: infer.Session(self.path, threads=1025))
        fails("INFER_ERROR_DEVICE", "CUDA", lambda: infer.Session(self.path, device="cuda:4096"))
        with self.assertRaisesRegex(ValueError, "picture.*image"):
            run({"picture": self.images})
        with self.assertRaisesRegex(TypeError, "complex"):
            run({"image": self.images.astype(np.complex64)})
        with self.assertRaises(ValueError):
            infer.Session(self.path, device="abacus")
        self.close(run({"image": self.images[:1]})[0], self.logits[:1])

    def test_numbers_that_are_not_finite(self):
        session = infer.Session(self.path, threads=1, check=True)
        self.close(session.run({"image": self.images[:2]})[0], self.logits[:2])
        for value, where in ((np.nan, ""), (3e38, "Conv")):
            with self.assertRaises(infer.Error) as caught:
                session.run({"image": np.full((1, 1, 8, 8), value, np.float32)})
            self.assertEqual(caught.exception.status, "INFER_ERROR_NOT_FINITE")
            self.assertEqual(caught.exception.op, where)
        with self.assertRaisesRegex(infer.Error, "no such node"):
            infer.Session(self.path, keep_f32=["no such node"])

    def test_memory(self):
        session = infer.Session(self.path, threads=1)
        before = session.memory()
        session.run({"image": self.images[:2]})
        after = session.memory()
        self.assertEqual((before["contexts"], after["contexts"], after["plans"]), (0, 1, 1))
        self.assertEqual(before["weights"], after["weights"])
        self.assertGreater(after["arenas"], before["arenas"])

    def test_what_cannot_be_converted(self):
        with self.assertRaisesRegex(infer.ConversionError, "no/such"):
            infer.convert("no/such.onnx", os.path.join(self.folder.name, "x"))
        with self.assertRaises(infer.ConversionError):
            infer.convert(__file__, os.path.join(self.folder.name, "x"))

    def test_threads_share_a_session(self):
        wanted = self.session.run({"image": self.images[:5]})[0]
        wrong = []

        def work():
            for _ in range(50):
                if self.session.run({"image": self.images[:5]})[0].tobytes() != wanted.tobytes():
                    wrong.append(1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertFalse(wrong)

    def test_a_session_ends_with_its_last_reference(self):
        session = infer.Session(self.path, threads=1)
        session.run({"image": self.images[:2]})
        watched = weakref.ref(session)
        del session
        self.assertIsNone(watched())

    def test_the_file_may_be_unlinked(self):
        path = os.path.join(self.folder.name, "gone.infer")
        infer.convert(SOURCE, path)
        session = infer.Session(path, threads=1)
        os.remove(path)
        self.close(session.run({"image": self.images[:2]})[0], self.logits[:2])


if __name__ == "__main__":
    unittest.main()
