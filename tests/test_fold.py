"""Folding: fewer nodes, the same function, no tensor of anybody else changed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import Maker, run

from reticule.graph import Network, fold_batch_norm
from reticule.graph.onnx_in import from_onnx
from reticule.graph.onnx_out import to_model


def check(maker: Maker) -> Network:
    """Fold, and compare with the unfolded network in ONNX Runtime; returns the folded one."""
    network = from_onnx(maker.model())
    before = {name: tensor.copy() for name, tensor in network.tensors.items()}
    folded = fold_batch_norm(network)
    random = np.random.default_rng(1)
    feeds = {
        name: random.standard_normal((3, *shape)).astype("f4")
        for name, shape in network.graph.inputs.items()
    }
    expected = run(to_model(network), feeds)
    for got, want in zip(run(to_model(folded), feeds), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
    for name, tensor in network.tensors.items():
        np.testing.assert_array_equal(tensor, before[name])
    assert set(folded.tensors) == {n for _, own in folded.graph.layers() for n in own}
    again = fold_batch_norm(folded)
    assert again.graph == folded.graph
    return folded


def ops(network: Network) -> list[str]:
    return [node.op for node in network.graph.nodes]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_behind_a_convolution(bias: bool, group: int) -> None:
    maker = Maker()
    x = maker.input("x", ["N", 4, 6, 6])
    y = maker.conv(x, "conv", 8, 4 // group, 3, 3, bias=bias, group=group, pads=[1] * 4)
    y = maker.batch_norm(y, "bn", 8, epsilon=1e-3)
    folded = check(maker.output(maker.node("Relu", y)))
    assert ops(folded) == ["Conv", "Relu"]
    assert set(folded.tensors) == {"conv.weight", "conv.bias"}


def test_behind_a_linear_layer() -> None:
    maker = Maker()
    y = maker.linear(maker.input("x", ["N", 5]), "fc", 4, 5)
    assert ops(check(maker.output(maker.batch_norm(y, "bn", 4)))) == ["Gemm"]


def test_a_normalisation_of_another_axis_stays() -> None:
    maker = Maker()
    y = maker.node("MatMul", maker.input("x", ["N", 4, 5]), maker.weight("w", 5, 4))
    assert ops(check(maker.output(maker.batch_norm(y, "bn", 4)))) == ["Gemm", "BatchNormalization"]


def test_pre_activation_networks_keep_theirs() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 4, 6, 6])
    y = maker.conv(maker.node("Relu", maker.batch_norm(x, "a", 4)), "conv", 4, 4, 3, 3)
    joined = maker.node("Concat", y, y, axis=1)
    folded = check(maker.output(maker.batch_norm(joined, "b", 8)))
    assert ops(folded) == ["BatchNormalization", "Relu", "Conv", "Concat", "BatchNormalization"]


@pytest.mark.parametrize("output", [True, False])
def test_an_output_that_is_used_elsewhere_stays(output: bool) -> None:
    maker = Maker()
    y = maker.conv(maker.input("x", ["N", 4, 6, 6]), "conv", 4, 4, 3, 3)
    normal = maker.batch_norm(y, "bn", 4)
    maker.output(normal, y) if output else maker.output(maker.node("Add", normal, y))
    assert ops(check(maker))[:2] == ["Conv", "BatchNormalization"]


def test_shared_tensors_are_copied() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 4, 6, 6])
    weight, bias = maker.weight("w", 4, 4, 1, 1), maker.weight("b", 4)
    y = maker.batch_norm(maker.node("Conv", x, weight, bias), "first", 4)
    y = maker.batch_norm(maker.node("Conv", y, weight, bias), "second", 4)
    y = maker.node("Conv", y, weight, bias)
    folded = check(maker.output(y))
    assert ops(folded) == ["Conv"] * 3
    assert len(folded.tensors) == 6 and {"w", "b"} <= set(folded.tensors)


def test_scales_and_shifts_per_channel() -> None:
    """As Caffe's Scale layers and hard-coded preprocessing become ONNX."""
    maker = Maker()
    y = maker.conv(maker.input("x", ["N", 3, 6, 6]), "conv", 4, 3, 3, 3, bias=False)
    y = maker.batch_norm(y, "bn", 4)
    y = maker.node("Mul", maker.weight("scale", 4, 1, 1), y)
    y = maker.node("Add", y, maker.weight("shift", 1, 4, 1, 1))
    y = maker.node("Sub", maker.weight("from", 1), y)
    y = maker.node("Sub", y, maker.weight("minus", 4, 1, 1))
    y = maker.node("Div", y, maker.weight("by", positive=True))
    folded = check(maker.output(y))
    assert ops(folded) == ["Conv"] and len(folded.tensors) == 2


def test_other_constants_stay() -> None:
    maker = Maker()
    y = maker.conv(maker.input("x", ["N", 3, 6, 6]), "conv", 6, 3, 1, 1)
    y = maker.node("Mul", y, maker.weight("width", 6))
    y = maker.node("Div", maker.weight("over", positive=True), y)
    assert ops(check(maker.output(y))) == ["Conv", "Mul", "Div"]


def test_a_new_bias_gets_a_name_that_is_free() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 3, 6, 6])
    y = maker.batch_norm(maker.conv(x, "conv", 4, 3, 1, 1, bias=False), "bn", 4)
    y = maker.node("PRelu", y, maker.constant("conv.bias", 0.3, "f4"))
    folded = check(maker.output(y))
    assert set(folded.tensors) == {"conv.weight", "conv.bias", "conv.bias_1"}


def test_residual_block() -> None:
    maker = Maker()
    x = maker.input("x", ["N", 4, 6, 6])
    y = maker.conv(x, "a", 4, 4, 3, 3, bias=False, pads=[1] * 4)
    y = maker.node("Relu", maker.batch_norm(y, "bn1", 4))
    y = maker.batch_norm(maker.conv(y, "b", 4, 4, 3, 3, bias=False, pads=[1] * 4), "bn2", 4)
    folded = check(maker.output(maker.node("Relu", maker.node("Add", y, x))))
    assert ops(folded) == ["Conv", "Relu", "Conv", "Add", "Relu"]
