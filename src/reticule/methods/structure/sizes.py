"""Bytes of a network and of some of its tensors, as the writer makes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reticule.codec import About, dumps
from reticule.forms import Packed
from reticule.methods.base import Context


def size_of(packed: Packed, context: Context) -> int:
    """Bytes of the file that this network would have."""
    if context.file_size is not None:
        return context.file_size(packed)
    return len(dumps(packed, About()))


def part_of(packed: Packed, names: Iterable[str]) -> Packed:
    """Some tensors of a network, as a file of their own would hold them."""
    forms = {name: packed.forms[name] for name in names}
    inputs = dict(packed.graph.inputs)
    shapes = {name: packed.graph.tensors[name] for name in forms}
    graph = replace(packed.graph, nodes=(), outputs=tuple(inputs)[:1], tensors=shapes)
    return replace(packed, graph=graph, forms=forms)
