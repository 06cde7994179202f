"""What methods without retraining look at: images, and how the answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reticule.forms import Packed
from reticule.methods.base import Context
from reticule.methods.layerwise.walk import with_biases
from reticule.methods.quantise.calibration import unseen_like
from reticule.methods.quantise.judge import Assessor
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import Problem, constant_tensors, evenly

CALIBRATION = 2e10  # multiply-accumulates of one pass over the calibration images
FEWEST, MOST = 256, 4096


@dataclass(frozen=True)
class Calibrated:
    """A network whose layers can take a shift of their means, and the inputs to measure it on.

    ``inputs`` and ``mixed`` (one array for each of the network's inputs) are prepared, and like
    none that the network has seen; what matters to the answers, by their ``likelihood``, is
    measured on ``mixed``.  The ``assessor`` tells what a compression costs, where a budget asks.
    """

    packed: Packed
    inputs: tuple[np.ndarray, ...]
    mixed: tuple[np.ndarray, ...]
    likelihood: Likelihood
    assessor: Assessor | None

    @classmethod
    def of(
        cls,
        packed: Packed,
        names: Sequence[str],
        context: Context,
        problem: Problem,
        *,
        images: int | None,
        judged: bool,
    ) -> Calibrated:
        """``images`` inputs (None: by the network's size); judged if ``judged`` and needed."""
        packed = with_biases(packed, names)
        rng = np.random.default_rng(context.seed)
        data = evenly(problem.train, images or images_for(packed))
        plain = unseen_like(data, problem, rng, mixed=False)
        mixed = unseen_like(data, problem, rng, mixed=True)
        likelihood = likelihood_of(context, plain)
        assessor = Assessor.of(context, rng) if judged else None
        return cls(packed, plain, mixed, likelihood, assessor)


def likelihood_of(context: Context, inputs: tuple[np.ndarray, ...]) -> Likelihood:
    """What the original's answers are compared as; ``inputs`` show how they spread."""
    tensors = constant_tensors(context.original)
    return Likelihood.of(context.original.graph, tensors, inputs, classified=context.classified)


def images_for(packed: Packed) -> int:
    """How many images calibration takes by default: fewer for a larger network."""
    macs = max(sum(packed.graph.macs().values()), 1)
    return int(np.clip(CALIBRATION / macs, FEWEST, MOST))
