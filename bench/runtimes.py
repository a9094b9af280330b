"""The runtimes that can be measured."""

import typing


class Runtime(typing.NamedTuple):
    title: str
    suffix: str  # of the file that it reads
    package: str  # whose version the report names; empty for ours


RUNTIMES = {
    "infer": Runtime("libinfer", ".infer", ""),
    "onnxruntime": Runtime("ONNX Runtime", ".onnx", "onnxruntime"),
    "openvino": Runtime("OpenVINO", ".onnx", "openvino"),
    "ncnn": Runtime("ncnn", ".ncnn.param", "ncnn"),
    "torchscript": Runtime("TorchScript", ".pt", "torch"),
    "inductor": Runtime("inductor", ".pt2", "torch"),
}
