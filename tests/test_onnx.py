"""ONNX in and out: what ONNX Runtime computes from a file is what the network computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Maker, run, run_in_batches

from reticule.errors import ModelError, ReticuleError, UnsupportedOperator
from reticule.graph import Network
from reticule.graph.onnx_in import from_onnx
from reticule.graph.onnx_out import OPSETS, to_model, to_onnx
from reticule.graph.safetensors_out import to_safetensors

MODELS = Path(__file__).parents[1].parent / "shared" / "models"


def images(network: Network, batch: int, seed: int = 1) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        name: random.standard_normal((batch, *shape)).astype("f4")
        for name, shape in network.graph.inputs.items()
    }


def assert_same(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def check(
    model: onnx.ModelProto, *, exported_for: int | None = None, input_shape=None, opset: int = 17
) -> Network:
    """Import, export, and compare with the original at several batch sizes."""
    network = from_onnx(model, input_shape)
    written = to_model(network, opset=opset)
    assert [o.name for o in written.graph.output] == [o.name for o in model.graph.output]
    for batch in (1, 3) if exported_for is None else (exported_for, 3 * exported_for):
        feeds = images(network, batch)
        expected = (
            run(model, feeds)
            if exported_for is None
            else run_in_batches(model, feeds, exported_for)
        )
        assert_same(run(written, feeds), expected)
    again = from_onnx(written)
    assert again.parameters == network.parameters
    assert set(again.tensors) == set(network.tensors)
    return network


def on_image(
    op: str, *, shape: tuple[int, ...] = (3, 9, 8), opset: int = 17, ints=(), **attributes
) -> onnx.ModelProto:
    """One operator applied to an image, with constant inputs behind it."""
    maker = Maker(opset)
    x = maker.input("x", ["N", *shape])
    others = [maker.constant(f"c{i}", *spec) for i, spec in enumerate(ints)]
    return maker.output(maker.node(op, x, *others, **attributes)).model()


CONVOLUTIONS = {
    "plain": ((4, 3, 3, 3), {}),
    "pointwise": ((4, 3, 1, 1), {}),
    "strided": ((4, 3, 3, 3), {"strides": [2, 1], "pads": [1, 1, 1, 1]}),
    "dilated": ((4, 3, 3, 2), {"dilations": [2, 3], "pads": [2, 1, 2, 1]}),
    "depthwise": ((3, 1, 3, 3), {"group": 3, "pads": [1, 1, 1, 1]}),
    "multiplier": ((6, 1, 3, 3), {"group": 3, "kernel_shape": [3, 3]}),
    "asymmetric": ((4, 3, 3, 3), {"pads": [0, 1, 2, 0]}),
    "same upper": ((4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((4, 3, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "same, stride beyond kernel": ((4, 3, 1, 1), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "valid": ((4, 3, 4, 3), {"auto_pad": "VALID", "strides": [2, 2]}),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions(kind: str, bias: bool) -> None:
    shape, attributes = CONVOLUTIONS[kind]
    maker = Maker()
    x = maker.input("x", ["N", 3, 9, 8])
    network = check(maker.output(maker.conv(x, "conv", *shape, bias=bias, **attributes)).model())
    assert network.tensors["conv.weight"].shape == shape


def test_grouped_convolution() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 4, 6, 6])
    check(maker.output(maker.conv(x, "conv", 6, 2, 3, 3, group=2)).model())


POOLS = [
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("MaxPool", {"kernel_shape": [3, 3], "auto_pad": "VALID"}),
    ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
    (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1},
    ),
    ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", {"kernel_shape": [1, 1]}),
    ("GlobalAveragePool", {}),
    ("GlobalMaxPool", {}),
]


@pytest.mark.parametrize("opset", [9, 11, 17])
@pytest.mark.parametrize(("op", "attributes"), POOLS)
def test_pools(op: str, attributes: dict, opset: int) -> None:
    if opset == 9:
        attributes = {k: v for k, v in attributes.items() if k not in ("ceil_mode", "dilations")}
    maker = Maker(opset)
    x = maker.node("Relu", maker.input("x", ["N", 3, 9, 8]))
    check(maker.output(maker.node("Identity", maker.node(op, x, **attributes))).model())


ACTIVATIONS = [
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("LeakyRelu", {}),
    ("Elu", {"alpha": 0.7}),
    ("Sign", {}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    ("HardSigmoid", {}),
    ("HardSwish", {}),
    ("LRN", {"size": 3, "alpha": 0.01, "beta": 0.7, "bias": 2.0}),
    ("Softmax", {"axis": 1}),
    ("Softmax", {}),
    ("LogSoftmax", {"axis": -3}),
    ("Flatten", {}),
    ("Transpose", {"perm": [0, 2, 3, 1]}),
    ("Transpose", {"perm": [0, 1, 2, 3]}),
    ("Dropout", {}),
    ("Identity", {}),
    ("Cast", {"to": TensorProto.FLOAT}),
    ("ReduceMean", {"axes": [2, 3]}),
    ("ReduceMean", {"axes": [-1, 2], "keepdims": 0}),
    ("ReduceMax", {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMax", {"axes": [-1, -2]}),
]


@pytest.mark.parametrize(("op", "attributes"), ACTIVATIONS)
def test_operators_of_one_input(op: str, attributes: dict) -> None:
    check(on_image(op, **attributes))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1])
def test_softmax_took_all_later_axes_together_before_opset_13(op: str, axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    check(on_image(op, opset=11, **attributes))
    check(on_image(op, opset=11, shape=(5, 1, 1), **attributes))
    check(on_image(op, opset=11, shape=(5,), **({"axis": -1} if axis else {})))


SECOND_INPUTS = [
    ("Clip", 17, [(0.0, "f4"), (6.0, "f4")], {}, "Clip"),
    ("Clip", 11, [(-0.5, "f4")], {}, "Clip"),
    ("Clip", 11, [(0.0, "f4")], {}, "Relu"),
    ("Clip", 9, [], {"min": 0.0, "max": 6.0}, "Clip"),
    ("Clip", 9, [], {"min": 0.0}, "Relu"),
    ("Min", 13, [(0.5, "f4")], {}, "Clip"),
    ("Max", 13, [([0.25], "f4")], {}, "Clip"),
    ("PRelu", 13, [([[[0.1]], [[0.2]], [[0.3]]], "f4")], {}, "PRelu"),
    ("PRelu", 9, [([0.1], "f4")], {}, "PRelu"),
    ("Reshape", 13, [([0, -1], "i8")], {}, "Reshape"),
    ("Reshape", 13, [([-1, 3, 72], "i8")], {}, "Reshape"),
    ("Reshape", 17, [([-1, 3, 72], "i8")], {"allowzero": 1}, "Reshape"),
    ("Squeeze", 13, [([2], "i8")], {}, None),
    ("Squeeze", 11, [], {"axes": [-2]}, None),
    ("Unsqueeze", 13, [([1, -1], "i8")], {}, "Reshape"),
    ("Unsqueeze", 11, [], {"axes": [4]}, "Reshape"),
    ("ReduceMean", 18, [([2, 3], "i8")], {"keepdims": 0}, "ReduceMean"),
    ("Pad", 13, [([0, 0, 1, 2, 0, 1, 0, 1], "i8"), (0.5, "f4")], {}, "Pad"),
    ("Pad", 18, [([1, 2], "i8"), (0.5, "f4"), ([-1], "i8")], {}, "Pad"),
    ("Pad", 13, [([0, 0, 1, 2, 0, 0, 0, 1], "i8")], {"mode": "reflect"}, "Pad"),
    ("Pad", 13, [([0, 0, 1, 2, 0, 0, 0, 1], "i8")], {"mode": "edge"}, "Pad"),
    ("Pad", 9, [], {"pads": [0, 0, 1, 2, 0, 1, 0, 1], "value": 1.0}, "Pad"),
    ("Pad", 13, [([0, 0, -1, -2, 0, 0, 0, 0], "i8")], {}, "Pad"),
    ("Pad", 13, [([0] * 8, "i8")], {}, None),
    ("Slice", 9, [], {"starts": [1, 0], "ends": [2**63 - 1, 3], "axes": [2, 3]}, "Slice"),
    ("Slice", 13, [([1, -3], "i8"), ([2**63 - 1, -1], "i8"), ([1, 3], "i8")], {}, "Slice"),
    ("Slice", 13, [([0], "i4"), ([99], "i4"), ([-1], "i4"), ([2], "i4")], {}, "Slice"),
    ("Slice", 13, [([0, 0], "i8"), ([2**63 - 1, 2], "i8")], {}, "Slice"),
    ("Gather", 13, [(1, "i8")], {"axis": 1}, "Reshape"),
    ("Gather", 13, [(-1, "i8")], {"axis": 3}, "Reshape"),
    ("Gather", 13, [([0, 2], "i8")], {"axis": 1}, "Slice"),
    ("Gather", 13, [([2, 0, 1, 1], "i8")], {"axis": 1}, "Concat"),
    ("Dropout", 13, [(0.5, "f4"), (False, "?")], {}, None),
]


@pytest.mark.parametrize(("op", "opset", "ints", "attributes", "becomes"), SECOND_INPUTS)
def test_constant_inputs_become_attributes(op, opset, ints, attributes, becomes) -> None:
    shape = (3, 1, 8) if op == "Squeeze" else (3, 9, 8)
    network = check(on_image(op, opset=opset, ints=ints, shape=shape, **attributes))
    assert becomes is None or network.graph.nodes[-1].op == becomes
    assert len(network.tensors) == (op == "PRelu")


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (3, 1, 1), (1, 3, 1, 1), (3, 9, 8)])
def test_arithmetic_with_constants(op: str, shape: tuple[int, ...]) -> None:
    for first in (True, False):
        maker = Maker()
        x = maker.node("Sigmoid", maker.input("x", ["N", 3, 9, 8]))
        c = maker.weight("c", *shape, positive=True)
        network = check(maker.output(maker.node(op, *((x, c) if first else (c, x)))).model())
        assert network.tensors["c"].shape == shape


@pytest.mark.parametrize("opset", [9, 13])
def test_several_inputs_and_outputs(opset: int) -> None:
    maker = Maker(opset)
    x, y = maker.input("x", ["N", 4, 5, 5]), maker.input("y", ["N", 4, 5, 5])
    total = maker.node("Sum", x, y, x)
    joined = maker.node("Concat", total, maker.node("Mul", x, y), axis=1)
    sizes = {"split": [3, 3, 2]} if opset == 9 else {}
    parts = [maker.constant("sizes", [3, 3, 2])] if opset == 13 else []
    a, b, c = maker.node("Split", joined, *parts, outputs=3, axis=1, **sizes)
    halves = maker.node("Split", maker.node("Sub", a, b), outputs=5, axis=3)
    names = [maker.node("Identity", n) for n in (a, c, halves[1])]
    network = check(maker.output(*names, joined, "x").model())
    assert network.graph.outputs == (*names, joined, "x")


@pytest.mark.parametrize("axis", [2, -1])
def test_flatten_may_take_the_batch_with_it(axis: int) -> None:
    maker = Maker()
    y = maker.node("Flatten", maker.input("x", ["N", 3, 9, 8]), axis=axis)
    check(maker.output(maker.node("Reshape", y, maker.constant("s", [-1, 216]))).model())


def test_matmul_of_activations() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 4, 5])
    turned = maker.node("Transpose", x, perm=[0, 1, 3, 2])
    check(maker.output(maker.node("MatMul", x, turned)).model())


@pytest.mark.parametrize(
    ("trans_b", "alpha", "beta", "bias"),
    [(1, 1, 1, (4,)), (0, 1, 1, (4,)), (1, 0.5, 2, (1, 4)), (0, 2, 0.5, ()), (0, 3, 1, None)],
)
def test_gemm(trans_b: int, alpha: float, beta: float, bias: tuple[int, ...] | None) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 6])
    weight = maker.weight("w", 4, 6) if trans_b else maker.weight("w", 6, 4)
    inputs = [x, weight] if bias is None else [x, weight, maker.weight("b", *bias)]
    y = maker.node("Gemm", *inputs, transB=trans_b, alpha=float(alpha), beta=float(beta))
    network = check(maker.output(y).model())
    assert network.tensors["w"].shape == (4, 6)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_matmul_and_add_become_one_layer(rank: int) -> None:
    maker = Maker()
    x = maker.input("x", [*["N", 3, 2][: rank - 1], 6])
    y = maker.node("Add", maker.weight("b", 4), maker.node("MatMul", x, maker.weight("w", 6, 4)))
    network = check(maker.output(y).model())
    assert [(n.op, n.inputs[1:]) for n in network.graph.nodes] == [("Gemm", ("w", "b"))]


def test_an_add_joins_only_a_layer_whose_output_nothing_else_uses() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 6, 6])
    bias = maker.weight("bias", 1, 4, 1, 1)
    first = maker.conv(x, "first", 4, 3, 3, 3, bias=False)
    second = maker.conv(x, "second", 4, 3, 3, 3, bias=False)
    joined, kept = maker.node("Add", first, bias), maker.node("Add", second, bias)
    network = check(maker.output(joined, maker.node("Mul", kept, second)).model())
    assert [n.op for n in network.graph.nodes] == ["Conv", "Conv", "Add", "Mul"]


def test_one_weight_used_both_ways() -> None:
    maker = Maker()
    x, w = maker.input("x", ["N", 4]), maker.weight("w", 4, 4)
    straight = maker.node("Gemm", x, w, transB=1)
    turned = maker.node("Gemm", straight, w)
    again = maker.node("Gemm", turned, w, transB=1)
    network = check(maker.output(again).model())
    assert len(network.tensors) == 2


def test_a_shared_weight_stays_one_tensor() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 6, 6])
    w = maker.weight("w", 3, 3, 3, 3)
    alias = maker.node("Identity", w)
    y = maker.node("Conv", x, w, pads=[1] * 4)
    network = check(maker.output(maker.node("Conv", y, alias)).model())
    assert set(network.tensors) == {"w"}


def test_weights_computed_from_constants_arrive_computed() -> None:
    maker = Maker(13)
    x = maker.input("x", ["N", 3, 6, 6])
    scale = maker.node("Sqrt", maker.weight("s", 4, 1, 1, 1, positive=True))
    weight = maker.node("Mul", maker.weight("w", 4, 3, 3, 3), scale, output="scaled")
    y = maker.node("GlobalAveragePool", maker.node("Conv", x, weight))
    y = maker.node("Flatten", y)
    turned = maker.node("Transpose", maker.weight("fc.weight", 5, 4), perm=[1, 0])
    y = maker.node("MatMul", y, maker.node("Identity", turned))
    network = check(maker.output(y).model())
    assert {name: t.shape for name, t in network.tensors.items()} == {
        "scaled": (4, 3, 3, 3),
        "fc.weight": (5, 4),
    }


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_other_precisions_become_float32(dtype: int) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 6, 6])
    model = maker.output(maker.conv(x, "conv", 4, 3, 3, 3)).model()
    exact = from_onnx(model)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(tensor.name, dtype, values.shape, values.ravel()))
    network = from_onnx(model)
    for name, tensor in network.tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, exact.tensors[name], rtol=1e-2)


def view(maker: Maker, x: str, keep: int) -> str:
    """``x.view(x.size(0), ..., -1)`` as PyTorch's first exporter writes it."""
    sizes = []
    for axis in range(keep):
        size = maker.node("Gather", maker.node("Shape", x), maker.node("Constant", value_int=axis))
        if maker.opset < 13:
            sizes.append(maker.node("Unsqueeze", size, axes=[0]))
        else:
            sizes.append(maker.node("Unsqueeze", size, maker.node("Constant", value_ints=[0])))
    rest = maker.node("Constant", value=numpy_helper.from_array(np.array([-1])))
    return maker.node("Reshape", x, maker.node("Concat", *sizes, rest, axis=0))


