"""Networks from PyTorch modules compute what the modules compute."""

from __future__ import annotations

import copy
import re
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from gallery import GALLERY  # noqa: E402
from torch import nn  # noqa: E402

from reticule.engine import Model  # noqa: E402
from reticule.errors import ModelError, UnsupportedOperator  # noqa: E402
from reticule.forms import Packed  # noqa: E402
from reticule.graph import Network  # noqa: E402
from reticule.graph.operators import OPERATORS  # noqa: E402
from reticule.graph.torch_in import from_torch  # noqa: E402


class Lambda(nn.Module):
    """A module from a function of itself and its inputs, with a few layers to use."""

    def __init__(self, function, arity: int = 1) -> None:
        super().__init__()
        self.function = function
        self.conv, self.linear = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.weight = nn.Parameter(torch.randn(4, 3))
        if arity == 2:
            self.forward = self.forward_two

    def forward(self, x):
        return self.function(self, x)

    def forward_two(self, left, right):
        return self.function(self, left, right)


def outputs_of(answer) -> list[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return [answer]
    parts = answer.values() if isinstance(answer, dict) else answer
    return [tensor for part in parts if part is not None for tensor in outputs_of(part)]


def assert_same(network: Network, module: nn.Module, *inputs: torch.Tensor) -> None:
    answer = Model(Packed.of(network), threads=1)(*(x.float().numpy() for x in inputs))
    answer = answer if isinstance(answer, tuple) else (answer,)
    module = copy.deepcopy(module).eval().float()
    with torch.no_grad():
        expected = outputs_of(module(*(x.float() for x in inputs)))
    assert len(answer) == len(expected)
    for got, wanted in zip(answer, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-4)


def image(batch: int = 2, channels: int = 4, height: int = 6, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, channels, height, width, generator=generator)


@cache
def imported(name: str) -> tuple[Network, nn.Module, torch.Tensor]:
    module, example = GALLERY[name]()
    return from_torch(module, example), module, example


@pytest.mark.parametrize("name", GALLERY)
def test_gallery_computes_the_same_for_any_batch(name):
    network, module, example = imported(name)
    for batch in (1, len(example), 5):
        x = torch.randn(batch, *example.shape[1:], generator=torch.Generator().manual_seed(4))
        assert_same(network, module, x)


@pytest.mark.parametrize("name", ["mobilenet_v3", "resnet_option_a", "shufflenet", "arithmetic"])
def test_an_example_batch_of_one_is_enough(name):
    module, example = GALLERY[name]()
    assert_same(from_torch(module, example[:1]), module, example)


@pytest.mark.parametrize("name", GALLERY)
def test_tensors_are_the_state_dict(name):
    """Same names, same values; only slopes and constants may be kept in another shape."""
    network, module, _ = imported(name)
    state = module.state_dict()
    for key, tensor in network.tensors.items():
        assert tensor.dtype == np.float32
        if key in state:
            np.testing.assert_array_equal(tensor.ravel(), state[key].numpy().ravel())
        else:
            assert key.endswith((".number", ".T")) or key in ("norm.weight", "norm.bias"), key
    used = {k for k, v in state.items() if v.is_floating_point()} - {"second.weight"}
    turned = {key.removesuffix(".T") for key in network.tensors}
    assert used <= turned
    mine = [key for key in network.graph.tensors if key in state]
    assert sum(network.tensors[key].size for key in mine) <= sum(v.numel() for v in state.values())


def test_the_gallery_uses_every_operator():
    seen = {n.op for name in GALLERY for n in imported(name)[0].graph.nodes}
    assert seen == set(OPERATORS)


def test_tied_weights_are_one_tensor():
    network = imported("tied")[0]
    convs = [node.inputs[1] for node in network.graph.nodes if node.op == "Conv"]
    assert convs == ["stem.weight", "first.weight", "first.weight", "first.weight"]


def test_nodes_are_named_after_their_modules():
    network = imported("alexnet")[0]
    named = [node.name for node in network.graph.nodes if node.op in ("Conv", "Gemm", "LRN")]
    assert named == ["features.0", "features.2", "features.4", "classifier.1", "classifier.3"]


def test_inputs_and_outputs_have_the_names_of_the_code():
    network = imported("several_outputs")[0]
    assert dict(network.graph.inputs) == {"image": (3, 12, 12)}
    assert network.graph.outputs == ("classes", "box", "maps", "again")
    single = imported("mlp")[0]
    assert list(single.graph.inputs) == ["features"] and single.graph.outputs == ("output",)


def test_several_inputs():
    module = Lambda(lambda m, a, b: (m.conv(a) * b, [a - 1, None]), arity=2)
    inputs = image(), image(channels=1)
    network = from_torch(module, inputs)
    assert dict(network.graph.inputs) == {"left": (4, 6, 8), "right": (1, 6, 8)}
    assert_same(network, module, *inputs)


def test_the_module_is_not_changed():
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout()).train()
    module[1].eval()
    before = copy.deepcopy(module.state_dict())
    network = from_torch(module, image())
    assert [part.training for part in module] == [True, False, True] and module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        module[0].weight.zero_()
    assert np.abs(network.tensors["0.weight"]).min() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_become_float32(dtype):
    module = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten()).to(dtype)
    network = from_torch(module, image())
    expected = module[0].weight.detach().float().numpy()
    np.testing.assert_array_equal(network.tensors["0.weight"], expected)
    assert_same(network, module, image())


