#!/usr/bin/env python3
"""Are the models right? Converts each NAME.onnx of a folder that has a NAME.npz beside it, runs it with 1, 2 and 3 threads, and
compares: with the wanted output, and the bytes among each other.

usage: make check-models ARGS="--models DIR"
An .npz holds the inputs in0, in1, ... in the model's order and the output out0 that is wanted, as `make bench ARGS="--torch --export"`
writes them."""

import argparse
import pathlib
import sys
import tempfile

import numpy as np

import infer

THREADS = (1, 2, 3)


def check(source, folder, tolerance):
    """The largest error relative to the largest wanted value, and what is wrong; nothing if nothing is."""
    arrays = np.load(source.with_suffix(".npz"))
    target = folder / "model.infer"
    infer.convert(source, target)
    runs = []
    for threads in THREADS:
        session = infer.Session(target, threads=threads)
        runs.append(session.run({port.name: arrays[f"in{i}"] for i, port in enumerate(session.inputs)}))
    wanted, got = arrays["out0"].astype(np.float64), runs[0][0]
    if got.shape != wanted.shape:
        return float("inf"), f"shape {got.shape}, not {wanted.shape}"
    error = float(np.abs(got - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))
    if not error <= tolerance:
        return error, f"differs by more than {tolerance:g}"
    for threads, run in zip(THREADS[1:], runs[1:]):
        if any(a.tobytes() != b.tobytes() for a, b in zip(runs[0], run)):
            return error, f"other bytes with {threads} threads"
    return error, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-build", action="store_true", help="use what is installed in dist/")
    parser.add_argument("--models", type=pathlib.Path, required=True, help="folder of NAME.onnx and NAME.npz")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest error relative to the largest value (default 1e-4)")
    arguments = parser.parse_args()
    sources = [path for path in sorted(arguments.models.glob("*.onnx")) if path.with_suffix(".npz").is_file()]
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            try:
                error, wrong = check(source, pathlib.Path(folder), arguments.tolerance)
            except (infer.Error, KeyError, ValueError) as failure:
                error, wrong = float("inf"), failure
            passed += wrong is None
            print(f"{source.stem:24} {'ok' if wrong is None else 'FAILED'}  error {error:.1e}{'' if wrong is None else f': {wrong}'}", flush=True)
    print(f"{passed} passed, {len(sources) - passed} failed")
    sys.exit(passed < len(sources) or not sources)


if __name__ == "__main__":
    main()