@pytest.mark.parametrize("opset", [12, 13, 17])
def test_shapes_computed_in_the_graph(opset: int) -> None:
    maker = Maker(opset)
    x = maker.input("x", ["N", 3, 4, 4])
    y = maker.conv(x, "conv", 6, 3, 1, 1)
    flat = maker.linear(view(maker, y, 1), "fc", 5, 96)
    network = check(maker.output(flat, view(maker, y, 2)).model())
    targets = [n.attributes["shape"] for n in network.graph.nodes if n.op == "Reshape"]
    assert targets == [(0, 96), (0, 0, 16)] or targets == [(0, 96), (0, 6, 16)]


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_channel_shuffle(batch: int | str) -> None:
    maker = Maker()
    x = maker.input("x", [batch, 6, 4, 4])
    first = batch if isinstance(batch, int) else -1
    y = maker.node("Reshape", x, maker.constant("split", [first, 2, 3, 4, 4]))
    y = maker.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = maker.node("Reshape", y, maker.constant("join", [first, 6, 4, 4]))
    check(
        maker.output(maker.conv(y, "c", 6, 1, 3, 3, group=6)).model(),
        exported_for=batch if isinstance(batch, int) else None,
    )


def test_channel_shuffle_through_the_batch_axis() -> None:
    """ShuffleNetV2's first authors fold the batch into the channels and pick from axis 0."""
    maker = Maker()
    x = maker.input("x", ["N", 6, 4, 4])
    size = maker.node("Shape", x)
    count = maker.node("Gather", size, maker.constant("zero", [0]))
    half = maker.node("Div", maker.node("Mul", count, maker.constant("six", [6])), "two")
    maker.constant("two", [2])
    target = maker.node("Concat", half, "two", maker.constant("area", [16]), axis=0)
    y = maker.node("Transpose", maker.node("Reshape", x, target), perm=[1, 0, 2])
    y = maker.node("Reshape", y, maker.constant("five", [2, -1, 3, 4, 4]))
    a = maker.node("Gather", y, maker.constant("left", 0), axis=0)
    b = maker.node("Gather", y, maker.constant("right", 1), axis=0)
    check(maker.output(maker.node("Concat", a, b, axis=1)).model())


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_becomes_free(batch: int) -> None:
    maker = Maker(11)
    x = maker.input("x", [batch, 3, 4, 4])
    y = maker.conv(x, "conv", 6, 3, 1, 1)
    flat = maker.node("Reshape", y, maker.constant("flat", [batch, 96]))
    other = maker.node("Reshape", y, maker.constant("other", [batch, -1]))
    y = maker.node("Add", maker.linear(flat, "a", 5, 96), maker.linear(other, "b", 5, 96))
    starts, ends = maker.constant("s", [0, 1]), maker.constant("e", [batch, 3])
    y = maker.node("Slice", y, starts, ends)
    check(maker.output(maker.node("Softmax", y, axis=1)).model(), exported_for=batch)


