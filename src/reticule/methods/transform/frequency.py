"""Frequency-domain dynamic pruning: prune and splice DCT coefficients while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Packed
from reticule.forms.hashed import bands
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.automatic import LEAST_DENSITY, held_to_budget, reach_of
from reticule.methods.prune.scores import Scope, Score, masks_at
from reticule.methods.select import SMALLEST, select
from reticule.methods.transform.domain import (
    Coefficients,
    Transform,
    cheapest,
    density_of,
    transformable,
)
from reticule.methods.transform.twins import SplicedTwin
from reticule.methods.tune.retrain import resolved, settled
from reticule.tuning.train import Training, train
from reticule.tuning.twins import twins_of

Share = Annotated[float, Field(gt=0, le=1)]


@method("frequency-pruning")
@dataclass(frozen=True)
class FrequencyPruning:
    """Prune DCT coefficients while training, and let those that turn out to matter come back.

    A coefficient c of the frequency band j = y + x (of J bands) is compared with a threshold
    of its own, which rises with the frequency, from t of the layer to 1 + ``band`` times t:

        t_j = t (1 + band j / (J - 1))
        T <- 0  where |c| <= 0.9 t_j,      T <- 1  where |c| > 1.1 t_j

    The network computes with c T; the gradient goes to all c straight through the mask, so
    that pruned coefficients move on and may come back.  During the first ``ramp`` of the
    steps t follows a density that falls to d as ``d + (1 - d) (1 - x)^3``, in ``updates``
    updates; then it is held until the share ``splicing`` of the steps.  There the best are
    taken, d of all, and the other steps train with fixed masks.  Which layer gives how much
    is decided by ``score`` among all layers together (``scope: global``), or all give the
    same.

    ``density`` "auto" and the budget are those of
    :class:`~reticule.methods.GradualPruning`, measured on coefficients.  Linear layers and
    kernels of one tap are pruned as they are, and with ``transform`` "none" all others, too.

    Source: Liu, Xu, Peng, Xiong, "Frequency-Domain Dynamic Pruning for Convolutional Neural
    Networks", NeurIPS 2018, section 3.  Thresholds by density are ours.
    """

    transform: Transform = "dct"
    density: Share | Literal["auto"] = "auto"
    band: Annotated[float, Field(ge=0)] = 1.0
    scope: Scope = "global"
    score: Score = "lamp"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.002
    updates: Annotated[int, Field(ge=1)] = 40
    ramp: Share = 0.5
    splicing: Share = 0.75
    share: Annotated[float, Field(gt=0)] = 0.6
    free: Annotated[float, Field(ge=0)] = 1.5
    conv_reach: Annotated[float, Field(ge=1)] = 1.45
    linear_reach: Annotated[float, Field(ge=1)] = 1.9
    attempts: Annotated[int, Field(ge=1)] = 3
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

        def pruned(density: float, attempt: int) -> Packed:
            done, notes["spliced"] = self._pruned(packed, parts, density, context, attempt)
            return done

        if self.density != "auto":
            done = pruned(self.density, 0)
        else:
            free = self._free_density(packed, parts, context)
            target = free ** reach_of(packed, names, conv=self.conv_reach, linear=self.linear_reach)
            context.progress.say(
                f"  a cut to {100 * free:.3g} % of coefficients costs at most {self.free:g} "
                f"points; pruning to {100 * target:.3g} %"
            )
            done, tried = held_to_budget(pruned, target, self.attempts, context)
            notes |= {"free_density": free, "tried": tried}
        notes["density"] = density_of({name: done.forms[name] for name in names})
        return Outcome(done, skipped, notes)

    def _masks(
        self, parts: Mapping[str, Coefficients], values: Mapping[str, np.ndarray], density: float
    ) -> dict[str, np.ndarray]:
        """Masks by the size of coefficients relative to the thresholds of their bands."""
        relative = {n: v / band_factors(parts[n], self.band) for n, v in values.items()}
        return masks_at(relative, density, scope=self.scope, score=self.score, floor=self.floor)

    def _free_density(
        self, packed: Packed, parts: Mapping[str, Coefficients], context: Context
    ) -> float:
        values = {name: part.values for name, part in parts.items()}
        return cheapest(
            packed,
            parts,
            context,
            lambda density: self._masks(parts, values, density),
            points=self.free,
            good=1.0,
            bad=max(self.floor, LEAST_DENSITY),
        )

    def _pruned(
        self,
        packed: Packed,
        parts: Mapping[str, Coefficients],
        target: float,
        context: Context,
        attempt: int,
    ) -> tuple[Packed, int]:
        """The network pruned to a density, and how many coefficients came back on the way."""
        settings = resolved(self.training, self.share, context, packed, target)
        masked = {name: SplicedTwin(part.values, part.allowed) for name, part in parts.items()}
        twins = twins_of(packed.forms)
        twins |= {name: part.twin(masked[name]) for name, part in parts.items()}
        spliced = 0

        def ranked(density: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
            values = {name: twin.values() for name, twin in masked.items()}
            return values, self._masks(parts, values, density)

        def settle() -> None:
            """The last decision: exactly the target."""
            if all(not twin.open for twin in masked.values()):
                return
            masks = ranked(target)[1]
            for name, twin in masked.items():
                twin.mask, twin.open = masks[name], False

        def splice(step: int, steps: int) -> None:
            nonlocal spliced
            ramp = max(1, int(steps * self.ramp))
            if step >= int(steps * self.splicing):
                settle()
            elif step % max(1, ramp // self.updates) == 0:
                left = max(0.0, 1.0 - step / ramp) ** 3
                values, masks = ranked(target + (1.0 - target) * left)
                for name, twin in masked.items():
                    factors = band_factors(parts[name], self.band)
                    kept = np.abs(values[name] / factors)[masks[name]]
                    spliced += twin.splice(factors * kept.min(initial=np.inf))

        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed + attempt,
            progress=context.progress,
            title=f"pruning to {100 * target:.3g} %",
            before_step=splice,
        )
        settle()
        return settled(packed, twins), spliced


def band_factors(part: Coefficients, band: float) -> np.ndarray:
    """What each coefficient's threshold is multiplied with (float32), for one kernel.

    >>> flat = np.ones((1, 1, 2, 2), "f4")
    >>> band_factors(Coefficients(flat, flat > 0, True), 0.5).tolist()
    [[1.0, 1.25], [1.25, 1.5]]
    """
    if not part.spectral:
        return np.ones((), np.float32)
    kernel = part.values.shape[-2:]
    frequency = bands(*kernel) / max(sum(kernel) - 2, 1)
    return (1.0 + band * frequency).reshape(kernel).astype(np.float32)
