"""The weights of a network, coded once for any number of files.

What a file says about itself changes while it is made: the accuracy of the decoded file goes into
it.  Its weights do not, and coding them is what takes long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reticule.codec.section import Written, write_section
from reticule.errors import ModelError
from reticule.forms import BlockLabels, Form, Packed

DEFAULT_PRESET = "small"


@dataclass(frozen=True)
class Weights:
    """The coded weights of a network: what takes long to make of a file.

    They serve for any description of the same network.  ``forms`` and ``hints`` are those that
    were coded.
    """

    forms: Mapping[str, Form]
    hints: Mapping[str, BlockLabels]
    preset: str
    section: Written

    def check(self, packed: Packed, preset: str) -> None:
        """ValueError unless they are those of this network in this preset."""
        if self.preset != preset or list(self.forms) != list(packed.graph.tensors):
            raise ValueError("weights that were coded of another network, or in another preset")
        for name, form in self.forms.items():
            if packed.forms.get(name) is not form:
                raise ValueError(f"the weights of tensor '{name}' were coded in another form")
            if packed.hints.get(name) is not self.hints.get(name):
                raise ValueError(f"the weights of tensor '{name}' were coded with other blocks")


def encode_weights(
    packed: Packed, preset: str = DEFAULT_PRESET, threads: int | None = None
) -> Weights:
    """Code the weights of a network, for :func:`dumps` and :func:`save`.

    Any number of ``threads`` (None: one for each processor) gives the same bytes.  ModelError if
    the network cannot be stored.
    """
    graph = packed.graph.check()
    if set(graph.tensors) != set(packed.forms):
        odd = min(set(graph.tensors) ^ set(packed.forms))
        raise ModelError(f"tensor '{odd}' is in the graph or has a form, but not both")
    for name, shape in graph.tensors.items():
        if packed.forms[name].shape != tuple(shape):
            raise ModelError(
                f"tensor '{name}' has a form of shape {packed.forms[name].shape}, not {shape}"
            )
    forms = {name: packed.forms[name] for name in graph.tensors}
    section = write_section(forms, preset, packed.hints, threads)
    return Weights(forms, dict(packed.hints), preset, section)
