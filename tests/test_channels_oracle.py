"""Which channels belong together, beside Torch-Pruning's dependency graph, a second implementation.

Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023.  What is compared are weights:
those that go when one channel of a layer goes, for every channel of every convolution and linear
layer.  Not all of the gallery can be, and that the smaller network computes what the masked one
does is checked for all of it in ``test_channels.py``:

* Channels at the same place of each group of a grouped convolution are one unit here, so that the
  groups stay alike; Torch-Pruning leaves that to its pruner.  So it is asked for all of them.
* ``shufflenet``: it ties all channels that meet a shuffle, where each could go alone.
* ``resnet_option_a``: it takes no notice of how many zero channels stand before and behind those
  of a shortcut, and ties channels that are not added; what it leaves does not run.
* ``tied``: it sees two layers where one weight is the weight of both.
* ``several_outputs`` and ``arithmetic``: it cannot follow them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pruning = pytest.importorskip("torch_pruning", reason="needs Torch-Pruning: it is in '.[dev]'")

from gallery import GALLERY  # noqa: E402
from torch import nn  # noqa: E402

import reticule  # noqa: E402
from reticule.graph.channels import trace  # noqa: E402

ALIKE = (
    "lenet", "mlp", "mobilenet_v2", "mobilenet_v3", "efficientnet", "densenet", "squeezenet",
    "inception", "binarised", "odd_sizes",
)  # fmt: skip
GROUPED = ("resnext", "alexnet")

Lines = set[tuple[int, int, int]]
"""A weight's number, axis, and place along it."""


class Both:
    """A module of the gallery, and what goes with a channel of it by either program."""

    def __init__(self, name: str) -> None:
        self.module, example = GALLERY[name]()
        self.channels = trace(reticule.from_torch(self.module, example).graph)
        self.theirs = pruning.DependencyGraph().build_dependency(self.module, example)
        self.weights = {name: id(weight) for name, weight in self.module.named_parameters()}

    def layers(self) -> Iterator[tuple[str, nn.Module, np.ndarray]]:
        """Convolutions and linear layers, and the unit of each of their outputs."""
        for name, layer in self.module.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                yield name, layer, self.channels.tensors[f"{name}.weight", 0]

    def ours(self, unit: int) -> Lines:
        return {
            (self.weights[tensor], axis, place)
            for (tensor, axis), line in self.channels.tensors.items()
            if tensor.endswith("weight") and tensor in self.weights
            for place in np.flatnonzero(line == unit).tolist()
        }

    def dependency(self, layer: nn.Module, places: list[int]) -> Lines:
        """What Torch-Pruning would take out with these outputs of a layer."""
        kind = "linear" if isinstance(layer, nn.Linear) else "conv"
        kind = "depthwise_conv" if depthwise(layer) else kind
        group = self.theirs.get_pruning_group(
            layer, getattr(pruning, f"prune_{kind}_out_channels"), idxs=places
        )
        found = set()
        for dependency, gone in group:
            module, reads = dependency.target.module, "in_channels" in dependency.handler.__name__
            if isinstance(getattr(module, "weight", None), nn.Parameter):
                matrix = isinstance(module, nn.Conv2d | nn.Linear) and not depthwise(module)
                axis = int(reads and matrix)
                # Of a grouped convolution it counts inputs through all groups.
                lines = module.weight.shape[axis]
                found |= {(id(module.weight), axis, place % lines) for place in gone}
        return found


def depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


@pytest.mark.parametrize("name", ALIKE)
def test_a_channel_takes_the_same_weights_with_it(name: str) -> None:
    both = Both(name)
    for layer, module, units in both.layers():
        for place, unit in enumerate(units.tolist()):
            assert both.ours(unit) == both.dependency(module, [place]), (layer, place)


@pytest.mark.parametrize("name", GROUPED)
def test_so_do_channels_at_the_same_place_of_each_group(name: str) -> None:
    both = Both(name)
    for layer, module, units in both.layers():
        for unit in np.unique(units).tolist():
            places = np.flatnonzero(units == unit).tolist()
            assert both.ours(unit) == both.dependency(module, places), (layer, places)


def test_a_shuffle_ties_nothing_that_the_other_does_not_tie() -> None:
    both = Both("shufflenet")
    for layer, module, units in both.layers():
        for place, unit in enumerate(units.tolist()):
            assert both.ours(unit) <= both.dependency(module, [place]), (layer, place)
