#!/usr/bin/env python3
"""Damages the models of the `onnx` package's test suite in ways that keep them readable, converts and runs them.

Whatever comes of it is fine as long as it is a result or an error: a crash, a panic, a run without end or an internal error is
a defect. Models, damage and inputs follow from the seed alone.

usage: PYTHONPATH=python python3 tests/onnx/mutate.py [--count 500] [--seed 1] [--keep FOLDER]
--keep writes the models that fail into a folder.
"""

import argparse
import collections
import multiprocessing
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

SECONDS = 20
MEMORY = 8 << 30
NUMBERS = [-(2**63), 2**63 - 1, -(2**31), 2**31, 1 << 40, -7, -2, -1, 0, 1, 2, 3, 4, 5, 8, 64]
FLOATS = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 0.5, 1e30, 1e-30]
EXTENTS = [0, 1, 2, 3, 5, 8, 17, 1 << 20, 1 << 40, 2**63 - 1]
TEXTS = ["", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "reflect", "edge", "wrap", "linear", "cubic", "nearest", "floor", "ceil",
         "align_corners", "asymmetric", "half_pixel", "tf_crop_and_resize", "forward", "reverse", "bidirectional", "add", "mul",
         "none", "max", "bilinear", "Tanh", "Relu", "ij->ji", "...i,...j", "\u00e9\u4e2d"]


def pick_attribute(rng, attribute):
    kind = attribute.type
    if kind == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif kind == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    elif kind == AttributeProto.STRING:
        attribute.s = rng.choice(TEXTS).encode()
    elif kind == AttributeProto.INTS:
        change_list(rng, attribute.ints, NUMBERS)
    elif kind == AttributeProto.FLOATS:
        change_list(rng, attribute.floats, FLOATS)
    elif kind == AttributeProto.TENSOR:
        change_tensor(rng, attribute.t)
    elif kind == AttributeProto.GRAPH:
        change_graph(rng, attribute.g)


def change_list(rng, values, choices):
    what = rng.randrange(3)
    if what == 0 or not values:
        values.append(rng.choice(choices))
    elif what == 1:
        del values[rng.randrange(len(values))]
    else:
        values[rng.randrange(len(values))] = rng.choice(choices)


def change_tensor(rng, tensor):
    what = rng.randrange(3)
    if what == 0:
        change_list(rng, tensor.dims, EXTENTS)
    elif what == 1:
        tensor.data_type = rng.randrange(0, 24)
    elif tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT):
        array = numpy_helper.to_array(tensor).copy()
        if array.size:
            limits = None if array.dtype.kind == "f" else np.iinfo(array.dtype)
            value = rng.choice(FLOATS) if limits is None else min(max(rng.choice(NUMBERS), limits.min), limits.max)
            array.reshape(-1)[rng.randrange(array.size)] = value
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_node(rng, graph, node):
    names = [port.name for port in graph.input] + [name for n in graph.node for name in n.output] + [""]
    what = rng.randrange(8)
    if what < 4 and node.attribute:
        pick_attribute(rng, rng.choice(node.attribute))
    elif what == 4 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif what == 5 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif what == 6 and len(node.output) > 1:
        del node.output[rng.randrange(len(node.output))]
    elif node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]
    else:
        node.input.append(rng.choice(names))


def change_port(rng, port):
    tensor = port.type.tensor_type
    if not tensor.shape.dim or rng.randrange(4) == 0:
        tensor.elem_type = rng.choice([1, 2, 3, 5, 6, 7, 9, 10, 11, 16])
        return
    dim = tensor.shape.dim[rng.randrange(len(tensor.shape.dim))]
    if rng.randrange(3) == 0:
        dim.dim_param = rng.choice(["n", "m"])
    else:
        dim.dim_value = rng.choice(EXTENTS)


