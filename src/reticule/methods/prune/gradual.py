"""Gradual pruning: cut a little, train a little, until the target or until it hurts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from reticule.forms import Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.scores import Scope, Score, masks_at
from reticule.methods.prune.threshold import density_of, prunable
from reticule.methods.prune.twins import MaskedTwin
from reticule.methods.select import SMALLEST, select
from reticule.methods.tune.retrain import affordable, settled
from reticule.tuning.train import Training, train
from reticule.tuning.twins import twins_of

Share = Annotated[float, Field(gt=0, le=1)]


@method("gradual-pruning")
@dataclass(frozen=True)
class GradualPruning:
    """Prune while training, along the cubic schedule of Zhu and Gupta.

    From density d0 to d1 the density after the share x of a ramp is
    ``d1 + (d0 - d1) * (1 - x)^3``; masks are renewed ``updates`` times during the
    first ``ramp`` of the steps, the rest of the steps is training with a fixed mask.

    ``density`` "auto" descends a ladder of densities, each ``step`` times the last,
    ``planned`` rungs for ``share`` of the epochs.  It starts at the sparsest rung that
    costs less than ``free`` points without any training.  Every rung is one ramp with a
    learning rate that falls to zero, and is judged by its accuracy on the held-out
    images.  The last rung whose accuracy is good enough is kept; one density between it
    and the first that was not good enough is tried as well.  Good enough is

    * with ``max_drop`` and images that the original network has never seen: at most
      so many points below the original;
    * otherwise: error at most ``error_growth`` times that of the *control*, the best
      rung so far, plus ``slack`` points.  Held-out training images were in the
      original's training, it knows them by heart; a network that is trained on
      without them forgets them, compressed or not.  So the original's own accuracy
      on them says nothing, and lightly pruned networks take its place.

    Source: Zhu, Gupta, "To prune, or not to prune", 2017 (the schedule); the ladder
    is ours.
    """

    density: Share | Literal["auto"] = "auto"
    scope: Scope = "global"
    score: Score = "lamp"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.005
    updates: Annotated[int, Field(ge=1)] = 10
    ramp: Share = 0.5
    share: Annotated[float, Field(gt=0)] = 0.5
    step: Annotated[float, Field(gt=0, lt=1)] = 0.7
    rungs: Annotated[int, Field(ge=1)] = 14
    planned: Annotated[int, Field(ge=1)] = 5
    free: Annotated[float, Field(ge=0)] = 1.0
    error_growth: Annotated[float, Field(ge=1)] = 1.5
    slack: Annotated[float, Field(ge=0)] = 0.1
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=lambda: Training(learning_rate=1e-3))

    needs_data: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        if self.density == "auto":
            packed, tried = self._descend(packed, names, context)
        else:
            settings = affordable(self.training, self.share, context, packed)
            packed = self._level(packed, names, 1.0, self.density, settings, context, 0)
            tried = []
        masks = {name: packed.forms[name].dense() != 0 for name in names}
        return Outcome(packed, skipped, {"density": density_of(masks), "levels": tried})

    def _descend(
        self, packed: Packed, names: Sequence[str], context: Context
    ) -> tuple[Packed, list[dict[str, float]]]:
        settings = affordable(self.training, self.share, context, packed)
        settings = replace(settings, epochs=(settings.epochs or 0.0) / self.planned)
        ladder = [self.step**rung for rung in range(1, self.rungs + 1)]
        first = self._free_rungs(packed, names, ladder, context)
        kept, kept_density, best = packed, 1.0, 0.0
        tried: list[dict[str, float]] = []

        def attempt(density: float) -> bool:
            nonlocal kept, kept_density, best
            level = self._level(kept, names, kept_density, density, settings, context, len(tried))
            accuracy = context.data.accuracy(level)
            best = max(best, accuracy)
            good = accuracy >= self._least(best, context)
            tried.append({"density": density, "accuracy": accuracy, "good": good})
            context.progress.say(
                f"  density {100 * density:.3g} %: {accuracy:.2f} % on held-out images"
                f"{'' if good else ', too much lost'}"
            )
            if good:
                kept, kept_density = level, density
            return good

        for density in ladder[first:]:
            if not attempt(density):
                if kept is not packed:
                    attempt((kept_density * density) ** 0.5)
                break
        return kept, tried

    def _free_rungs(
        self, packed: Packed, names: Sequence[str], ladder: Sequence[float], context: Context
    ) -> int:
        """The rung to start at: the last that costs next to nothing without training."""
        least = context.data.accuracy(packed) - self.free
        first = 0
        for rung, density in enumerate(ladder):
            masked = _masked(packed, names)
            self._cut(masked, density)
            if context.data.accuracy(settled(packed, masked)) < least:
                break
            first = rung
        return first

    def _level(
        self,
        packed: Packed,
        names: Sequence[str],
        start: float,
        end: float,
        settings: Training,
        context: Context,
        number: int,
    ) -> Packed:
        """One ramp from density ``start`` to ``end`` with training."""
        masked = _masked(packed, names)
        twins = {**twins_of(packed.forms), **masked}

        def renew(step: int, steps: int) -> None:
            period = max(1, int(steps * self.ramp) // self.updates)
            if step % period or step > period * self.updates:
                return
            done = min(1.0, step / (period * self.updates))
            density = end + (start - end) * (1.0 - done) ** 3
            self._cut(masked, density)

        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed + number,
            progress=context.progress,
            title=f"pruning to {100 * end:.3g} %",
            before_step=renew,
        )
        self._cut(masked, end)
        return settled(packed, twins)

    def _cut(self, twins: Mapping[str, MaskedTwin], density: float) -> None:
        values = {name: twin.values() for name, twin in twins.items()}
        masks = masks_at(values, density, scope=self.scope, score=self.score, floor=self.floor)
        for name, twin in twins.items():
            twin.mask = masks[name]

    def _least(self, best: float, context: Context) -> float:
        """The accuracy that a level must reach."""
        if context.max_drop is not None and context.unseen:
            return context.original_accuracy - context.max_drop
        drop = (self.error_growth - 1.0) * (100.0 - best) + self.slack
        return best - max(drop, context.max_drop or 0.0)


def _masked(packed: Packed, names: Sequence[str]) -> dict[str, MaskedTwin]:
    """Twins of the prunable tensors, each under a mask."""
    weights = {name: packed.forms[name].dense() for name in names}
    return {name: MaskedTwin(values, values != 0) for name, values in weights.items()}
