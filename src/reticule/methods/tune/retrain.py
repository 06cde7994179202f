"""Retraining under the forms' constraints, and moment matching, as stages of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from reticule.forms import Packed
from reticule.methods.base import Context, Outcome, method
from reticule.tuning.moments import match_moments
from reticule.tuning.problem import evenly
from reticule.tuning.train import DEFAULT_RATE, Training, train
from reticule.tuning.twins import Twin, twins_of

LARGEST_RATE = 1e-3


@method("retrain")
@dataclass(frozen=True)
class Retrain:
    """Train what the forms leave free: surviving weights, centroids, biases.

    Without ``training.epochs`` the stage takes ``share`` of the epochs that the
    network can afford (see :meth:`Problem.affordable_epochs`), without
    ``training.learning_rate`` a rate by the density of the weights: the fewer are
    left, the further each must move.
    """

    share: Annotated[float, Field(gt=0)] = 0.3
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        settings = resolved(self.training, self.share, context, packed, density_of(packed))
        twins = twins_of(packed.forms)
        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed,
            progress=context.progress,
            title="retraining",
        )
        return Outcome(settled(packed, twins), notes={"epochs": settings.epochs})


@method("match-moments")
@dataclass(frozen=True)
class MatchMoments:
    """Bring each channel's mean and spread back to what they were; kept only if it helps.

    What they were before the stages since the last training: a network that was
    retrained has found new statistics of its own, the original's would only disturb
    it.  Without training before, the original's.  See :mod:`reticule.tuning.moments`.
    Uses ``images`` training images.
    """

    images: Annotated[int, Field(ge=1)] = 512

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        data = evenly(context.data.train, self.images)
        matched = match_moments(
            packed, context.reference or context.original, data.inputs(np.arange(len(data)))
        )
        before, after = context.data.score(packed), context.data.score(matched)
        kept = after > before
        return Outcome(matched if kept else packed, notes={"kept": kept, "gain": after - before})


def resolved(
    settings: Training,
    share: float,
    context: Context,
    packed: Packed,
    density: float,
    largest: float = LARGEST_RATE,
) -> Training:
    """The settings with a number of epochs and a learning rate, ``largest`` at most."""
    epochs, rate, seconds = settings.epochs, settings.learning_rate, settings.seconds
    if epochs is None:
        epochs = share * context.data.affordable_epochs(packed.graph)
        if seconds is None and context.data.minutes is not None:
            seconds = 60 * share * context.data.minutes
    if rate is None:
        rate = min(largest, DEFAULT_RATE / max(density, 1e-6) ** 0.5)
    return replace(settings, epochs=epochs, seconds=seconds, learning_rate=rate)


def density_of(packed: Packed) -> float:
    """Share of the weights of convolutions and linear layers that are not zero."""
    forms = [packed.forms[name] for _, name in packed.graph.weights()]
    return sum(form.nonzero for form in forms) / max(sum(form.size for form in forms), 1)


def settled(packed: Packed, twins: Mapping[str, Twin]) -> Packed:
    """The network with what training made of its forms."""
    return packed.with_forms({name: twin.form() for name, twin in twins.items()})
