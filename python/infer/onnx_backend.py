"""libinfer as a backend of the ONNX test suite."""

import os
import tempfile

import onnx
from onnx.backend.base import Backend as BackendBase
from onnx.backend.base import BackendRep
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

import infer


class Prepared(BackendRep):
    """A converted model."""

    def __init__(self, session, names):
        self._session, self._names = session, names

    def run(self, inputs, **kwargs):
        """Runs the model on a list of its inputs; returns the list of its outputs."""
        wanted = {port.name for port in self._session.inputs}
        return self._session.run({name: value for name, value in zip(self._names, inputs) if name in wanted})


class Backend(BackendBase):
    """Converts ONNX models and runs them."""

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        """Raises BackendIsNotSupposedToImplementIt for what the converter refuses."""
        constants = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in constants]
        with tempfile.TemporaryDirectory() as folder:
            source, converted = os.path.join(folder, "model.onnx"), os.path.join(folder, "model.infer")
            onnx.save(model, source)
            try:
                infer.convert(source, converted)
            except infer.ConversionError as error:
                raise BackendIsNotSupposedToImplementIt(str(error)) from error
            # The file stays mapped when its name is gone.
            return Prepared(infer.Session(converted, threads=1, device=device.lower()), names)

    @classmethod
    def supports_device(cls, device):
        """Whether `prepare` may be given this device, which depends on the machine for all but the CPU."""
        return device.partition(":")[0] in ("CPU", "CUDA")


prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