def test_squeezing_a_fixed_batch_of_one_keeps_the_batch() -> None:
    maker = Maker(11)
    x = maker.input("x", [1, 3, 4, 4])
    pooled = maker.node("GlobalAveragePool", x)
    network = from_onnx(maker.output(maker.node("Squeeze", pooled)).model())
    assert network.graph.shapes(2)[network.graph.outputs[0]] == (2, 3)


def test_zeros_appended_to_the_channels_are_a_padding() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 4, 4])
    size = maker.node("Shape", x)
    zeros = maker.node("ConstantOfShape", size)
    joined = maker.node("Concat", zeros, x, maker.node("Neg", zeros), axis=1)
    network = check(maker.output(joined).model())
    assert [n.op for n in network.graph.nodes] == ["Pad", "Pad"]


def test_expand_before_a_product_vanishes() -> None:
    """Squeeze-and-excitation, written with ``y.expand_as(x)``."""
    maker = Maker()
    x = maker.input("x", ["N", 3, 4, 4])
    gate = maker.node("Sigmoid", maker.conv(maker.node("GlobalAveragePool", x), "se", 3, 3, 1, 1))
    wide = maker.node("Expand", gate, maker.node("Shape", x))
    network = check(maker.output(maker.node("Mul", x, wide)).model())
    assert "Expand" not in {n.op for n in network.graph.nodes}


