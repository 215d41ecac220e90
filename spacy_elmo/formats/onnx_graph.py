"""Define GraphBuilder, which collects the operators and weights of an ONNX graph."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..progress import track

if TYPE_CHECKING:
    import onnx

OPSET = 18  # Split by a number of outputs; ReduceMax over axes that are an input
IR_VERSION = 8  # the first with this opset, so that older runtimes can read the file


class GraphBuilder:
    """Builder of a graph in which every value has a name; methods return the names of what they add."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self._count = 0

    def weight(self, values: Tensor | np.ndarray, name: str) -> str:
        """Add a weight under its own name; a tensor as float32."""
        if isinstance(values, Tensor):
            values = values.detach().cpu().float().numpy()
        self.weights[name] = np.ascontiguousarray(values)
        return name

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """Add a small constant, such as the axes of an operator."""
        return self.weight(np.asarray(value, dtype=dtype), self._name("constant"))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def rename(self, name: str, new: str) -> None:
        """Add an output of the graph: the value `name` under a public name."""
        from onnx import helper

        self.nodes.append(helper.make_node("Identity", [name], [new]))

    def add_many(self, operator: str, inputs: Sequence[str], n_outputs: int, **attributes: Any) -> list[str]:
        """Add an operator with several outputs."""
        from onnx import helper

        outputs = [self._name(operator) for _ in range(n_outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def scan(
        self,
        step: Callable[[Sequence[str], str], tuple[Sequence[str], str]],
        states: Sequence[tuple[str, int]],
        inputs: tuple[str, int],
    ) -> str:
        """Run `step` along the second axis: (B, T, inputs) -> (B, T, outputs).

        step: (names of the states, name of this step's input) -> (their next values, this step's output), all
        (B, width). states: name of the first value and width of each. inputs: name and width. Weights that
        `step` adds are those of this graph.
        """
        from onnx import TensorProto, helper

        def value(name: str, width: int) -> "onnx.ValueInfoProto":
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])

        widths = [width for _, width in states]
        before = [self._name("state") for _ in states]
        current = self._name("step")
        outer, self.nodes = self.nodes, []
        after, output = step(before, current)
        # A value may be a state and an output, but an output of a graph has one name.
        ends = [self.add("Identity", name) for name in (*after, output)]
        body = helper.make_graph(
            self.nodes,
            self._name("body"),
            [value(name, width) for name, width in zip(before, widths, strict=True)]
            + [value(current, inputs[1])],
            [value(name, width) for name, width in zip(ends[:-1], widths, strict=True)]
            + [helper.make_tensor_value_info(ends[-1], TensorProto.FLOAT, [None, None])],
        )
        self.nodes = outer
        outputs = self.add_many(
            "Scan",
            [*(name for name, _ in states), inputs[0]],
            len(states) + 1,
            body=body,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
        return outputs[-1]

    def model(
        self, inputs: dict[str, Sequence[Any]], outputs: dict[str, Sequence[Any]], metadata: dict[str, str]
    ) -> "onnx.ModelProto":
        """Return the graph as a checked model: int64 inputs, float32 outputs, both given as name -> shape."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        weights = track(self.weights.items(), "weights", unit="tensors")
        graph = helper.make_graph(
            self.nodes,
            "bilm",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in inputs.items()],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            [numpy_helper.from_array(array, name) for name, array in weights],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="spacy-elmo"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"
