"""Builders of small ONNX networks with random weights, and ONNX Runtime as the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Maker:
    """Writes an ONNX graph node by node; every method returns the name of a value."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def input(self, name: str, sizes: Sequence[int | str | None]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        return name

    def output(self, *names: str) -> Maker:
        for name in names:
            self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        return self

    def constant(self, name: str, values: Any, dtype: str = "i8") -> str:
        self.tensors.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def weight(self, name: str, *shape: int, positive: bool = False) -> str:
        values = self.random.standard_normal(shape) * 0.5
        values = np.abs(values) + 0.5 if positive else values
        return self.constant(name, values, "f4")

    def node(
        self, op: str, *inputs: str, output: str = "", outputs: int = 1, **attributes: Any
    ) -> Any:
        """Add a node; returns the name of its output, or a list of several names."""
        first = output or f"v{len(self.nodes)}"
        names = [first, *(f"{first}_{i}" for i in range(1, outputs))]
        self.nodes.append(
            helper.make_node(
                op, inputs, names, name=f"{op.lower()}_{len(self.nodes)}", **attributes
            )
        )
        return first if outputs == 1 else names

    def conv(self, x: str, name: str, *shape: int, bias: bool = True, **attributes: Any) -> str:
        tensors = [self.weight(f"{name}.weight", *shape)]
        if bias:
            tensors.append(self.weight(f"{name}.bias", shape[0]))
        return self.node("Conv", x, *tensors, **attributes)

    def batch_norm(self, x: str, name: str, channels: int, **attributes: Any) -> str:
        scale = self.weight(f"{name}.weight", channels)
        shift = self.weight(f"{name}.bias", channels)
        mean = self.weight(f"{name}.running_mean", channels)
        var = self.weight(f"{name}.running_var", channels, positive=True)
        return self.node("BatchNormalization", x, scale, shift, mean, var, **attributes)

    def linear(self, x: str, name: str, outputs: int, inputs: int) -> str:
        weight = self.weight(f"{name}.weight", outputs, inputs)
        return self.node("Gemm", x, weight, self.weight(f"{name}.bias", outputs), transB=1)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.tensors)
        version = 8 if self.opset <= 18 else 10
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=version,
            producer_name="somebody",
            doc_string="/home/somebody/train.py",
        )


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a model, from ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = {entry.name for entry in session.get_inputs()}
    return session.run(None, {name: value for name, value in feeds.items() if name in wanted})


def run_in_batches(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], size: int
) -> list[np.ndarray]:
    """The same for a model that takes batches of one size only."""
    count = len(next(iter(feeds.values())))
    parts = [
        run(model, {name: value[i : i + size] for name, value in feeds.items()})
        for i in range(0, count, size)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