def test_expand_that_matters_is_an_error() -> None:
    maker = Maker()
    x = maker.node("GlobalAveragePool", maker.input("x", ["N", 3, 4, 4]))
    wide = maker.node("Expand", x, maker.constant("size", [1, 3, 4, 4]))
    product = maker.node("Mul", wide, wide)
    with pytest.raises(UnsupportedOperator, match="Expand"):
        from_onnx(maker.output(product).model())
    with pytest.raises(UnsupportedOperator, match="Expand"):
        from_onnx(maker.output(wide).model())


def test_hard_swish_written_out() -> None:
    maker = Maker()
    x = maker.conv(maker.input("x", ["N", 3, 4, 4]), "conv", 4, 3, 1, 1)
    three, six = maker.constant("three", 3.0, "f4"), maker.constant("six", 6.0, "f4")
    gate = maker.node("Clip", maker.node("Add", x, three), maker.constant("zero", 0.0, "f4"), six)
    check(maker.output(maker.node("Div", maker.node("Mul", x, gate), six)).model())


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_that_is_known_is_taken(condition: bool) -> None:
    info = helper.make_tensor_value_info
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["r"], [f"{name}_y"])], name, [], [info(f"{name}_y", 1, None)]
        )
        for name, op in (("then_branch", "Tanh"), ("else_branch", "Sigmoid"))
    }
    maker = Maker()
    maker.node("Relu", maker.input("x", ["N", 3]), output="r")
    y = maker.node("If", maker.constant("c", condition, "?"), **branches)
    network = check(maker.output(y).model())
    assert network.graph.nodes[-1].op == ("Tanh" if condition else "Sigmoid")


