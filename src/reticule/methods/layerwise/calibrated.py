"""What methods without retraining look at: images, and how the answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reticule.forms import Packed
from reticule.methods.base import Context
from reticule.methods.layerwise.sizes import room_for
from reticule.methods.layerwise.walk import Inputs, with_biases
from reticule.methods.quantise.beside_plain import Rival, better
from reticule.methods.quantise.budget import Attempt
from reticule.methods.quantise.calibration import unseen_like
from reticule.methods.quantise.judge import Assessor
from reticule.tuning.evidence import distinct
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import Problem, constant_tensors, evenly

CALIBRATION = 2e10  # multiply-accumulates of one pass over the calibration images
FEWEST, MOST = 256, 4096
MOST_HELD_OUT = 128
NOT_BETTER = "calibration is of no use on other images"


@dataclass(frozen=True)
class Calibrated:
    """A network whose layers can take a shift of their means, and the images to measure it on.

    ``inputs`` and ``mixed`` are preprocessed, one array (n, ...) for each input of the network,
    and like none that it has seen; what matters to the answers is measured on
    ``mixed``, by their ``likelihood``.  ``images`` is how many of those that they come from
    differ.  The ``assessor`` tells what a compression costs, where a budget asks for it.
    ``held_out`` inputs are those that decisions are made on.
    """

    packed: Packed
    inputs: Inputs
    mixed: Inputs
    images: int
    likelihood: Likelihood
    assessor: Assessor | None
    held_out: Inputs

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
        """``images`` of them (None: by the network's size); judged if ``judged`` and needed."""
        packed = with_biases(packed, names)
        rng = np.random.default_rng(context.seed)
        most = room_for(packed.graph, names)
        data = evenly(problem.train, min(images or images_for(packed), most))
        plain = unseen_like(data, problem, rng, mixed=False)
        mixed = unseen_like(data, problem, rng, mixed=True)
        likelihood = likelihood_of(context, plain)
        assessor = Assessor.of(context, rng) if judged else None
        differ = distinct(data.inputs(np.arange(len(data))))
        held_out = evenly(problem.held_out, MOST_HELD_OUT)
        held = held_out.inputs(np.arange(len(held_out)))
        return cls(packed, plain, mixed, differ, likelihood, assessor, held)

    def nearer(
        self, start: Packed, best: Attempt, rivals: Sequence[Rival], size: int, context: Context
    ) -> tuple[Packed, dict[str, object]]:
        """The trial (``size`` bytes) or its best rival, and a note of what decided.

        See :func:`reticule.methods.quantise.beside_plain.better`.  A rival that would break a
        budget which the trial keeps does not take its place.
        """
        rng = np.random.default_rng(context.seed)
        rival, won = better(start, best.packed, rivals, size, self.held_out, self.images, rng)
        notes: dict[str, object] = {"images": self.images, "gain_db": round(won, 2)}
        if rival is None or not self._allowed(rival, best, context):
            return best.packed, notes
        context.progress.say(f"  {NOT_BETTER} ({-won:.2f} dB): errors are weighed by their size")
        return rival.packed, notes | {"kept": "plain", "plain_quality": round(rival.quality, 3)}

    def _allowed(self, rival: Rival, best: Attempt, context: Context) -> bool:
        """Whether it keeps the budget too."""
        size, most = context.file_size, context.max_bytes
        if size is not None and most is not None and size(rival.packed) > most:
            return False
        if self.assessor is None or not best.verdict.allowed(context):
            return True
        return self.assessor.verdict(rival.packed).allowed(context)


def likelihood_of(context: Context, inputs: Inputs) -> Likelihood:
    """What the original's answers are compared as; ``inputs`` show how they spread."""
    graph, tensors = context.original.graph, constant_tensors(context.original)
    return Likelihood.of(graph, tensors, inputs, classified=context.classified)


def images_for(packed: Packed) -> int:
    """How many images calibration takes by default: fewer for a larger network."""
    macs = max(sum(packed.graph.macs().values()), 1)
    return int(np.clip(CALIBRATION / macs, FEWEST, MOST))
