"""Incremental network quantisation: weights become powers of two, a part at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Codebook, Form, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.lowbit.stage import (
    Ends,
    chosen,
    finished,
    latent_training,
    notes_of,
    parts_of,
    settings_of,
)
from reticule.methods.lowbit.twins import LatentTwin, halved
from reticule.methods.select import SMALLEST
from reticule.tuning.train import Training
from reticule.tuning.twins import array

Fraction = Annotated[float, Field(gt=0, le=1)]


@method("inq")
@dataclass(frozen=True)
class PowersOfTwo:
    """Round weights to 0 and powers of two, the largest first, and train the others on.

    The values of a layer are

        P = {0, +-2^n2, ..., +-2^n1},  n1 = floor(log2(4 / 3 * max |w|)),  n2 = n1 + 1 - 2^(b - 2)

    for b = ``bits``, of which one is for zero and one for the sign.  A weight goes to the
    power 2^n with 3/4 * 2^n <= |w| < 3/2 * 2^n, to 2^n1 above and to 0 below 2^(n2 - 1).
    When the share ``parts[i]`` of a layer's weights has its final values, those with the
    largest |w|, they stay fixed, and the others are trained to make up for it.  After the
    last share, 1, biases alone would be left, so that training ends there.

    First convolution and last linear layer stay in full precision (``ends: full``), go to
    8 bits, or become powers of two like all others (``same``).  Pruned weights stay zero
    and are not counted.

    Source: Zhou, Yao, Guo, Xu, Chen, "Incremental Network Quantization", ICLR 2017,
    sections 2.1 and 2.2.
    """

    bits: Annotated[int, Field(ge=2, le=6)] = 5
    parts: Sequence[Fraction] = (0.5, 0.75, 0.875, 1.0)
    ends: Ends = "8bit"
    share: Annotated[float, Field(gt=0)] = 0.8
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rising = all(one < other for one, other in pairwise(self.parts))
        if not self.parts or not rising or self.parts[-1] != 1:
            raise ValueError(f"parts {list(self.parts)} must rise to 1")

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, finer, skipped = chosen(packed, self.ends, self.skip, self.smallest)
        settings = settings_of(self.training, self.share, context, packed)
        twins = {name: PowersTwin(*parts_of(packed.forms[name]), self.bits) for name in names}
        done = -1

        def fix(step: int, steps: int) -> None:
            """A stretch of training of the same length after each part but the last."""
            nonlocal done
            now = min(step * max(len(self.parts) - 1, 1) // max(steps, 1), len(self.parts) - 1)
            if now > done:
                done = now
                for twin in twins.values():
                    twin.fix(self.parts[now])

        trained = latent_training(packed, context, twins, settings, "powers of two", fix)
        notes: dict[str, Any] = notes_of(trained, names, settings)
        return Outcome(finished(trained, finer, self.ends), skipped, notes)


class PowersTwin(LatentTwin):
    """Weights of which a part has its final value."""

    def __init__(self, weights: np.ndarray, kept: np.ndarray | None, bits: int) -> None:
        super().__init__(weights, np.ones(1), kept)
        self.powers = powers_for(float(np.abs(weights).max(initial=0.0)), bits)
        self._fixed = torch.zeros_like(self.latent, dtype=torch.bool)
        self._final = torch.zeros_like(self.latent, requires_grad=False)

    def fix(self, part: float) -> None:
        """Round the largest weights until this part of all that are kept is fixed."""
        weights = array(self.tensor())
        fixed = self._fixed.cpu().contiguous().numpy().reshape(-1).copy()
        free = ~fixed if self._kept is None else ~fixed & self._kept.reshape(-1)
        total = fixed.sum() + free.sum()
        wanted = round(part * total) - int(fixed.sum())
        places = np.flatnonzero(free)
        largest = np.argsort(-np.abs(weights.reshape(-1)[places]), kind="stable")
        fixed[places[largest[: max(wanted, 0)]]] = True
        self._fixed.copy_(torch.from_numpy(fixed.reshape(weights.shape)))
        self._final.copy_(torch.from_numpy(rounded(weights, self.powers)))

    def tensor(self) -> Tensor:
        return self.masked(torch.where(self._fixed, self._final, self.latent))

    def form(self) -> Form:
        self.fix(1.0)
        values = array(self.tensor())
        table, indices = np.unique(values, return_inverse=True)
        return Codebook(indices.reshape(values.shape), halved(table))


def powers_for(largest: float, bits: int) -> np.ndarray:
    """The positive powers of two (float32, ascending) for weights up to this size.

    >>> powers_for(0.8, 4).tolist()
    [0.125, 0.25, 0.5, 1.0]
    """
    top = int(np.floor(np.log2(4 * largest / 3))) if largest > 0 else 0
    exponents = np.arange(top + 1 - (1 << (bits - 2)), top + 1)
    return np.ldexp(np.float32(1), exponents).astype(np.float32)


def rounded(weights: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Each weight as 0 or plus or minus one of the powers (float32).

    >>> rounded(np.array([0.7, -0.8, 0.3, 0.2, 9.0]), np.array([0.5, 1.0])).tolist()
    [0.5, -1.0, 0.5, 0.0, 1.0]
    """
    table = np.concatenate([[0.0], powers]).astype(np.float32)
    # Below half of the smallest power is zero; above, the border is the middle of two powers.
    borders = np.concatenate([[powers[0] / 2], 0.75 * powers[1:]])
    sizes = table[np.searchsorted(borders, np.abs(weights), side="right")]
    return np.copysign(sizes, weights).astype(np.float32) + np.float32(0)