OPERATIONS = {
    "in-place on a value used again": lambda m, x: F.relu_(y := m.conv(x)) * 2 + y,
    "in-place on a shortcut": lambda m, x: (y := m.conv(x)) + y.mul(2).add_(1).clamp_(max=1),
    "dilated transpose of a weight": lambda m, x: x.mean((2, 3)) @ m.linear.weight.t(),
    "functional linear": lambda m, x: F.linear(x.flatten(2).transpose(1, 2), m.linear.weight),
    "addmm": lambda m, x: torch.addmm(m.linear.bias, x.mean((2, 3)), m.linear.weight.t()),
    "matrix": lambda m, x: x.mean((2, 3)).mm(m.weight),
    "batched matrices": lambda m, x: torch.bmm(x.flatten(2), x.flatten(2).mT),
    "weight computed": lambda m, x: F.conv2d(x, m.conv.weight - m.conv.weight.mean()),
    "parameter alone": lambda m, x: x + m.weight[:, :1, None].abs().sqrt(),
    "literal": lambda m, x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1),
    "integers": lambda m, x: x + torch.arange(8),
    "negative": lambda m, x: -x + 1 / (x * x + 1) + (3 - x) ** 2 + x.square(),
    "selu": lambda m, x: F.selu(x) + F.relu6(x) - F.hardtanh(x, -0.5, 2),
    "limits": lambda m, x: x.clamp(min=-1) + x.clamp_max(0.5) + torch.clamp(x, -1, 1),
    "slices": lambda m, x: x[:, 1:, -3:, :-1] - x[:, :3, :3, 1:],
    "one index": lambda m, x: x[:, -1] + x.select(1, 0) + x[:, 1, :, 2:3],
    "narrow": lambda m, x: x.narrow(2, 1, 4) + x.narrow(2, 2, 1).narrow(3, -1, 1),
    "unequal chunks": lambda m, x: x.chunk(3, 3)[2],
    "unbind": lambda m, x: x.unbind(1)[2] * x.unbind(1)[0],
    "stack": lambda m, x: torch.stack([x, x + 1], 1).flatten(1, 2),
    "ranks": lambda m, x: x.unsqueeze(1).permute(0, 2, 1, 3, 4).squeeze(2).unflatten(1, (2, 2)),
    "all in one axis": lambda m, x: m.linear(x.permute(0, 2, 3, 1).reshape(-1, 4)).view(-1, 48, 3),
    "pixel shuffle": lambda m, x: F.pixel_unshuffle(F.pixel_shuffle(x, 2) + 1, 2),
    "zeros around": lambda m, x: torch.cat([torch.zeros_like(x), x, x, x.new_zeros(x.shape)], 1),
    "pads": lambda m, x: F.pad(x, (1, -2, 0, 3), value=0.5) + F.pad(x, (-1, 0, 1, 2)),
    "adaptive": lambda m, x: F.adaptive_avg_pool2d(x, (3, None)) + F.adaptive_max_pool2d(x, (3, 8)),
    "pool with indices": lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0],
    "maximum": lambda m, x: x.amax((-1, -2), keepdim=True) * x.sum(1, keepdim=True),
    "dtype": lambda m, x: x.to(torch.float64).float().contiguous().detach().clone() + 1,
    "unused results": lambda m, x: (m.conv(x), m.linear(x.mean((2, 3))))[0],
    "the input": lambda m, x: (x, x, x.relu()),
    "expanded": lambda m, x: torch.cat([x.mean((2, 3), True).expand(-1, -1, 6, 8), x], 1),
    "shared norm": lambda m, x: m.norm(m.norm(x)),
    "nested": lambda m, x: {"a": x.relu(), "b": [x.tanh(), (x.sigmoid(), None)]},
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    module = Lambda(OPERATIONS[name]).eval()
    network = from_torch(module, image())
    assert_same(network, module, image())
    assert_same(network, module, image(batch=5))


