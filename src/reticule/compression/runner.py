"""The stages of a recipe, one after the other, with a journal of what is finished.

The outcome of a stage depends on the network, the recipe up to it, the inputs, the budget, seed
and device, and on nothing else.  Its *key* stands for all of that, so that a run which was
interrupted goes on, and another one with the same beginning takes that over.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule.budget import Budget
from reticule.compression.sets import Sets
from reticule.forms import Packed
from reticule.graph import Network
from reticule.journal import Journal
from reticule.progress import Progress, duration
from reticule.recipes import Recipe
from reticule.records import StageRecord

if TYPE_CHECKING:
    from reticule.methods import Context


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

    def stages(self, packed: Packed, journal: Journal | None) -> tuple[Packed, list[StageRecord]]:
        """The network after every stage of the recipe, and what was measured on the way."""
        import torch

        context = self._context()
        records = [self._record("original", packed, context, time.monotonic(), {}, {})]
        for number, stage in enumerate(self.recipe.stages):
            if journal and (done := journal.finished(number)):
                packed, record = done
            else:
                start = time.monotonic()
                seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
                torch.manual_seed(seed)
                outcome = stage.method.apply(packed, replace(context, seed=seed))
                packed = outcome.packed
                record = self._record(
                    stage.name, packed, context, start, outcome.skipped, outcome.notes
                )
                if journal:
                    journal.add(number, packed, record)
            if stage.method.settles:
                context = replace(context, reference=packed.network())
            records.append(record)
        return packed, records

    def _context(self) -> Context:
        """What methods may use."""
        from reticule.methods import Context
        from reticule.tuning.device import device_of
        from reticule.tuning.problem import Problem

        problem, device = None, device_of(self.device)
        if self.sets.held_out is not None:
            # Without images to train on, those to decide on serve methods that need no labels.
            train = self.sets.held_out if self.sets.train is None else self.sets.train
            problem = Problem.of(
                self.network, train, self.sets.held_out, self.seed, self.budget.minutes, device
            )
        return Context(
            self.network,
            given=self.given,
            problem=problem,
            max_drop=self.budget.max_drop,
            max_bytes=self.budget.max_bytes,
            file_size=self.file_size,
            unseen=self.sets.unseen,
            progress=self.progress,
        )

    def _record(
        self,
        name: str,
        packed: Packed,
        context: Context,
        start: float,
        skipped: Mapping[str, str],
        notes: Mapping[str, Any],
    ) -> StageRecord:
        accuracy = context.problem.accuracy(packed) if context.problem else None
        nonzero = sum(form.nonzero for form in packed.forms.values())
        seconds = time.monotonic() - start
        shown = "" if accuracy is None else f"{accuracy:.2f} % on held-out images, "
        self.progress.say(f"{name}: {shown}{nonzero:,} weights, {duration(seconds)}")
        return StageRecord(name, accuracy, seconds, nonzero, skipped, notes)


def _text(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