def test_local_functions_are_expanded() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3])
    y = maker.node("Twice", x, domain="local")
    model = maker.output(y).model()
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Tanh", ["b"], ["c"])]
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(
        helper.make_function("local", "Twice", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    )
    network = check(model)
    assert [n.op for n in network.graph.nodes] == ["Relu", "Tanh"]


def test_names_are_unique_and_stable() -> None:
    maker = Maker()
    y = maker.node("Relu", maker.node("Tanh", maker.input("x", ["N", 3])))
    model = maker.output(maker.node("Sigmoid", y)).model()
    for node, name in zip(model.graph.node, ["", "same", "same"], strict=True):
        node.name = name
    names = [node.name for node in from_onnx(model).graph.nodes]
    assert len(set(names)) == 3
    assert names == [node.name for node in from_onnx(model).graph.nodes]


def test_initialisers_among_the_inputs_are_no_inputs() -> None:
    maker = Maker(9)
    x = maker.input("x", ["N", 3, 4, 4])
    y = maker.conv(x, "conv", 4, 3, 1, 1)
    maker.input("conv.weight", [4, 3, 1, 1])
    assert set(check(maker.output(y).model()).graph.inputs) == {"x"}


@pytest.mark.parametrize(
    ("sizes", "given"),
    [(["N", 3, "H", "W"], (3, 6, 5)), (["N", "H", "W", 3], (3, 6, 5)), (None, (3, 6, 5))],
)
def test_open_image_sizes_need_the_input_shape(sizes, given) -> None:
    maker = Maker()
    x = maker.node("Relu", maker.input("x", sizes))
    model = maker.output(x).model()
    with pytest.raises(ModelError, match="--input-shape C,H,W"):
        from_onnx(model)
    network = check(model, input_shape=given)
    assert sorted(network.graph.inputs["x"]) == sorted(given)
    if sizes is not None:
        with pytest.raises(ModelError, match="input 'x'"):
            from_onnx(model, (4, 6, 5))


def test_a_fixed_image_size_is_not_overruled() -> None:
    with pytest.raises(ModelError, match=r"fixed to \(3, 9, 8\)"):
        from_onnx(on_image("Relu"), (3, 8, 8))


def block(maker: Maker, x: str, name: str, inputs: int, outputs: int, stride: int) -> str:
    """An inverted residual with squeeze-and-excitation, the densest mixture of operators."""
    wide = maker.conv(x, f"{name}.expand", 2 * inputs, inputs, 1, 1, bias=False)
    wide = maker.node("HardSwish", maker.batch_norm(wide, f"{name}.bn1", 2 * inputs))
    deep = maker.conv(
        wide, f"{name}.deep", 2 * inputs, 1, 3, 3,
        group=2 * inputs, strides=[stride] * 2, pads=[1] * 4,
    )  # fmt: skip
    squeezed = maker.node("ReduceMean", deep, axes=[2, 3], keepdims=1)
    gate = maker.node(
        "HardSigmoid", maker.conv(squeezed, f"{name}.se", 2 * inputs, 2 * inputs, 1, 1)
    )
    out = maker.conv(maker.node("Mul", deep, gate), f"{name}.out", outputs, 2 * inputs, 1, 1)
    out = maker.batch_norm(out, f"{name}.bn2", outputs, epsilon=1e-3)
    return maker.node("Add", out, x) if stride == 1 and inputs == outputs else out


@pytest.mark.parametrize("opset", OPSETS)
def test_a_whole_network_through_every_operator_set(opset: int) -> None:
    maker = Maker(16)
    x = maker.input("x", ["N", 3, 12, 12])
    y = maker.conv(x, "stem", 4, 3, 3, 3, strides=[2, 2], pads=[1] * 4)
    y = block(maker, block(maker, y, "a", 4, 4, 1), "b", 4, 6, 2)
    y = maker.node("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    y = maker.node("Pad", y, maker.constant("pads", [0, 0, 1, 1, 0, 0, 0, 0]))
    y = maker.node("Clip", y, maker.constant("low", -1.0, "f4"), maker.constant("high", 1.0, "f4"))
    y = maker.linear(view(maker, y, 1), "fc", 5, 24)
    network = check(maker.output(maker.node("Softmax", y)).model(), opset=opset)
    assert {f"{n}.weight" for n in ("stem", "a.deep", "b.se", "fc")} <= set(network.tensors)


def test_channels_last_networks() -> None:
    """As tf2onnx writes Keras networks: transposed input, MatMul with (in, out), Squeeze.

    The network takes images channels first, so that all data fits it.
    """
    maker = Maker(13)
    x = maker.node("Transpose", maker.input("x", ["N", 8, 8, 3]), perm=[0, 3, 1, 2])
    weight = maker.weight("kernel", 4, 3, 3, 3)
    y = maker.node("Conv", x, weight, auto_pad="SAME_UPPER", strides=[2, 2])
    y = maker.node("Relu", maker.node("Add", y, maker.weight("bias", 1, 4, 1, 1)))
    y = maker.node("GlobalAveragePool", y)
    y = maker.node("Squeeze", y, maker.constant("axes", [2, 3]))
    y = maker.node(
        "Add", maker.node("MatMul", y, maker.weight("dense", 4, 5)), maker.weight("b", 5)
    )
    model = maker.output(maker.node("Softmax", y)).model()
    network = from_onnx(model)
    assert network.graph.inputs == {"x": (3, 8, 8)}
    feeds = images(network, 3)
    turned = {"x": feeds["x"].transpose(0, 2, 3, 1)}
    assert_same(run(to_model(network), feeds), run(model, turned))
    assert [n.op for n in network.graph.nodes if n.op in ("Conv", "Gemm", "Add")] == [
        "Conv",
        "Gemm",
    ]
    assert network.tensors["dense"].shape == (5, 4)


def written_out_lrn(maker: Maker, x: str, size: int, before: int, *, pad: bool) -> str:
    """PyTorch's local response normalisation of (N, 6, 4, 4) through a pool of rank 5."""
    after = size - 1 - before
    y = maker.node("Reshape", maker.node("Mul", x, x), maker.constant("five", [-1, 1, 6, 4, 4]))
    pads = [before, 0, 0, after, 0, 0]
    if pad:
        y = maker.node("Pad", y, maker.constant("p", [0, 0, before, 0, 0, 0, 0, after, 0, 0]))
        pads = [0] * 6
    y = maker.node("AveragePool", y, kernel_shape=[size, 1, 1], pads=pads, count_include_pad=1)
    y = maker.node("Squeeze", y, maker.constant("one", [1]))
    y = maker.node("Mul", y, maker.constant("alpha", 0.3, "f4"))
    y = maker.node("Add", y, maker.constant("bias", [2.0], "f4"))
    return maker.node("Div", x, maker.node("Pow", y, maker.constant("beta", 0.75, "f4")))


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("size", [3, 5])
def test_local_response_normalisation_written_out(size: int, pad: bool) -> None:
    maker = Maker()
    x = maker.node("Relu", maker.input("x", ["N", 6, 4, 4]))
    network = check(maker.output(written_out_lrn(maker, x, size, size // 2, pad=pad)).model())
    assert [n.op for n in network.graph.nodes] == ["Relu", "LRN"]
    assert not network.tensors


@pytest.mark.parametrize(("size", "before"), [(4, 2), (3, 0), (3, 2)])
def test_other_windows_are_no_local_response_normalisation(size: int, before: int) -> None:
    maker = Maker()
    x = maker.node("Relu", maker.input("x", ["N", 6, 4, 4]))
    with pytest.raises(UnsupportedOperator, match="Pow"):
        from_onnx(maker.output(written_out_lrn(maker, x, size, before, pad=True)).model())


def test_squares() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 6, 4, 4])
    check(maker.output(maker.node("Pow", x, maker.constant("two", 2.0, "f4"))).model())


def test_cast_like() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 6, 4, 4])
    y = maker.node("Mul", x, maker.node("CastLike", maker.constant("three", 3), x))
    check(maker.output(maker.node("CastLike", y, x)).model())


@pytest.mark.parametrize("last", [[2, 1, 3, 4, 4], [2, -1, 3, 4, 4]])
def test_a_fixed_batch_that_leaves_the_first_axis(last: list[int]) -> None:
    maker = Maker()
    x = maker.input("x", [1, 6, 4, 4])
    y = maker.node("Reshape", x, maker.constant("split", [3, 2, 16]))
    y = maker.node("Transpose", y, perm=[1, 0, 2])
    y = maker.node("Reshape", y, maker.constant("five", last))
    a = maker.node("Gather", y, maker.constant("left", 0), axis=0)
    b = maker.node("Gather", y, maker.constant("right", 1), axis=0)
    check(maker.output(maker.node("Concat", a, b, axis=1)).model(), exported_for=1)


# Errors


UNSUPPORTED: list[tuple[str, dict, Callable[[Maker], list[str]]]] = [
    ("QuantizeLinear", {}, lambda m: [m.constant("s", 0.1, "f4"), m.constant("z", 0, "u1")]),
    ("ConvTranspose", {}, lambda m: [m.weight("w", 3, 2, 3, 3)]),
    ("Erf", {}, lambda m: []),
    ("Pad", {"mode": "wrap"}, lambda m: [m.constant("p", [0, 0, 1, 1, 0, 0, 1, 1])]),
    ("FusedConv", {"domain": "com.microsoft"}, lambda m: [m.weight("w", 3, 3, 3, 3)]),
    ("Cast", {"to": TensorProto.INT64}, lambda m: []),
    (
        "BatchNormalization",
        {"training_mode": 1, "outputs": 3},
        lambda m: [m.weight(n, 3, positive=True) for n in "abcd"],
    ),
]


@pytest.mark.parametrize(("op", "attributes", "others"), UNSUPPORTED)
def test_unknown_operators_are_named(op: str, attributes: dict, others) -> None:
    maker = Maker()
    x = maker.node("Relu", maker.input("x", ["N", 3, 9, 8]))
    maker.node(op, x, *others(maker), **attributes)
    last = maker.node("Erf", x)
    maker.node("Gelu", last)
    with pytest.raises(UnsupportedOperator, match=op) as caught:
        from_onnx(maker.output(last).model())
    assert caught.value.node == maker.nodes[1].name
    assert "\n" not in str(caught.value)
    if op == "QuantizeLinear":
        assert "export the float model" in str(caught.value)
        assert "2 more are unknown: Erf, Gelu" in str(caught.value)


def test_one_dimensional_convolutions_are_unknown() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 9])
    y = maker.conv(x, "conv", 4, 3, 3)
    with pytest.raises(UnsupportedOperator, match="1-D"):
        from_onnx(maker.output(y).model())


