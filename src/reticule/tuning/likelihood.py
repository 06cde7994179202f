"""How much two networks' answers to the same inputs differ, in nats.

Of a classifier that is the divergence KL(exact || found) of the probabilities.  Of any other
network answers are numbers, and the answer of the compressed one is taken for a draw from a
normal distribution about the exact one, so narrow that an error of 10 % (of the standard
deviation of the output, see :mod:`reticule.evaluation.fidelity`) costs a twentieth of a nat:

    nats = 10/2 * sum over outputs of mean((found - exact)^2) / spread^2

Both have a Fisher information, which is what second-order methods need (Martens, "New insights
and perspectives on the natural gradient method", JMLR 2020, section 9).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reticule.graph import Graph
from reticule.tuning.running import answers

PRECISION = 10.0  # nats of a squared error of one spread, twice


@dataclass(frozen=True)
class Likelihood:
    """What the answers of a network are compared as.

    ``spreads`` is the standard deviation of each output, or None for a classifier.
    """

    spreads: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        graph: Graph,
        tensors: Mapping[str, Tensor],
        inputs: tuple[np.ndarray, ...],
        *,
        classified: bool,
    ) -> Likelihood:
        """``inputs`` (one array for each of the network's) show how its answers spread."""
        if classified:
            return cls(None)
        return cls(spreads_of(answers(graph, tensors, inputs)))

    def compared(self, graph: Graph, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Each output as (n, values): logarithms of probabilities, or numbers over their spread."""
        if self.spreads is None:
            return [answer.log_softmax(1) for answer in logits(graph, outputs)]
        flat = [_wide(output).flatten(1) for output in outputs]
        return [
            values * (math.sqrt(PRECISION / max(values.shape[1], 1)) / spread)
            for values, spread in zip(flat, self.spreads, strict=True)
        ]

    def nats(self, exact: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
        """What ``found`` loses, for each input (n,); both from :meth:`compared`."""
        total = torch.zeros(len(exact[0]), dtype=exact[0].dtype, device=exact[0].device)
        for a, b in zip(exact, found, strict=True):
            if self.spreads is None:
                total = total + F.kl_div(b, a, reduction="none", log_target=True).sum(1)
            else:
                total = total + 0.5 * (a - b).square().sum(1)
        return total

    def drawn(self, compared: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """The log-likelihood of answers that are drawn from the network's own, summed: a scalar.

        The mean square of its gradient is the Fisher information.
        """
        total = torch.zeros(())
        for answer in compared:
            if self.spreads is None:
                classes = torch.multinomial(answer.detach().exp(), 1, generator=generator)
                total = total + answer.gather(1, classes).sum()
            else:
                noise = torch.empty(answer.shape).bernoulli_(0.5, generator=generator) * 2 - 1
                total = total + (noise * answer).sum()
        return total


def spreads_of(outputs: Sequence[np.ndarray]) -> tuple[float, ...]:
    """The standard deviation of each output; of one that never varies its size, or 1."""
    found = []
    for output in outputs:
        values = output.astype(np.float64)
        spread, power = float(values.std()), float(np.sqrt(np.square(values).mean()))
        spread = spread if spread > 1e-6 * power else power
        found.append(spread if spread > 0 and math.isfinite(spread) else 1.0)
    return tuple(found)


def logits(graph: Graph, outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs as (N, classes) logits, also where the network ends in a softmax."""
    makers = {node.outputs[0]: node.op for node in graph.nodes}
    out = []
    for name, values in zip(graph.outputs, outputs, strict=True):
        flat = _wide(values).flatten(1)
        out.append(flat.clamp_min(1e-12).log() if makers.get(name) == "Softmax" else flat)
    return out


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
