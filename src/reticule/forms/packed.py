"""A whole network in which every tensor has a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from reticule.forms.base import Form
from reticule.forms.dense import Dense
from reticule.forms.labels import BlockLabels
from reticule.graph import Graph, Network


@dataclass(frozen=True)
class Packed:
    """A graph and one form for each of its tensors: what methods change and files hold.

    ``hints`` are blocks of some tensors, which may make a file smaller and change no value.  One
    that does not fit its tensor any more is passed over.
    """

    graph: Graph
    forms: Mapping[str, Form]
    hints: Mapping[str, BlockLabels] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> Packed:
        """Every tensor dense, as it is; arrays that can be written to are copied."""
        forms = {
            name: Dense(tensor.astype("f4", copy=tensor.flags.writeable))
            for name, tensor in network.tensors.items()
        }
        return cls(network.graph, forms)

    def network(self) -> Network:
        """All weights restored."""
        return Network(self.graph, {name: form.dense() for name, form in self.forms.items()})

    def same_weights(self, other: Packed) -> bool:
        """Whether both are the same graph with the same weights, whatever their forms are."""
        return self.graph == other.graph and all(
            form is other.forms[name] or np.array_equal(form.dense(), other.forms[name].dense())
            for name, form in self.forms.items()
        )

    def with_forms(self, changed: Mapping[str, Form]) -> Packed:
        """The same network with some tensors in other forms."""
        return replace(self, forms={**self.forms, **changed})