def test_weights_that_are_no_numbers_are_named() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 9, 8])
    y = maker.node("Conv", x, maker.constant("kernel", np.full((2, 3, 1, 1), np.nan), "f4"))
    with pytest.raises(ModelError, match="tensor 'kernel' has 6 weights that are NaN"):
        from_onnx(maker.output(y).model())


MALFORMED: list[tuple[str, list[str], dict]] = [
    ("Conv", ["x", "w"], {"strides": [0, 1]}),
    ("Conv", ["x"], {}),
    ("Conv", ["x", "w", "w"], {}),
    ("Conv", ["x", "x"], {}),
    ("Conv", ["x", "nothing"], {}),
    ("Conv", ["x", "w"], {"group": 7}),
    ("Conv", ["x", "w"], {"auto_pad": "SOMEHOW"}),
    ("MaxPool", ["x"], {}),
    ("MaxPool", ["x"], {"kernel_shape": [40, 40]}),
    ("Reshape", ["x", "x"], {}),
    ("Reshape", ["x", "i"], {}),
    ("Reshape", ["x"], {}),
    ("Concat", ["x", "x"], {"axis": 9}),
    ("Concat", [], {"axis": 1}),
    ("Transpose", ["x"], {"perm": [0, 1, 1, 2]}),
    ("Slice", ["x", "i", "x"], {}),
    ("Slice", ["x", "i"], {}),
    ("Split", ["x", "i"], {"axis": 1}),
    ("Gather", ["x", "x"], {}),
    ("Gather", ["x", "i"], {"axis": 0}),
    ("Gemm", ["x", "w"], {}),
    ("MatMul", ["x", "w"], {}),
    ("Add", ["x", "w"], {}),
    ("Add", ["x"], {}),
    ("Relu", [], {}),
    ("Pad", ["x", "i"], {}),
    ("Expand", ["x", "i"], {}),
    ("Squeeze", ["x", "i"], {}),
    ("Unsqueeze", ["x", "w"], {}),
    ("ReduceMean", ["x"], {"axes": [0]}),
    ("Softmax", ["x"], {"axis": 9}),
    ("BatchNormalization", ["x", "w", "w", "w", "w"], {}),
    ("PRelu", ["x", "w"], {}),
    ("Clip", ["x", "x"], {}),
    ("Cast", ["x"], {}),
    ("Constant", [], {}),
    ("Range", ["i", "w"], {}),
    ("LRN", ["x"], {}),
    ("If", ["i"], {}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), MALFORMED)
