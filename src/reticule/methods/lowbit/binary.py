"""Binary weights: signs times a scale; and activations that are signs, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Form, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.lowbit.signs import with_signs
from reticule.methods.lowbit.stage import (
    Ends,
    chosen,
    finished,
    latent_training,
    notes_of,
    parts_of,
    settings_of,
)
from reticule.methods.lowbit.ternary import Scales
from reticule.methods.lowbit.twins import (
    LatentTwin,
    mean_size,
    over_rows,
    positive,
    rows_of,
    scaled,
    shared,
    straight_through,
)
from reticule.methods.select import SMALLEST
from reticule.tuning.train import Training
from reticule.tuning.twins import array, leaf

REACH = 3.0
Positive = Annotated[float, Field(gt=0)]


@method("binary")
@dataclass(frozen=True)
class Binary:
    """Train latent weights w whose signs, times a scale, the network computes with.

    deterministic:  w_b = sign(w), with sign(0) = 1
    stochastic:     w_b = 1 with probability clip((w + 1) / 2, 0, 1), else -1
    both:           dL/dw = dL/dw_b, and w is clipped to [-1, 1] after every step

    In the source the weights of a new network start small, and batch norm gives them a
    scale.  Here the network is trained, so that [-1, 1] is taken relative to it: with s the
    mean |w| of the channel (``scales: channel``) or layer, the network computes with
    s * w_b, the signs nearest to the weights in least squares.  w starts as weight / (3 s),
    where few weights are clipped; if stochastic as weight / s, so that the expectation of
    s * w_b is the weight.  The scales take the place of batch norm and are trained, too.
    Once trained, weights are signs in both cases.

    ``activations: sign`` puts sign(a) in the place of every ReLU (a convolution's or linear
    layer's channel that goes straight into one is divided by its standard deviation first),
    with dL/da = dL/dsign(a) where |a| <= 1, else 0.  The first layer still sees the image.

    First convolution and last linear layer stay in full precision (``ends: full``), go to
    8 bits, or become binary like all others (``same``).  Pruned weights stay zero.

    Source: Courbariaux, Bengio, David, "BinaryConnect", NIPS 2015, sections 2.2 to 2.4;
    activations: Hubara et al., "Binarized Neural Networks", NIPS 2016, section 1.
    """

    rounding: Literal["deterministic", "stochastic"] = "deterministic"
    activations: Literal["full", "sign"] = "full"
    scales: Scales = "channel"
    ends: Ends = "8bit"
    share: Positive = 0.8
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, finer, skipped = chosen(packed, self.ends, self.skip, self.smallest)
        notes: dict[str, Any] = {}
        if self.activations == "sign":
            packed, replaced = with_signs(packed, context)
            notes = {"signs": replaced}
        generator = None
        if self.rounding == "stochastic":
            generator = torch.Generator().manual_seed(context.seed)
        by_channel = self.scales == "channel"
        twins = {
            name: BinaryTwin(*parts_of(packed.forms[name]), by_channel, generator) for name in names
        }
        settings = settings_of(self.training, self.share, context, packed)
        trained = latent_training(packed, context, twins, settings, "binary weights")
        notes |= notes_of(trained, names, settings)
        return Outcome(finished(trained, finer, self.ends), skipped, notes)


@method("xnor-weights")
@dataclass(frozen=True)
class XnorWeights:
    """Train latent weights W; the network computes with alpha * sign(W).

    For each output filter alpha = mean |W|, always of the latent weights as they are: no
    other scale comes nearer to them in least squares.  Gradients follow both factors,

        dL/dW = dL/dw_b * alpha * 1[|W| <= 1] + sign(W) / n * sum of dL/dw_b * sign(W)

    over the n weights of the filter, w_b = alpha * sign(W).  Weights only: activations stay
    numbers (the source calls that a Binary-Weight-Network).

    First convolution and last linear layer stay in full precision (``ends: full``), go to
    8 bits, or become binary like all others (``same``).  Pruned weights stay zero.

    Source: Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net", ECCV 2016, section 3.1.
    """

    ends: Ends = "8bit"
    share: Positive = 0.8
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, finer, skipped = chosen(packed, self.ends, self.skip, self.smallest)
        twins = {name: XnorTwin(*parts_of(packed.forms[name])) for name in names}
        settings = settings_of(self.training, self.share, context, packed)
        trained = latent_training(packed, context, twins, settings, "binary weights")
        return Outcome(
            finished(trained, finer, self.ends), skipped, notes_of(trained, names, settings)
        )


class BinaryTwin(LatentTwin):
    """Latent weights in [-1, 1], and trained scales (rows,) or (1,)."""

    def __init__(
        self,
        weights: np.ndarray,
        kept: np.ndarray | None,
        by_channel: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        sizes = mean_size(weights, kept, by_channel)
        reach = REACH if generator is None else 1.0
        super().__init__(weights, over_rows(reach * positive(sizes), weights.ndim), kept)
        self._generator = generator
        self._by_channel = by_channel
        self.scales = leaf(over_rows(sizes, weights.ndim))
        self.clip()

    def parameters(self) -> list[Tensor]:
        return [self.latent, self.scales]

    def clip(self) -> None:
        with torch.no_grad():
            self.latent.clamp_(-1, 1)

    def tensor(self) -> Tensor:
        with torch.no_grad():
            up = self.latent >= 0
            if self._generator is not None:
                chance = ((self.latent + 1) / 2).clamp(0, 1)
                drawn = torch.rand(self.latent.shape, generator=self._generator)
                up = drawn.to(chance.device) < chance
            signs = torch.where(up, 1.0, -1.0)
        return self.masked(straight_through(self.latent, signs)) * self.scales

    def form(self) -> Form:
        signs = np.where(array(self.latent) >= 0, 1, -1).astype(np.int8)
        return _signed(signs, array(self.scales).reshape(-1), self._kept, self._by_channel)


class XnorTwin(LatentTwin):
    """Latent weights in their own unit; scales follow from them."""

    def __init__(self, weights: np.ndarray, kept: np.ndarray | None) -> None:
        super().__init__(weights, np.ones(1), kept)
        count = np.ones(weights.shape) if kept is None else kept
        members = rows_of(count).sum(1)
        self._members = torch.from_numpy(np.maximum(members, 1).astype(np.float32))

    def _alpha(self) -> Tensor:
        axes = tuple(range(1, self.latent.ndim))
        sums = self.masked(self.latent).abs().sum(axes, keepdim=True)
        return sums / self._members.reshape(-1, *[1] * len(axes))

    def tensor(self) -> Tensor:
        with torch.no_grad():
            signs = torch.where(self.latent >= 0, 1.0, -1.0)
            slope = (self.latent.abs() <= 1).float()
        return self.masked(straight_through(self.latent, signs, slope)) * self._alpha()

    def form(self) -> Form:
        signs = np.where(array(self.latent) >= 0, 1, -1).astype(np.int8)
        return _signed(signs, array(self._alpha()).reshape(-1), self._kept, True)


def _signed(
    signs: np.ndarray, scales: np.ndarray, kept: np.ndarray | None, by_channel: bool
) -> Form:
    if by_channel:
        return scaled(signs, scales, kept)
    return shared((signs + 1) // 2, np.array([-scales[0], scales[0]], np.float32), kept)
