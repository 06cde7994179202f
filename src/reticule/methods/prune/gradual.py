"""Gradual pruning: cut a little, train a little, until the target density is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from reticule.forms import Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.allocation import Measure, noted, scope_of
from reticule.methods.prune.automatic import Cut, free_density, held_to_budget, reach_of
from reticule.methods.prune.scores import Scope, Score, Shares, masks_at
from reticule.methods.prune.threshold import density_of, prunable
from reticule.methods.prune.twins import MaskedTwin
from reticule.methods.select import SMALLEST, select
from reticule.methods.tune.retrain import resolved, settled
from reticule.tuning.train import Training, train
from reticule.tuning.twins import twins_of

Share = Annotated[float, Field(gt=0, le=1)]


@method("gradual-pruning")
@dataclass(frozen=True)
class GradualPruning:
    """Prune while training, along the cubic schedule of Zhu and Gupta.

    On the way to the density d the density after the share x of the ramp is
    ``d + (1 - d) * (1 - x)^3``; masks are renewed ``updates`` times during the
    first ``ramp`` of the steps, the rest of the steps is training with a fixed mask.

    ``density`` "auto" measures how much can go for nothing and goes on from there.
    The *free* density f is the smallest at which a cut without any training costs at
    most ``free`` points on training images (nothing has been trained yet, so these
    are as good as any); retraining then wins back about half as much again on a
    logarithmic scale, more in fully connected layers than in convolutions.  So the
    target is ``f ** reach``, with ``conv_reach`` and ``linear_reach`` weighted by the
    number of weights of either kind.

    With ``max_drop`` and images that the original has never seen, the outcome is held
    to it: as long as more is lost, ramp and training are repeated from the start with
    a density nearer to 1, ``attempts`` times in all.

    ``scope`` is "global" (one bar for all weights), "layer" (one density for all tensors), or
    a measure of what each layer needs, as in :class:`~reticule.methods.ThresholdPruning`: it is
    taken once, before any training, and densities are in proportion all along the ramp.

    Source: Zhu, Gupta, "To prune, or not to prune", 2017 (the schedule); the
    automatic density is ours.
    """

    density: Share | Literal["auto"] = "auto"
    scope: Scope | Measure = "global"
    score: Score = "lamp"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.005
    updates: Annotated[int, Field(ge=1)] = 10
    ramp: Share = 0.5
    share: Annotated[float, Field(gt=0)] = 0.5
    free: Annotated[float, Field(ge=0)] = 1.5
    conv_reach: Annotated[float, Field(ge=1)] = 1.45
    linear_reach: Annotated[float, Field(ge=1)] = 1.75
    attempts: Annotated[int, Field(ge=1)] = 3
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def selected(self, packed: Packed) -> tuple[list[str], dict[str, str]]:
        """Tensors to prune, and what is left alone with the reason."""
        return select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = self.selected(packed)
        scope = scope_of(self.scope, packed, names, context)
        cut = self.cut_by(scope)
        notes: dict[str, Any] = noted(scope)
        if self.density != "auto":
            pruned = self._ramp(packed, names, cut, self.density, context, 0)
        else:
            free = free_density(packed, names, context, cut, points=self.free, floor=self.floor)
            target = free ** reach_of(packed, names, conv=self.conv_reach, linear=self.linear_reach)
            context.progress.say(
                f"  a cut to {100 * free:.3g} % costs at most {self.free:g} points; "
                f"pruning to {100 * target:.3g} %"
            )
            pruned, tried = held_to_budget(
                lambda density, attempt: self._ramp(packed, names, cut, density, context, attempt),
                target,
                self.attempts,
                context,
            )
            notes |= {"free_density": free, "tried": tried}
        masks = {name: pruned.forms[name].dense() != 0 for name in names}
        return Outcome(pruned, skipped, {**notes, "density": density_of(masks)})

    def cut_by(self, scope: Scope | Shares) -> Cut:
        """From weights and a density to masks."""
        return partial(masks_at, scope=scope, score=self.score, floor=self.floor)

    def penalty_of(self, twins: Mapping[str, MaskedTwin]) -> Callable[[], Tensor] | None:
        """What is added to the loss while training: nothing."""
        return None

    def _ramp(
        self,
        packed: Packed,
        names: Sequence[str],
        cut: Cut,
        target: float,
        context: Context,
        attempt: int,
    ) -> Packed:
        """The network pruned to a density, with training along the schedule."""
        settings = resolved(self.training, self.share, context, packed, target)
        masked = _masked(packed, names)
        twins = {**twins_of(packed.forms), **masked}
        penalty = self.penalty_of(masked)

        def renew(step: int, steps: int) -> None:
            period = max(1, int(steps * self.ramp) // self.updates)
            if step % period or step > period * self.updates:
                return
            left = (1.0 - step / (period * self.updates)) ** 3
            _apply(cut, masked, target + (1.0 - target) * left)

        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed + attempt,
            progress=context.progress,
            title=f"pruning to {100 * target:.3g} %",
            before_step=renew,
            penalty=penalty,
        )
        _apply(cut, masked, target)
        return settled(packed, twins)


def _apply(cut: Cut, twins: Mapping[str, MaskedTwin], density: float) -> None:
    """Set the masks that a cut to a density gives."""
    masks = cut({name: twin.values() for name, twin in twins.items()}, density)
    for name, twin in twins.items():
        twin.mask = masks[name]


def _masked(packed: Packed, names: Sequence[str]) -> dict[str, MaskedTwin]:
    """Twins of the prunable tensors, each under a mask."""
    weights = {name: packed.forms[name].dense() for name in names}
    return {name: MaskedTwin(values, values != 0) for name, values in weights.items()}
