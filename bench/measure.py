"""Measures one runtime on one model in a process of its own, and prints one line of JSON.

usage: measure.py RUNTIME MODEL DATA THREADS SECONDS

MODEL is the runtime's file without its suffix, DATA an .npz with inputs in0, in1, ... and the wanted output out0. The clock starts
after the runtime is imported. A result that is off by more than 1e-3 of the largest value is an error, not a measurement.
"""

import importlib.metadata
import json
import statistics
import sys
import time

import numpy as np

from runtimes import RUNTIMES

TOLERANCE = 1e-3
WARM_UP = 3
LEAST_RUNS = 5


def infer(model, threads, inputs):
    from infer import Session

    def load():
        session = Session(model + ".infer", threads=threads)
        feed = {port.name: array for port, array in zip(session.inputs, inputs)}
        return lambda: session.run(feed)[0]

    return load


def onnxruntime(model, threads, inputs):
    import onnxruntime as ort

    def load():
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(model + ".onnx", options, providers=["CPUExecutionProvider"])
        feed = {port.name: array for port, array in zip(session.get_inputs(), inputs)}
        return lambda: session.run(None, feed)[0]

    return load


def openvino(model, threads, inputs):
    import openvino as ov

    core = ov.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the device's library
    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}

    def load():
        request = core.compile_model(model + ".onnx", "CPU", config).create_infer_request()
        for index, array in enumerate(inputs):
            request.set_input_tensor(index, ov.Tensor(array))

        def run():
            request.infer()
            return request.get_output_tensor(0).data

        return run

    return load


def ncnn(model, threads, inputs):
    import ncnn as nn

    # Its tensors have no batch dimension, and its integers are of 32 bits.
    arrays = [np.ascontiguousarray(array[0].astype(np.int32 if array.dtype == np.int64 else array.dtype)) for array in inputs]
    mats = [nn.Mat(array).clone() for array in arrays]

    def load():
        net = nn.Net()
        net.opt.num_threads = threads
        net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = False
        net.opt.use_bf16_storage = False
        if net.load_param(model + ".ncnn.param") or net.load_model(model + ".ncnn.bin"):
            raise RuntimeError("ncnn cannot read the model")

        def run():
            extractor = net.create_extractor()
            for index, mat in enumerate(mats):
                extractor.input(f"in{index}", mat)
            return np.array(extractor.extract("out0")[1])[None]

        return run

    return load


def _torch(model, threads, inputs, prepare):
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    tensors = [torch.from_numpy(array) for array in inputs]

    def load():
        module = prepare(torch, model)
        return lambda: module(*tensors).numpy()

    return load


def torchscript(model, threads, inputs):
    def prepare(torch, model):
        return torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.load(model + ".pt").eval()))

    return _torch(model, threads, inputs, prepare)


def inductor(model, threads, inputs):
    def prepare(torch, model):
        import torch._inductor.config

        torch._inductor.config.freezing = True
        return torch.compile(torch.export.load(model + ".pt2").module())

    return _torch(model, threads, inputs, prepare)


LOADERS = {loader.__name__: loader for loader in (infer, onnxruntime, openvino, ncnn, torchscript, inductor)}


def private_mb():
    """Memory of this process that it shares with nobody and that no file backs."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1024


def measure(runtime, model, data, threads, seconds):
    arrays = np.load(data)
    inputs = [arrays[f"in{index}"] for index in range(sum(name.startswith("in") for name in arrays.files))]
    wanted = arrays["out0"]
    load = LOADERS[runtime](model, threads, inputs)
    before = private_mb()
    start = time.perf_counter()
    run = load()
    loaded = time.perf_counter()
    output = np.array(run())
    first = time.perf_counter()
    error = float(np.abs(output.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max())
    if not error <= TOLERANCE:
        raise RuntimeError(f"the result is wrong by {error:.1e} of its largest value")
    for _ in range(WARM_UP):
        run()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    package = RUNTIMES[runtime].package
    return {
        "load_ms": (loaded - start) * 1e3,
        "first_ms": (first - start) * 1e3,
        "p50_ms": statistics.median(times) * 1e3,
        "min_ms": min(times) * 1e3,
        "private_mb": private_mb() - before,
        "error": error,
        "runs": len(times),
        "version": importlib.metadata.version(package) if package else "",
    }


if __name__ == "__main__":
    _, runtime, model, data, threads, seconds = sys.argv
    print(json.dumps(measure(runtime, model, data, int(threads), float(seconds))))
