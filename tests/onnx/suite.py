#!/usr/bin/env python3
"""Runs the test suite of the `onnx` package (pinned in requirements.txt) on libinfer.

A case passes, is refused (the converter says that it does not support it), or fails: any other exception, a wrong number of
outputs, a wrong type, shape or value, a crash, no end. Two lists are committed beside this file:

  passing.txt   the cases that pass. All of them must; the list only grows.
  failing.txt   the cases that fail, each with a tab and the reason; absent while there are none. No other case may fail.

usage: PYTHONPATH=python python3 tests/onnx/suite.py [--update] [PART_OF_A_NAME...]
--update adds what passes now to passing.txt.
"""

import argparse
import collections
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import sys
import time
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
PASSING, FAILING = HERE / "passing.txt", HERE / "failing.txt"
SECONDS_PER_CASE = 60
# "CUDA" runs the cases on a GPU.
DEVICE = os.environ.get("INFER_TEST_DEVICE", "CPU").upper()
PASSED, REFUSED, FAILED = "passed", "refused", "failed"

Case = collections.namedtuple("Case", "name model data_sets rtol atol")


def collect():
    """All cases: those that the package computes, those that it ships as files, and the small copies of well-known networks."""
    from onnx.backend.test.case.node import collect_testcases
    from onnx.backend.test.loader import load_model_tests

    for case in collect_testcases(None):
        sets = [([plain(x) for x in inputs], [plain(x) for x in outputs]) for inputs, outputs in case.data_sets]
        yield Case(f"node/{case.name}", case.model, sets, case.rtol, case.atol)
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for case in load_model_tests(kind=kind):
            if case.model_dir is not None:
                model, sets = read_folder(pathlib.Path(case.model_dir))
                yield Case(f"{kind}/{case.name}", model, sets, case.rtol, case.atol)
    for path in sorted(pathlib.Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx")):
        yield light(path)


def read_folder(folder):
    model = onnx.load(folder / "model.onnx")

    def read(data, kind, ports):
        files = sorted(data.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
        return [parse(path.read_bytes(), port.type) for path, port in zip(files, ports)]

    folders = sorted(folder.glob("test_data_set_*"))
    return model, [(read(f, "input", model.graph.input), read(f, "output", model.graph.output)) for f in folders]


def parse(data, type_):
    if type_.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if type_.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def plain(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def light(path):
    """These networks come with an output and a rule for the input: it counts up from 0, divided by its size."""
    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for port in model.graph.input:
        if port.name not in constants:
            shape = [dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim]
            count = np.arange(np.prod(shape), dtype=np.float32)
            inputs.append((count / count.size).reshape(shape))
    output = parse(path.with_name(f"{path.stem}_output_0.pb").read_bytes(), model.graph.output[0].type)
    return Case(f"light/{path.stem}", model, [(inputs, [output])], 1e-3, 1e-7)


def difference(got, want, case):
    """What tells an output from the expected one; nothing if they are equal as far as the case demands."""
    if want is None or got is None:
        return None if got is want else "one of the two is absent"
    if isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) or len(got) != len(want):
            return "not a sequence of that length"
        return next((d for d in map(lambda g, w: difference(g, w, case), got, want) if d), None)
    got, want = np.asarray(got), np.asarray(want)
    if got.dtype.kind in "OUS" and want.dtype.kind in "OUS":
        got, want = got.astype(str), want.astype(str)
    elif not want.dtype.isbuiltin and got.dtype.kind == "u" and got.itemsize == want.itemsize:
        got = got.view(want.dtype)  # numpy by itself does not know this type: its bits
    elif got.dtype != want.dtype:
        return f"{got.dtype}, not {want.dtype}"
    if got.shape != want.shape:
        return f"shape {got.shape}, not {want.shape}"
    if want.dtype.kind in "OUSbiu":
        return None if np.array_equal(got, want) else "wrong values"
    if want.dtype.kind != "c":
        got, want = got.astype(np.float64), want.astype(np.float64)
    close = np.isclose(got, want, rtol=case.rtol, atol=max(case.atol, 1e-7), equal_nan=True)
    return None if close.all() else f"wrong values, by up to {np.abs(got - want).max():g}"


def run(case):
    from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

    from infer.onnx_backend import Backend

    try:
        prepared = Backend.prepare(case.model, DEVICE)
        for inputs, wanted in case.data_sets:
            outputs = prepared.run(list(inputs))
            if len(outputs) != len(wanted):
                return FAILED, f"{len(outputs)} outputs, not {len(wanted)}"
            for i, (got, want) in enumerate(zip(outputs, wanted)):
                if found := difference(got, want, case):
                    return FAILED, f"output {i}: {found}"
    except BackendIsNotSupposedToImplementIt as refusal:
        return REFUSED, str(refusal)
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {error}"
    return PASSED, ""


class Worker:
    """A process that runs one case after another, so that a crash costs no more than the case that made it."""

    def __init__(self, cases):
        self.cases, self.current = cases, None
        self.start()

    def start(self):
        fork = multiprocessing.get_context("fork")
        self.pipe, far = fork.Pipe()
        self.process = fork.Process(target=self.serve, args=(far,), daemon=True)
        self.process.start()
        far.close()

    def serve(self, pipe):
        while True:
            pipe.send(run(self.cases[pipe.recv()]))

    def give(self, index):
        self.current, self.deadline = index, time.monotonic() + SECONDS_PER_CASE
        self.pipe.send(index)

    def take(self):
        """The result of the current case, if there is one by now."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
            if time.monotonic() < self.deadline:
                return None
            result = FAILED, f"no result within {SECONDS_PER_CASE} s"
        except EOFError:
            result = FAILED, "the process died"
        self.process.kill()
        self.start()
        return result


def run_all(cases):
    results, todo = [None] * len(cases), collections.deque(range(len(cases)))
    workers = [Worker(cases) for _ in range(min(os.cpu_count() or 1, len(cases)))]
    busy = []
    while todo or busy:
        for worker in workers:
            if worker not in busy and todo:
                worker.give(todo.popleft())
                busy.append(worker)
        multiprocessing.connection.wait([worker.pipe for worker in busy], timeout=1)
        for worker in list(busy):
            if result := worker.take():
                results[worker.current] = result
                busy.remove(worker)
    return results


def read_list(path):
    return dict(line.partition("\t")[::2] for line in path.read_text().splitlines()) if path.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("parts", nargs="*")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    cases = [case for case in collect() if not options.parts or any(part in case.name for part in options.parts)]
    results = dict(zip([case.name for case in cases], run_all(cases)))
    passing, failing = read_list(PASSING), read_list(FAILING)

    lost = [name for name in passing if name in results and results[name][0] != PASSED]
    new = [name for name, (verdict, _) in results.items() if verdict == PASSED and name not in passing]
    unexplained = [name for name, (verdict, _) in results.items() if verdict == FAILED and name not in failing]
    for name in sorted({*lost, *unexplained}):
        print(f"{name}: {results[name][0]}: {results[name][1]}")
    for name in sorted(name for name in failing if results.get(name, (FAILED,))[0] != FAILED):
        print(f"{name}: does not fail any more; take it off failing.txt")
    if options.update:
        PASSING.write_text("".join(f"{name}\n" for name in sorted({*passing, *new})))
    elif new:
        print(f"{len(new)} more cases pass than passing.txt says; --update adds them")

    count = collections.Counter(verdict for verdict, _ in results.values())
    kinds = collections.Counter(name.partition("/")[0] for name, (verdict, _) in results.items() if verdict == PASSED)
    print(f"{len(cases)} cases: " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(count.items())))
    print("passed: " + ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    bad = len({*lost, *unexplained})
    print(f"{count[PASSED]} passed, {bad} failed, {len(cases) - count[PASSED] - bad} skipped")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