def test_malformed_nodes_are_named(op: str, inputs: list[str], attributes: dict) -> None:
    maker = Maker()
    maker.input("x", ["N", 3, 9, 8])
    maker.weight("w", 5, 3, 3, 3)
    maker.constant("i", [2, 5])
    y = maker.node(op, *inputs, **attributes)
    with pytest.raises(ModelError, match=maker.nodes[0].name) as caught:
        from_onnx(maker.output(y).model())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"some text\n" * 9, bytes(99), None, b"cut"])
def test_files_that_are_no_onnx_are_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if content == b"cut":
        content = on_image("Relu").SerializeToString()[:-20]
    if content is not None:
        path.write_bytes(content)
    for bad in (path, tmp_path):
        with pytest.raises(ModelError, match=str(bad)) as caught:
            from_onnx(bad)
        assert "\n" not in str(caught.value)


def test_random_damage_is_always_reported_in_one_line() -> None:
    maker = Maker(16)
    x = maker.input("x", ["N", 3, 12, 12])
    y = block(maker, maker.conv(x, "stem", 4, 3, 3, 3), "a", 4, 4, 1)
    y = maker.node("GlobalAveragePool", y)
    whole = maker.output(maker.linear(view(maker, y, 1), "fc", 5, 4)).model().SerializeToString()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 2):
            damaged[place] = random.integers(0, 256)
        try:
            from_onnx(bytes(damaged))
        except ModelError as problem:
            assert "\n" not in str(problem)


