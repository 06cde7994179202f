"""The stages of a recipe, one after the other, with a journal of what is finished.

The outcome of a stage depends on the network, the recipe up to it, the inputs, the budget, seed
and device, and on nothing else.  Its *key* stands for all of that, so that a run which was
interrupted goes on, and another one with the same beginning takes that over.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule._native import give_back
from reticule.budget import Budget
from reticule.compression.guard import collapse
from reticule.compression.sets import Sets
from reticule.data import Preprocessing
from reticule.evaluation.plausible import check_above_chance
from reticule.evaluation.task import classes_of
from reticule.forms import Packed
from reticule.graph import Network
from reticule.journal import Journal
from reticule.progress import Progress, duration
from reticule.recipes import Recipe
from reticule.records import StageRecord

if TYPE_CHECKING:
    from reticule.methods import Context, Method, Outcome
    from reticule.tuning.problem import Problem
    from reticule.tuning.witness import Witness

MOST_GENERATED = 64


@dataclass(frozen=True)
class Run:
    """A recipe at work on a network.

    ``given`` is the network in the forms that it came in; ``settings`` is what else the outcome
    depends on, as plain data.  ``file_size`` tells the bytes of the whole file in advance.
    """

    recipe: Recipe
    network: Network
    given: Packed
    sets: Sets
    budget: Budget
    seed: int
    device: str
    settings: Mapping[str, Any]
    file_size: Callable[[Packed], int]
    preprocessing: Preprocessing | None
    progress: Progress

    def keys(self) -> list[str]:
        """One for each stage: equal keys mean equal outcomes."""
        digest = self._beginning()
        keys = []
        for stage in self.recipe.stages:
            digest.update(_text({"method": stage.name, **stage.parameters}))
            keys.append(digest.copy().hexdigest())
        return keys

    def _beginning(self) -> Any:
        """A digest of all that every stage depends on."""
        digest = hashlib.sha256()
        budget, unseen = asdict(self.budget), self.sets.unseen
        digest.update(_text([self.seed, self.device, budget, unseen, dict(self.settings)]))
        digest.update(repr(self.network.graph).encode())
        for name in sorted(self.network.tensors):
            digest.update(np.ascontiguousarray(self.network.tensors[name]).tobytes())
            digest.update(repr(self.given.forms[name].name).encode())
        for data in (self.sets.train, self.sets.held_out):
            digest.update(data.digest().encode() if data is not None else b"none")
        return digest

    def stages(
        self, packed: Packed, journal: Journal | None, *, anyway: bool = False
    ) -> tuple[Packed, list[StageRecord]]:
        """The network after every stage of the recipe, and what was measured on the way.

        DataError where the network that was given is no better than chance, unless ``anyway``.
        """
        import torch

        context = self._context()
        records = [self._record(_Step("original", packed), context, time.monotonic())]
        accuracy, judged = records[0].accuracy, self.sets.held_out
        if accuracy is not None and judged is not None and not anyway:
            check_above_chance(accuracy, classes_of(self.network.graph), judged, judged.name)
        for number, stage in enumerate(self.recipe.stages):
            if journal and (done := journal.finished(number)):
                packed, record = done
            else:
                start = time.monotonic()
                seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
                torch.manual_seed(seed)
                outcome = stage.method.apply(packed, replace(context, seed=seed))
                step = self._guarded(number, packed, outcome, context)
                packed = step.packed
                record = self._record(step, context, start)
                if journal:
                    journal.add(number, packed, record)
                del outcome, step
                give_back()
            if stage.method.settles:
                context = replace(context, reference=packed.network())
            records.append(record)
        return packed, records

    def _guarded(self, number: int, before: Packed, outcome: Outcome, context: Context) -> _Step:
        """What a stage made; or what it got, if no training follows and it destroyed that."""
        stage = self.recipe.stages[number]
        step = _Step(stage.name, outcome.packed, outcome.skipped, outcome.notes)
        later = self.recipe.stages[number + 1 :]
        if outcome.packed.same_weights(before) or any(trains(other.method) for other in later):
            return step
        assert context.witness is not None
        # Training may rightly find other answers: all that is asked of it is that there are some.
        trained = trains(stage.method)
        reason = collapse(
            before.graph,
            context.witness.exact if trained else context.witness.answers(before),
            context.witness.answers(outcome.packed),
            None if trained else self.recipe.ceiling,
        )
        if not reason:
            return step
        self.progress.say(f"{stage.name}: undone, as it destroys the network: {reason}")
        return replace(step, packed=before, undone=reason)

    def _context(self) -> Context:
        """What methods may use."""
        from reticule.methods import Context

        return Context(
            self.network,
            given=self.given,
            problem=self.problem,
            witness=self.witness,
            max_drop=self.budget.max_drop,
            max_error=self.budget.max_error,
            max_bytes=self.budget.max_bytes,
            file_size=self.file_size,
            unseen=self.sets.unseen,
            progress=self.progress,
        )

    @cached_property
    def problem(self) -> Problem | None:
        """The inputs as methods learn from them; None without any."""
        from reticule.tuning.device import device_of
        from reticule.tuning.problem import Problem

        held_out = self.sets.held_out
        if held_out is None:
            return None
        # Without images to train on, those to decide on serve methods that need no labels.
        train = held_out if self.sets.train is None else self.sets.train
        minutes, device = self.budget.minutes, device_of(self.device)
        return Problem.of(self.network, train, held_out, self.seed, minutes, device)

    @cached_property
    def witness(self) -> Witness:
        """Inputs that no stage may learn from: held-out ones, or generated ones without data."""
        from reticule.tuning.generated import inputs_like_training
        from reticule.tuning.witness import Witness, witnesses

        if self.problem is not None:
            return self.problem.witness

        def draw() -> tuple[np.ndarray, ...]:
            count = min(witnesses(self.network), MOST_GENERATED)
            self.progress.say("making inputs that the network's batch norms would know")
            return inputs_like_training(self.network, count, self.seed, self.preprocessing)

        return Witness(Packed.of(self.network), draw, generated=True)

    def _record(self, step: _Step, context: Context, start: float) -> StageRecord:
        packed = step.packed
        accuracy = context.problem.accuracy(packed) if context.problem else None
        error = context.witness.error(packed) if context.witness else math.inf
        nonzero = sum(form.nonzero for form in packed.forms.values())
        seconds = time.monotonic() - start
        shown = [f"error {error:.2f} %", f"{nonzero:,} weights", duration(seconds)]
        if accuracy is not None:
            shown.insert(0, f"{accuracy:.2f} % on held-out images")
        self.progress.say(f"{step.name}: {', '.join(shown)}")
        finite = error if math.isfinite(error) else None
        return StageRecord(
            step.name, accuracy, seconds, nonzero, step.skipped, step.notes, finite, step.undone
        )


@dataclass(frozen=True)
class _Step:
    """What a stage left behind."""

    name: str
    packed: Packed
    skipped: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    undone: str = ""


def trains(method: Method) -> bool:
    """Whether a method wins back what was lost before it."""
    return bool(getattr(method, "trains", False))  # methods of others may not say


def _text(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