def test_weight_normalised_layers_are_folded():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 5, 3)))
    network = from_torch(module, image())
    assert [node.name for node in network.graph.nodes] == ["0"]
    assert set(network.tensors) == {"0.weight", "0.bias"}
    assert_same(network, module, image())


UNSUPPORTED = {
    "aten.gelu": lambda m, x: F.gelu(x),
    "aten.conv1d": lambda m, x: F.conv1d(x.flatten(2), torch.ones(1, 4, 3)),
    "aten.conv_transpose2d": lambda m, x: F.conv_transpose2d(x, m.conv.weight),
    "aten.group_norm": lambda m, x: F.group_norm(x, 2),
    "aten.avg_pool3d": lambda m, x: F.local_response_norm(x, 4),
    "aten.avg_pool2d": lambda m, x: F.avg_pool2d(x, 2, divisor_override=3),
    "aten.adaptive_avg_pool2d": lambda m, x: F.adaptive_avg_pool2d(x, 5),
    "aten.pad": lambda m, x: F.pad(x, (1, 1, 1, 1), mode="circular"),
    "aten.conv2d": lambda m, x: F.conv2d(x, x.mean(0, keepdim=True)[..., :3]),
    "aten.mean": lambda m, x: x - x.mean(),
    "aten.softmax": lambda m, x: x.softmax(0),
    "aten.max_pool2d_with_indices": lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1],
    "aten.argmax": lambda m, x: x.argmax(1),
    "aten.cat": lambda m, x: torch.cat([x, m.weight[None, :, :, None].expand(2, 4, 3, 8)], 2),
    "aten.native_dropout": lambda m, x: F.dropout(x),
    "aten.rand": lambda m, x: x + torch.rand(4, 1, 1),
    "aten.pow": lambda m, x: x**0.3,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_operations_are_named(name):
    with pytest.raises(UnsupportedOperator) as caught:
        from_torch(Lambda(UNSUPPORTED[name]), image())
    assert "\n" not in str(caught.value) and caught.value.node
    if name not in ("aten.pad", "aten.conv2d", "aten.max_pool2d_with_indices"):
        assert caught.value.operator == name


def test_an_unsupported_layer_is_named_by_its_path():
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.ReLU(), nn.GELU()))
    with pytest.raises(UnsupportedOperator, match=r"node '1\.1': operator 'aten\.gelu'.*ReLU"):
        from_torch(module, image())


def test_norms_without_statistics():
    module = nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(UnsupportedOperator, match="track_running_stats"):
        from_torch(nn.Sequential(module), image())


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.reshape(2, -1, 4).transpose(0, 1),
        lambda m, x: x.reshape(1, 8, 6, 8).relu(),
        lambda m, x: x + torch.ones(2, 1, 1, 1),
        lambda m, x: x[:1].relu(),
        lambda m, x: x.mean((1, 2, 3)).view(1, 2).relu(),
    ],
)
def test_a_network_that_fixes_the_batch_is_refused(function):
    with pytest.raises(ModelError, match="works for a batch of 2 only"):
        from_torch(Lambda(function), image())


def test_control_flow_is_located():
    def forward(module, x):
        if x.sum() > 0:
            return x
        return -x

    with pytest.raises(ModelError) as caught:
        from_torch(Lambda(forward), image())
    message = str(caught.value)
    assert re.match(r"Lambda: cannot be exported at test_torch_in\.py:\d+", message)
    assert "x.sum() > 0" in message and "\n" not in message and "ONNX" in message


def test_wrong_examples():
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(ModelError, match=r"Sequential: cannot be exported.*example input"):
        from_torch(module, image())
    for example in (None, (), torch.tensor(1.0), (image(), 3), np.zeros((1, 4, 6, 8))):
        with pytest.raises(ModelError, match="example input must be a tensor"):
            from_torch(module, example)
    with pytest.raises(ModelError, match="differ in batch size"):
        from_torch(Lambda(lambda m, a, b: a, arity=2), (image(1), image(2)))
    with pytest.raises(ModelError, match="not a function"):
        from_torch(lambda x: x, image())
    with pytest.raises(ModelError, match=r"needs an image batch|is not supported"):
        from_torch(nn.Sequential(nn.Conv2d(4, 4, 3)), image()[0])


def test_outputs_that_are_no_function_of_the_input():
    with pytest.raises(ModelError, match="does not depend on the input"):
        from_torch(Lambda(lambda m, x: m.weight * 2), image())
    with pytest.raises(ModelError, match="returns no tensors"):
        from_torch(Lambda(lambda m, x: None), image())


def test_weights_that_are_not_finite():
    module = nn.Sequential(nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        module[0].weight[1, 2] = float("nan")
    with pytest.raises(ModelError, match=r"'0\.weight' has 1 weights that are NaN"):
        from_torch(module, image())