def change_graph(rng, graph):
    places = [(4, graph.node), (1, graph.input), (2, graph.initializer)]
    weights, lists = zip(*[(weight, place) for weight, place in places if place])
    chosen = rng.choice(rng.choices(lists, weights)[0])
    if isinstance(chosen, onnx.NodeProto):
        change_node(rng, graph, chosen)
    elif isinstance(chosen, onnx.ValueInfoProto):
        change_port(rng, chosen)
    else:
        change_tensor(rng, chosen)


def damaged(rng, model):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for _ in range(rng.randrange(1, 4)):
        if rng.randrange(12) == 0 and model.opset_import:
            rng.choice(model.opset_import).version = rng.randrange(0, 30)
        else:
            change_graph(rng, model.graph)
    return model


def array(rng, port):
    """An input of a port's type: small, with a few odd values; nothing if the port wants a large one."""
    shape = [extent if isinstance(extent, int) else rng.choice([0, 1, 2, 3]) for extent in port.shape]
    # Extents beside one of zero count, too: NumPy refuses what is too large without it.
    if np.prod([max(extent, 1) for extent in shape], dtype=np.float64) > 1 << 22:
        return None
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    kind = port.dtype.kind
    if kind == "b":
        return numbers.random(shape) > 0.5
    if kind in "iu":
        return numbers.integers(-3 if kind == "i" else 0, 6, shape).astype(port.dtype)
    return numbers.standard_normal(shape).astype(port.dtype)


def run(path, seed):
    """Runs a converted model twice, on other extents each time. Ends the process if the library does."""
    import infer

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng = random.Random(seed)
    try:
        session = infer.Session(path, threads=2)
        for _ in range(2):
            feed = {port.name: array(rng, port) for port in session.inputs}
            if all(value is not None for value in feed.values()):
                session.run(feed, timeout=1)
    except infer.Error as error:
        if error.status == "INFER_ERROR_INTERNAL":
            print(f"internal error: {error}", flush=True)
            sys.exit(3)
    except MemoryError:
        pass


REFUSED, CONVERTED = "refused", "converted"


def attempt(model, seed, folder):
    """How a model is dealt with: refused, converted and run, or else what is wrong."""
    import infer._library

    source, target = folder / "m.onnx", folder / "m.infer"
    source.write_bytes(model.SerializeToString())
    target.unlink(missing_ok=True)
    command = [infer._library.find_command(), "convert", "--quiet", source, target]
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        return "the conversion does not end"
    if done.returncode not in (0, 1):
        return f"the conversion ends with {done.returncode}: {done.stderr[-300:]}"
    if done.returncode == 1:
        return f"internal error: {done.stderr}" if "internal" in done.stderr else REFUSED
    process = multiprocessing.get_context("fork").Process(target=run, args=(target, seed))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return "the run does not end"
    return f"the run ends with {process.exitcode}" if process.exitcode else CONVERTED


def models():
    from onnx.backend.test.case.node import collect_testcases

    return {case.name: case.model for case in collect_testcases(None) if len(case.model.SerializeToString()) < 1 << 16}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="models to try")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for models that fail")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = sorted(models().items())
    ends = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            seed = arguments.seed * 1_000_003 + number
            rng = random.Random(seed)
            name, model = rng.choice(cases)
            try:
                model = damaged(rng, model)
            except (ValueError, TypeError):
                continue  # The damage cannot be written down.
            end = attempt(model, seed, pathlib.Path(folder))
            ends[end if end in (REFUSED, CONVERTED) else "failed"] += 1
            if end not in (REFUSED, CONVERTED):
                print(f"{name}, seed {arguments.seed}, number {number}: {end}", flush=True)
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    (arguments.keep / f"{name}-{seed}.onnx").write_bytes(model.SerializeToString())
    passed = ends[CONVERTED] + ends[REFUSED]
    print(f"{passed} passed, {ends['failed']} failed: {ends[CONVERTED]} converted, {ends[REFUSED]} refused")
    sys.exit(bool(ends["failed"]))


if __name__ == "__main__":
    main()