def test_external_weights(tmp_path: Path) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 9, 8])
    model = maker.output(maker.conv(x, "conv", 4, 3, 3, 3)).model()
    path = tmp_path / "model.onnx"
    onnx.save_model(
        onnx.ModelProto.FromString(model.SerializeToString()), path,
        save_as_external_data=True, location="weights.bin", size_threshold=0,
    )  # fmt: skip
    network = from_onnx(path)
    np.testing.assert_array_equal(
        network.tensors["conv.weight"], from_onnx(model).tensors["conv.weight"]
    )
    with pytest.raises(ModelError, match="another file"):
        from_onnx(path.read_bytes())
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx.*weights\.bin"):
        from_onnx(path)


def test_outputs_without_the_batch_are_named() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3])
    maker.node("Transpose", x, perm=[1, 0], output="turned")
    with pytest.raises(ModelError, match="turned"):
        from_onnx(maker.output("turned").model())
    maker.outputs.clear()
    with pytest.raises(ModelError, match="'c'"):
        from_onnx(maker.output(maker.constant("c", [1.0], "f4")).model())
    maker.outputs.clear()
    with pytest.raises(ModelError, match="nowhere"):
        from_onnx(maker.output("nowhere").model())


# Files written


def test_written_files(tmp_path: Path) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 9, 8])
    model = maker.output(maker.conv(x, "conv", 4, 3, 3, 3)).model()
    helper.set_model_props(model, {"made_on": "/home/somebody"})
    network = from_onnx(model)
    path = tmp_path / "out.onnx"
    to_onnx(network, path, labels=["cat", "dog"])
    written = onnx.load(path)
    assert {e.key: e.value for e in written.metadata_props} == {"labels": '["cat", "dog"]'}
    assert written.producer_name == "reticule" and not written.doc_string
    assert b"somebody" not in path.read_bytes()
    assert_same(run(written, images(network, 2)), run(model, images(network, 2)))
    first = path.read_bytes()
    to_onnx(network, path, labels=["cat", "dog"])
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    maker = Maker()
    x = maker.node("Mul", maker.input("x", ["N", 3, 9, 8]), maker.weight("scalar"))
    network = from_onnx(maker.output(maker.conv(x, "conv", 4, 3, 3, 3)).model())
    to_safetensors(network, tmp_path / "w.safetensors")
    loaded = load_file(tmp_path / "w.safetensors")
    assert set(loaded) == set(network.tensors)
    for name, tensor in network.tensors.items():
        np.testing.assert_array_equal(loaded[name], tensor)
        assert loaded[name].shape == tensor.shape


@pytest.mark.parametrize("write", [to_onnx, to_safetensors])
def test_nothing_is_left_where_writing_fails(write, tmp_path: Path) -> None:
    network = from_onnx(on_image("Relu"))
    with pytest.raises(ReticuleError, match="missing"):
        write(network, tmp_path / "missing" / "out")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReticuleError, match="folder"):
        write(network, tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_operator_sets_that_cannot_be_written() -> None:
    with pytest.raises(ModelError, match="operator set 9"):
        to_model(from_onnx(on_image("Relu")), opset=9)


@pytest.mark.parametrize("name", ["lenet300100", "lenet5", "resnet20", "resnet44"])
def test_real_networks(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside this checkout")
    network = check(onnx.load(path))
    assert list(network.graph.inputs) == ["input"] and network.graph.outputs == ("logits",)
    assert network.parameters == {
        "lenet300100": 266610, "lenet5": 431080, "resnet20": 269034, "resnet44": 657002,
    }[name]  # fmt: skip
