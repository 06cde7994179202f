"""What methods without retraining look at: images, and how the answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reticule.forms import Packed
from reticule.methods.base import Context
from reticule.methods.layerwise.walk import with_biases
from reticule.methods.quantise.calibration import unseen_like
from reticule.methods.quantise.judge import Judge
from reticule.tuning.problem import Problem, evenly

CALIBRATION = 2e10  # multiply-accumulates of one pass over the calibration images
FEWEST, MOST = 256, 4096


@dataclass(frozen=True)
class Calibrated:
    """A network whose layers can take a shift of their means, and the images to measure it on.

    ``images`` and ``mixed`` (n, C, H, W) are preprocessed, and like none that the network has
    seen; what matters to the answers is measured on ``mixed``.  The ``judge`` guesses
    what a compression costs, where a budget asks for it.
    """

    packed: Packed
    images: np.ndarray
    mixed: np.ndarray
    judge: Judge | None

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
        """``images`` of them (None: by the network's size); a judge if ``judged`` and needed."""
        packed = with_biases(packed, names)
        rng = np.random.default_rng(context.seed)
        data = evenly(problem.train, images or images_for(packed))
        plain = unseen_like(data, problem.augmentation, rng, mixed=False)
        mixed = unseen_like(data, problem.augmentation, rng, mixed=True)
        judge = None
        if context.max_drop is not None and judged:
            judge = Judge.of(packed.network(), problem, context.unseen, rng)
        return cls(packed, plain, mixed, judge)


def images_for(packed: Packed) -> int:
    """How many images calibration takes by default: fewer for a larger network."""
    macs = max(sum(packed.graph.macs().values()), 1)
    return int(np.clip(CALIBRATION / macs, FEWEST, MOST))
