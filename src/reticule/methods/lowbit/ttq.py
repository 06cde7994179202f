"""Trained ternary quantisation: two trained values in each layer, and zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Codebook, Form, Packed, Scaled
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
from reticule.methods.lowbit.ternary import Scales, best_ternary
from reticule.methods.lowbit.twins import (
    LatentTwin,
    halved,
    mean_size,
    over_rows,
    positive,
    straight_through,
)
from reticule.methods.select import SMALLEST
from reticule.tuning.train import Training
from reticule.tuning.twins import array, leaf

Threshold = Annotated[float, Field(gt=0, lt=1)] | Literal["best"]


@method("ttq")
@dataclass(frozen=True)
class TrainedTernary:
    """Train latent weights w, and for each layer the two values of its ternary form.

    The latent weights of a layer are divided by the largest |w| and kept in [-1, 1]; with
    the threshold D the network computes with

        w_t = Wp where w > D,  -Wn where w < -D,  else 0
        dL/dWp =   sum of dL/dw_t over w > D
        dL/dWn = - sum of dL/dw_t over w < -D
        dL/dw  = dL/dw_t * (Wp where w > D, 1 between, Wn where w < -D)

    so that a layer costs two numbers, and its signs may differ in size.  ``threshold`` is
    D, or "best": at the start the one with the least squared error, then fixed.

    In the source batch norm follows each layer and gives every channel a scale of its own.
    Here batch norm has been folded away, and ``scales: channel`` takes its place: w is
    divided by its channel's mean |w| first, and w_t multiplied by a trained scale, which
    starts there.  ``scales: layer`` is the source's form, a codebook of three values.

    First convolution and last linear layer stay in full precision (``ends: full``, as in
    the source), go to 8 bits, or become ternary too (``same``).  What is done with them is
    done with the layers of fewest weights, too, as long as those hold no more than the
    share ``spare`` of all weights: little is lost on them.  Pruned weights stay zero.

    Source: Zhu, Han, Mao, Dally, "Trained Ternary Quantization", ICLR 2017, section 3.
    """

    threshold: Threshold = "best"
    scales: Scales = "channel"
    ends: Ends = "8bit"
    spare: Annotated[float, Field(ge=0, le=1)] = 0.0
    share: Annotated[float, Field(gt=0)] = 0.8
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, finer, skipped = chosen(packed, self.ends, self.skip, self.smallest, self.spare)
        settings = settings_of(self.training, self.share, context, packed)
        by_channel = self.scales == "channel"
        twins = {
            name: TrainedTernaryTwin(*parts_of(packed.forms[name]), by_channel, self.threshold)
            for name in names
        }
        trained = latent_training(packed, context, twins, settings, "trained ternary weights")
        return Outcome(
            finished(trained, finer, self.ends), skipped, notes_of(trained, names, settings)
        )


class TrainedTernaryTwin(LatentTwin):
    """Latent weights in [-1, 1], the values Wp and Wn, and scales where they are trained."""

    def __init__(
        self,
        weights: np.ndarray,
        kept: np.ndarray | None,
        by_channel: bool,
        threshold: float | Literal["best"],
    ) -> None:
        unit = np.ones(1, np.float32)
        if by_channel:
            unit = positive(mean_size(weights, kept, True))
        spread = over_rows(unit, weights.ndim)
        unit = unit * positive(np.abs(weights / spread).max(initial=0.0))
        super().__init__(weights, over_rows(unit, weights.ndim), kept)
        self._by_channel = by_channel
        self._scales = leaf(over_rows(unit, weights.ndim)).requires_grad_(by_channel)
        latent = array(self.latent)
        if threshold == "best":
            threshold = float(best_ternary(latent.reshape(1, -1))[0][0])
        self.threshold = threshold
        above = latent[latent > threshold], -latent[latent < -threshold]
        # Wp and Wn, of shape (2,): where no weight is above, both start alike.
        sizes = [part.mean() if part.size else np.float32(threshold) for part in above]
        self.values = leaf(np.array(sizes, np.float32))

    def parameters(self) -> list[Tensor]:
        return [self.latent, self.values, *([self._scales] if self._by_channel else [])]

    def clip(self) -> None:
        with torch.no_grad():
            self.latent.clamp_(-1, 1)

    def tensor(self) -> Tensor:
        with torch.no_grad():
            latent = self.masked(self.latent)
            up = (latent > self.threshold).float()
            down = (latent < -self.threshold).float()
            slope = self.values[0] * up + self.values[1] * down + (1 - up - down)
            nothing = torch.zeros_like(latent)
        values = self.values[0] * up - self.values[1] * down
        values = values + straight_through(self.latent, nothing, slope)
        return self._scales * self.masked(values)

    def form(self) -> Form:
        latent = array(self.latent)
        if self._kept is not None:
            latent = latent * self._kept
        indices = 1 + (latent > self.threshold).astype(np.int8) - (latent < -self.threshold)
        up, down = array(self.values)
        scales = array(self._scales).reshape(-1)
        table = np.array([-down, 0.0, up], np.float32)
        if not self._by_channel:
            return Codebook(indices, halved(table * scales))
        return Scaled(Codebook(indices, halved(table)), halved(scales))
