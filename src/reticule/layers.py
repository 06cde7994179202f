"""The layers of a packed network: what ``inspect`` and the report show of each.

>>> import numpy as np
>>> from reticule.forms import Packed
>>> from reticule.graph import Graph, Network, Node
>>> graph = Graph({"x": (2,)}, ("y",), (Node("Gemm", "fc", ("x", "w"), ("y",)),), {"w": (3, 2)})
>>> packed = Packed.of(Network(graph, {"w": np.eye(3, 2, dtype="f4")}))
>>> layers_of(packed, {"w": 24})[0].bits_per_weight
32.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from reticule.forms import Packed


@dataclass(frozen=True)
class Layer:
    """One node with the tensors that it is the first to use.

    ``form``, ``shape`` and ``density`` are those of its largest tensor, ``bytes`` and
    ``weights`` those of all of them.
    """

    name: str
    op: str
    form: str
    shape: tuple[int, ...]
    density: float
    bytes: int
    weights: int
    largest: str  # name of the largest tensor

    @property
    def bits_per_weight(self) -> float:
        """Bits in the file for each weight of the layer, zeros counted as weights."""
        return 8 * self.bytes / max(self.weights, 1)

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        return {
            **{name: plain[name] for name in ("name", "op", "form")},
            "shape": list(self.shape),
            "density": round(self.density, 6),
            "bits_per_weight": round(self.bits_per_weight, 4),
            "bytes": self.bytes,
        }


def layers_of(packed: Packed, tensor_bytes: Mapping[str, int]) -> list[Layer]:
    """All layers in graph order; their bytes add up to those of all tensors."""
    layers = [
        _layer(packed, tensor_bytes, node.name, node.op, own) for node, own in packed.graph.layers()
    ]
    used = {name for _, own in packed.graph.layers() for name in own}
    if unused := tuple(name for name in packed.forms if name not in used):
        layers.append(_layer(packed, tensor_bytes, "(not used)", "", unused))
    return layers


def _layer(
    packed: Packed, tensor_bytes: Mapping[str, int], name: str, op: str, own: tuple[str, ...]
) -> Layer:
    largest = max(own, key=lambda tensor: packed.forms[tensor].size)
    form = packed.forms[largest]
    return Layer(
        name=name,
        op=op,
        form=form.name + _blocks(packed, largest),
        shape=tuple(form.shape),
        density=form.nonzero / max(form.size, 1),
        bytes=sum(tensor_bytes[tensor] for tensor in own),
        weights=sum(packed.forms[tensor].size for tensor in own),
        largest=largest,
    )


def _blocks(packed: Packed, tensor: str) -> str:
    """How many blocks of rows and columns its coder knows, if any."""
    hint = packed.hints.get(tensor)
    if hint is None or not hint.fits(packed.forms[tensor].shape):
        return ""
    return ", {} x {} blocks".format(*hint.blocks)
