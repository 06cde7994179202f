"""CNNpack: kernels as frequencies, shrunk, quantised, and coded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Common, Form, Packed, Quantised, Sparse
from reticule.forms.quantised import short_step
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.automatic import held_to_budget
from reticule.methods.select import SMALLEST, select
from reticule.methods.transform.clusters import clustered
from reticule.methods.transform.domain import (
    Coefficients,
    Transform,
    cheapest,
    density_of,
    transformable,
)
from reticule.methods.transform.twins import CommonTwin, ShrunkTwin
from reticule.methods.tune.retrain import resolved
from reticule.tuning.train import Training, train
from reticule.tuning.twins import Twin, twins_of

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]

WEAKEST, STRONGEST = 0.02, 20.0  # shrinkage that is tried
DENSE = 0.05  # the density by which the learning rate is chosen


@method("cnnpack")
@dataclass(frozen=True)
class CNNpack:
    """Shrink the DCT coefficients of kernels while training, and quantise them.

    Coefficients C of a layer, with root mean square s, pass the soft threshold

        C <- sign(C) max(|C| - lambda s / 2, 0)

    which minimises ``||C' - C||^2 + lambda s ||C'||_1``.  What has become zero stays zero,
    the rest is trained on, in the coefficient domain.  That is repeated in ``rounds`` during
    the first ``ramp`` of the steps, with a lambda that rises evenly to ``shrinkage``; a
    round shrinks only by what is new to lambda, as training has made up for the rest.
    Then each layer is quantised: with s of what is left, and B = ``bound`` (none: 0),

        Q(C) = (s / omega) round(omega clip(C / s, -B, B))

    A ``retrain`` stage after it trains through the rounding and quantises again.

    With ``clusters`` K > 0, the kernels of a convolution are first divided among K centres
    by k-means (common parts), and centres and residuals are shrunk and quantised alike.
    Linear layers and kernels of one tap are shrunk as they are, and with ``transform``
    "none" all others, too.

    ``shrinkage`` "auto" is f times a reach: f is the largest lambda at which setting what is
    below the threshold to zero, without any training, costs at most ``free`` points on
    training images; ``conv_reach`` and ``linear_reach`` say how much further training goes.
    With ``max_drop`` and unseen images the outcome is held to it, in ``attempts`` attempts.

    Source: Wang, Xu, You, Tao, Xu, "CNNpack: Packing Convolutional Neural Networks in the
    Frequency Domain", NIPS 2016, section 3.  The units, the automatic shrinkage and its
    rise are ours.
    """

    transform: Transform = "dct"
    shrinkage: Positive | Literal["auto"] = "auto"
    clusters: Annotated[int, Field(ge=0, le=4096)] = 0
    omega: Positive = 3.0
    bound: Annotated[float, Field(ge=0)] = 0.0
    rounds: Annotated[int, Field(ge=1)] = 12
    ramp: Share = 0.6
    floor: Annotated[float, Field(ge=0, le=1)] = 0.002
    free: Annotated[float, Field(ge=0)] = 1.5
    conv_reach: Annotated[float, Field(ge=1)] = 1.45
    linear_reach: Annotated[float, Field(ge=1)] = 1.9
    attempts: Annotated[int, Field(ge=1)] = 3
    share: Positive = 0.7
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(
            packed, skip=self.skip, smallest=self.smallest, accept=transformable
        )
        parts = {name: Coefficients.of(packed.forms[name], self.transform) for name in names}
        notes: dict[str, Any] = {}
        if self.shrinkage != "auto":
            packed = self._shrunk(packed, parts, dict.fromkeys(names, self.shrinkage), context, 0)
        else:
            free = _free_shrinkage(packed, parts, context, self.free)
            reaches = {
                name: self.conv_reach if node.op == "Conv" else self.linear_reach
                for node, name in packed.graph.weights()
            }
            context.progress.say(
                f"  zeros below lambda = {free:.3g} cost at most {self.free:g} points; "
                "shrinking further"
            )

            def attempt(share: float, number: int) -> Packed:
                lambdas = {name: -math.log(share) * reaches[name] for name in names}
                return self._shrunk(packed, parts, lambdas, context, number)

            # As densities of Laplacian coefficients, which lambdas are the exponents of.
            done, tried = held_to_budget(attempt, math.exp(-free), self.attempts, context)
            for one in tried:
                one["shrinkage"] = -math.log(one.pop("density"))
            packed, notes = done, {"free_shrinkage": free, "tried": tried}
        notes["density"] = density_of({name: packed.forms[name] for name in names})
        return Outcome(packed, skipped, notes)

    def _shrunk(
        self,
        packed: Packed,
        parts: Mapping[str, Coefficients],
        lambdas: Mapping[str, float],
        context: Context,
        attempt: int,
    ) -> Packed:
        """The network after shrinking, training and quantising from the start."""
        settings = resolved(self.training, self.share, context, packed, DENSE)
        rng = np.random.default_rng([context.seed, attempt])
        layers = [
            _Layer(name, part, lambdas[name], self.clusters, self.floor, rng)
            for name, part in parts.items()
        ]
        twins = {**twins_of(packed.forms), **{layer.name: layer.twin for layer in layers}}

        def shrink(step: int, steps: int) -> None:
            ramp = max(1, int(steps * self.ramp))
            rounds = min(self.rounds, ramp)
            done, rest = divmod(step, ramp // rounds)
            if not rest and done < rounds:
                for layer in layers:
                    layer.shrink((done + 1) / rounds, 1 / rounds)

        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed + attempt,
            progress=context.progress,
            title="shrinking",
            before_step=shrink,
        )
        made = {name: twin.form() for name, twin in twins.items()}
        for layer in layers:
            made[layer.name] = layer.quantised(self.omega, self.bound)
        return packed.with_forms(made)


class _Layer:
    """A tensor in training: its coefficients, or its centres and residuals."""

    def __init__(
        self,
        name: str,
        part: Coefficients,
        shrinkage: float,
        clusters: int,
        floor: float,
        rng: np.random.Generator,
    ) -> None:
        self.name, self._part = name, part
        self._floor = floor
        self._threshold = shrinkage * part.scale / 2
        self._common = clustered(part, clusters, rng) if clusters else None
        if self._common is None:
            self._shrunk = [ShrunkTwin(part.values, part.allowed)]
            self.twin: Twin = part.twin(self._shrunk[0])
        else:
            values = [form.dense() for form in (self._common.centres, self._common.residual)]
            self._shrunk = [ShrunkTwin(v, np.ones(v.shape, bool)) for v in values]
            self.twin = part.twin(CommonTwin(self._common, *self._shrunk))

    def shrink(self, share: float, new: float) -> None:
        """A share of the soft threshold, of which a part is ``new``.

        It spares the largest few, so that no layer vanishes.
        """
        for index, twin in enumerate(self._shrunk):
            size = np.abs(twin.values()) * twin.mask
            least = 0 if index < len(self._shrunk) - 1 else _least(size, self._floor)
            threshold = share * self._threshold
            if 0 < least <= size.size:
                kept = float(np.partition(size, -least, None)[-least])
                threshold = min(threshold, 0.5 * kept)
            twin.shrink(threshold, min(new * self._threshold, threshold))

    def quantised(self, omega: float, bound: float) -> Form:
        forms = [on_grid(twin.form(), omega, bound) for twin in self._shrunk]
        if self._common is None:
            return self._part.form(forms[0])
        return self._part.form(Common(self._common.labels, forms[0], forms[1]))


def _least(values: np.ndarray, floor: float) -> int:
    """How many coefficients a tensor keeps: a share, and two for each output channel."""
    least = max(math.ceil(floor * values.size), 2 * len(values))
    return min(least, int(np.count_nonzero(values)))


def on_grid(form: Sparse, omega: float, bound: float = 0.0) -> Sparse:
    """Values on a uniform grid of ``omega`` levels per root mean square; zeros are dropped.

    ``bound`` > 0 clips them at so many root mean squares.

    >>> kept = Sparse.keep(np.array([[3.0, -4.0, 0.1]], "f4"), np.ones((1, 3)))
    >>> on_grid(kept, 3.0).values.levels.tolist()
    [3, -4]
    """
    dense, mask = form.dense().astype(np.float64), form.mask()
    kept = dense[mask]
    scale = float(np.square(kept).sum() / max(kept.size, 1)) ** 0.5 or 1.0
    step = short_step(scale / omega)
    if bound:
        dense = np.clip(dense, -bound * scale, bound * scale)
    levels = np.rint(dense / step).astype(np.int64)
    levels[~mask] = 0
    kept_levels = levels[levels != 0]
    return Sparse.at(levels != 0, Quantised(kept_levels.astype(np.int32), step))


def _free_shrinkage(
    packed: Packed, parts: Mapping[str, Coefficients], context: Context, points: float
) -> float:
    """The largest lambda whose zeros alone cost at most so many points on training images."""

    def cut(shrinkage: float) -> dict[str, np.ndarray]:
        return {n: np.abs(p.values) > shrinkage * p.scale / 2 for n, p in parts.items()}

    return cheapest(packed, parts, context, cut, points=points, good=WEAKEST, bad=STRONGEST)
