"""Ternary weights: every weight is minus, zero or plus the scale of its channel or layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Form, Packed
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
from reticule.methods.lowbit.twins import (
    LatentTwin,
    over_rows,
    rows_of,
    scaled,
    shared,
    straight_through,
)
from reticule.methods.select import SMALLEST
from reticule.tuning.train import Training

RENEWAL = 10  # steps between two searches for the best thresholds
Scales = Literal["channel", "layer"]


@method("ternary")
@dataclass(frozen=True)
class Ternary:
    """Train latent weights w whose ternary form the network computes with.

    With the threshold D and the scale a of a channel (``scales: channel``) or a layer,

        w_t = a * t,  t = sign(w) where |w| > D, else 0
        dL/dw = dL/dw_t                             (straight through)

    D and a are those with the least squared error: for a given D, a is the mean of the
    |w| above it, and D maximises (sum of |w| above D)^2 / (their number), which a scan of
    the sorted |w| finds exactly (:func:`best_ternary`; the source's 0.7 * mean |w| is near
    it).  They are found anew every ten steps; in between a follows the weights above D.

    First convolution and last linear layer stay in full precision (``ends: full``), go to
    8 bits, or become ternary like all others (``same``).  Pruned weights stay zero.

    Source: Li, Zhang, Liu, "Ternary Weight Networks", 2016, section 2; exact thresholds
    and scales for each channel are ours.
    """

    scales: Scales = "channel"
    ends: Ends = "8bit"
    share: Annotated[float, Field(gt=0)] = 0.8
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, finer, skipped = chosen(packed, self.ends, self.skip, self.smallest)
        settings = settings_of(self.training, self.share, context, packed)
        by_channel = self.scales == "channel"
        twins = {n: TernaryTwin(*parts_of(packed.forms[n]), by_channel) for n in names}

        def renew(step: int, steps: int) -> None:
            if step % RENEWAL == 0:
                for twin in twins.values():
                    twin.renew()

        trained = latent_training(packed, context, twins, settings, "ternary weights", renew)
        return Outcome(
            finished(trained, finer, self.ends), skipped, notes_of(trained, names, settings)
        )


class TernaryTwin(LatentTwin):
    """Latent weights in their own unit, and thresholds (rows,) or (1,)."""

    def __init__(self, weights: np.ndarray, kept: np.ndarray | None, by_channel: bool) -> None:
        super().__init__(weights, np.ones(1), kept)
        self._by_channel = by_channel
        self.renew()

    def renew(self) -> None:
        """Find the best thresholds for the latent weights as they are."""
        weights = self.latent_values()
        thresholds, _ = best_ternary(self._matrix(weights))
        threshold = torch.from_numpy(over_rows(thresholds, weights.ndim))
        self._threshold = threshold.to(self.latent.device)

    def _matrix(self, weights: np.ndarray) -> np.ndarray:
        return rows_of(weights) if self._by_channel else weights.reshape(1, -1)

    def tensor(self) -> Tensor:
        with torch.no_grad():
            latent = self.masked(self.latent)
            above = latent.abs() > self._threshold
            axes = tuple(range(1, latent.ndim)) if self._by_channel else tuple(range(latent.ndim))
            total = (latent.abs() * above).sum(axes, keepdim=True)
            scale = total / above.sum(axes, keepdim=True).clamp_min(1)
            rounded = scale * latent.sign() * above
        return self.masked(straight_through(self.latent, rounded))

    def form(self) -> Form:
        weights = self.latent_values()
        thresholds, scales = best_ternary(self._matrix(weights))
        above = np.abs(weights) > over_rows(thresholds, weights.ndim)
        levels = (np.sign(weights) * above).astype(np.int8)
        if self._by_channel:
            return scaled(levels, scales)
        table = np.array([-scales[0], 0.0, scales[0]], np.float32)
        return shared(levels + 1, table)


def best_ternary(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threshold and scale of each row (float32) with the least squared error.

    With the k largest |w| of a row kept, the best scale is their mean S_k / k, and the
    squared error is the row's sum of squares less S_k^2 / k: so the largest S_k^2 / k
    wins.  Sorting makes all S_k cumulative sums: O(n log n).  Weights above the threshold
    are kept.  A row of zeros keeps nothing.

    >>> thresholds, scales = best_ternary(np.array([[4.0, -5.0, 0.5, 6.0]]))
    >>> thresholds.tolist(), scales.tolist()
    ([2.25], [5.0])
    """
    sizes = -np.sort(-np.abs(matrix.astype(np.float64)), axis=1)
    rows, columns = sizes.shape
    if not sizes.size:
        return np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    sums = np.cumsum(sizes, axis=1)
    counts = np.arange(1, columns + 1)
    # Equal weights are kept or dropped together, as a threshold cannot part them.
    following = np.concatenate([sizes[:, 1:], np.zeros((rows, 1))], axis=1)
    gains = np.where(sizes > following, sums**2 / counts, 0.0)
    best = gains.argmax(axis=1)
    row = np.arange(rows)
    scales = np.where(gains[row, best] > 0, sums[row, best] / (best + 1), 0.0)
    thresholds = _between(following[row, best], sizes[row, best])
    return thresholds, scales.astype(np.float32)


def _between(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A float32 in the middle of two numbers that are float32, below the larger one."""
    middle = ((low + high) / 2).astype(np.float32)
    return np.where(middle < high, middle, low).astype(np.float32)
