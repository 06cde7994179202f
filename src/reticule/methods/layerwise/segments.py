"""Two networks run side by side, from one layer to the next, and kept small on the way.

At any time only the values are held that later nodes read, of all batches; between two layers
one batch is worked on at a time.  As long as nothing has changed, the two are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from reticule.graph import Graph
from reticule.methods.layerwise.layer import Streams
from reticule.methods.layerwise.sizes import batch_of, last_uses
from reticule.tuning.executor import EXECUTORS
from reticule.tuning.problem import as_input

Values = dict[str, Tensor]


class Flow:
    """The values of both networks at a node: ``then`` with the tensors as they were, ``now``
    with those that were changed; one dictionary for each batch."""

    def __init__(
        self, graph: Graph, tensors: Mapping[str, Tensor], inputs: Sequence[np.ndarray]
    ) -> None:
        self.graph, self.tensors = graph, tensors
        size = batch_of(graph)
        count = len(inputs[0]) if inputs else 0
        self.then: list[Values] = [
            {
                name: as_input(np.asarray(values[i : i + size], np.float32))
                for name, values in zip(graph.inputs, inputs, strict=True)
            }
            for i in range(0, count, size)
        ]
        self.now = self.then
        self._changed: dict[str, Tensor] = {}
        self._at = 0
        self._last = last_uses(graph)

    @property
    def alive(self) -> set[str]:
        """Names of the values that are held."""
        return set(self.then[0]) if self.then else set()

    def values(self, names: Sequence[str], side: list[Values]) -> Streams:
        """Some values of one of the networks, batch by batch."""
        return {name: [values[name] for values in side] for name in names}

    def change(self, name: str, tensor: Tensor) -> None:
        """Use another tensor in the second network, from the node on that is at hand."""
        if self.now is self.then:
            self.now = [dict(values) for values in self.then]
        self._changed[name] = tensor

    def advance(self, end: int) -> None:
        """Run both up to the node number ``end``, which is the next."""
        for number in range(len(self.then)):
            if self.now is not self.then:
                tensors = {**self.tensors, **self._changed}
                self._run(self.now[number], tensors, end)
            self._run(self.then[number], self.tensors, end)
        self._at = end

    def _run(self, values: Values, tensors: Mapping[str, Tensor], end: int) -> None:
        for i in range(self._at, end):
            node = self.graph.nodes[i]
            ins = [
                None if not name else values[name] if name in values else tensors[name]
                for name in node.inputs
            ]
            values[node.outputs[0]] = EXECUTORS[node.op](ins, node.settings)
            for name in (*node.inputs, node.outputs[0]):
                if self._last.get(name, -1) <= i:
                    values.pop(name, None)
