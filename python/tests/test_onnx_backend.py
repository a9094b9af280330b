"""The adapter for the ONNX test suite."""

import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from infer.onnx_backend import Backend


def model(operator, **attributes):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    node = helper.make_node(operator, ["x"], ["y"], **attributes)
    return helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]), opset_imports=[helper.make_opsetid("", 21)])


class Adapter(unittest.TestCase):
    def test_a_model_is_run(self):
        x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
        [y] = Backend.prepare(model("Relu")).run([x])
        np.testing.assert_array_equal(y, np.maximum(x, 0))

    def test_a_refusal_is_no_failure(self):
        unknown = helper.make_model(model("Relu").graph, opset_imports=[helper.make_opsetid("", 21)])
        unknown.graph.node[0].op_type = "NoSuchOperator"
        with self.assertRaisesRegex(BackendIsNotSupposedToImplementIt, "NoSuchOperator"):
            Backend.prepare(unknown)

    def test_devices(self):
        self.assertTrue(Backend.supports_device("CPU"))
        self.assertFalse(Backend.supports_device("ABACUS"))


if __name__ == "__main__":
    unittest.main()
