"""Compress a network: run a recipe, write the file, decode it again, measure it.

The accuracy that is reported belongs to the bytes that are reported: the file is
written, a fresh process decodes and evaluates it, and the figures go into its
metadata without a byte of its weights changing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reticule.codec import DEFAULT_PRESET, PRESETS, About, dumps, encode_weights, loads, size_of
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.errors import DataError, RecipeError
from reticule.evaluation import class_count, evaluate, evaluate_in_fresh_process
from reticule.files import write_whole
from reticule.forms import Packed
from reticule.graph import Network
from reticule.graph.trimming import named_after_nodes
from reticule.journal import Journal
from reticule.progress import Progress, Silent, duration
from reticule.recipes import Recipe, load_recipe
from reticule.result import Result, StageRecord

if TYPE_CHECKING:
    from reticule.methods import Context

MOST_HELD_OUT = 10_000
SLACK = 16  # bytes, by which figures that are not known yet may lengthen a file


def compress(
    network: Network | Packed,
    *,
    train: Data | None = None,
    val: Data | None = None,
    test: Data | None = None,
    recipe: str | Path | Recipe = "deep-compression",
    max_drop: float | None = None,
    max_bytes: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] = (),
    preset: str = DEFAULT_PRESET,
    provenance: bool = True,
    progress: Progress | None = None,
    output: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> Result:
    """Compress a network with a recipe and measure the decoded file.

    ``train`` is what the network is retrained on.  ``val`` serves for choices (default:
    a seeded, stratified tenth of ``train``), ``test`` only for the two figures of the
    report.  ``max_drop`` is the number of points of accuracy that may be lost,
    ``max_bytes`` the size that the file may have; give one of them.
    ``minutes`` is about what all training may take; without it the same seed gives the same
    file on every machine of a kind.
    ``device`` is where training runs: "cpu", "cuda", or "auto", a GPU where PyTorch sees one.
    On a GPU sums come in no fixed order, so that files of the same seed differ slightly.
    ``output`` is a file to save the result to, before the journal is removed.
    ``network`` may be packed already: the recipe ``recode`` keeps its forms, others start
    from its weights.  ``labels`` are names of classes, for data that has none.
    ``preset`` is that of the entropy coder: ``small``, ``fast`` or ``instant``.  Without
    ``provenance`` the file does not keep recipe, seed and accuracy.
    ``journal`` names a folder for checkpoints; with ``resume``, stages that an earlier,
    interrupted run has finished are taken from it.

    Raises ReticuleError for bad networks, data and recipes.
    """
    start = time.monotonic()
    progress = progress or Silent()
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    given = network if isinstance(network, Packed) else Packed.of(network)
    network = given.network().check()
    budget = _Budget(max_drop, max_bytes, minutes)
    budget.check()
    if preset not in PRESETS:
        raise RecipeError(f"there is no preset '{preset}'; use one of {', '.join(PRESETS)}")
    if recipe.needs_data and train is None:
        raise RecipeError(f"recipe '{recipe.name}' retrains the network: give it training images")
    original = Packed.of(network)
    sets = _Sets.of(Model(original), train, val, test, seed)
    about = About(
        preprocessing=preprocessing or sets.preprocessing,
        labels=sets.labels or tuple(labels),
        bytes_original=4 * network.parameters,
    )
    if provenance:
        about = replace(about, recipe=recipe.to_json(), seed=seed)
    run = _Run(
        recipe, network, given, sets, budget, preset, about, provenance, seed, device, progress
    )
    steps = None
    if journal is not None:
        steps = Journal(Path(journal), run.fingerprint(), resume=resume)
    packed, stages = run.stages(original, steps)
    packed = replace(packed, graph=named_after_nodes(packed.graph))
    result = _measured(original, packed, run, stages, time.monotonic() - start)
    if output is not None:
        result.save(output)
    if steps is not None:
        steps.remove()
    return replace(result, seconds=time.monotonic() - start)


@dataclass(frozen=True)
class _Sets:
    """The images, checked against the network and divided."""

    train: Data | None
    held_out: Data | None
    test: Data | None
    unseen: bool

    @classmethod
    def of(
        cls, model: Model, train: Data | None, val: Data | None, test: Data | None, seed: int
    ) -> _Sets:
        classes = class_count(model)
        given = [data for data in (train, val, test) if data is not None]
        if given and len(model.input_shape) != 3:
            raise DataError(
                f"{given[0].name}: images were given, "
                f"but the network takes inputs of shape {model.input_shape}"
            )
        train, val, test = (
            data and data.fitted(model.input_shape, classes) for data in (train, val, test)
        )
        unseen = val is not None
        if train is not None and val is None:
            train, val = train.split(min(0.1, MOST_HELD_OUT / len(train)), seed)
        return cls(train, val, test, unseen)

    @property
    def preprocessing(self) -> Preprocessing | None:
        return next((d.preprocessing for d in (self.train, self.held_out, self.test) if d), None)

    @property
    def labels(self) -> tuple[str, ...]:
        return next((d.classes for d in (self.train, self.held_out, self.test) if d), ())


@dataclass(frozen=True)
class _Budget:
    """What the user allows: points of accuracy, bytes of the file, minutes of training."""

    max_drop: float | None
    max_bytes: int | None
    minutes: float | None

    def check(self) -> None:
        """Raise RecipeError for what nobody can keep."""
        drop, most, minutes = self.max_drop, self.max_bytes, self.minutes
        if drop is not None and not 0 <= drop <= 100:
            raise RecipeError(f"max_drop is {drop}; it must be between 0 and 100 points")
        if most is not None and most < 1:
            raise RecipeError(f"max_bytes is {most}; a file has at least one byte")
        if minutes is not None and not 0 < minutes < float("inf"):
            raise RecipeError(f"minutes is {minutes}; training needs some time, 1 for a first try")
        if most is not None and drop is not None:
            raise RecipeError(
                "give max_drop or max_bytes, not both: one would contradict the other"
            )


@dataclass(frozen=True)
class _Run:
    """A recipe at work on a network."""

    recipe: Recipe
    network: Network
    given: Packed
    sets: _Sets
    budget: _Budget
    preset: str
    about: About
    provenance: bool
    seed: int
    device: str
    progress: Progress

    def fingerprint(self) -> str:
        """Identifies everything that the result depends on."""
        digest = hashlib.sha256()
        budget = asdict(self.budget)
        settings = [self.recipe.to_json(), self.seed, budget, self.sets.unseen, self.preset]
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
        digest.update(repr(self.network.graph).encode())
        for name in sorted(self.network.tensors):
            digest.update(np.ascontiguousarray(self.network.tensors[name]).tobytes())
        for data in (self.sets.train, self.sets.held_out):
            if data is not None:
                digest.update(repr(data.preprocessing).encode() + data.labels.tobytes())
        return digest.hexdigest()

    def stages(self, packed: Packed, journal: Journal | None) -> tuple[Packed, list[StageRecord]]:
        """The network after every stage of the recipe, and what was measured on the way."""
        import torch

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
        context = Context(
            self.network,
            given=self.given,
            problem=problem,
            max_drop=self.budget.max_drop,
            max_bytes=self.budget.max_bytes,
            file_size=self.file_size,
            unseen=self.sets.unseen,
            progress=self.progress,
        )
        records = [self._record("original", packed, context, time.monotonic(), {}, {})]
        for number, stage in enumerate(self.recipe.stages):
            if journal and (done := journal.finished(number)):
                packed, record = done[0], StageRecord(**done[1])
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
                    journal.add(number, packed, asdict(record))
            if stage.method.settles:
                context = replace(context, reference=packed.network())
            records.append(record)
        return packed, records

    def file_size(self, packed: Packed) -> int:
        """Bytes of the whole file, within those that a digit of the accuracy takes."""
        packed = replace(packed, graph=named_after_nodes(packed.graph))
        about = self.about
        if self.provenance and (self.sets.test or self.sets.held_out):
            about = replace(about, accuracy=_figures(88.8888, 88.8888, "test"))
        return size_of(packed, about, self.preset) + SLACK

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


def _measured(
    original: Packed,
    packed: Packed,
    run: _Run,
    stages: list[StageRecord],
    seconds: float,
) -> Result:
    """The file's bytes, decoded and evaluated in a fresh process."""
    sets, about = run.sets, run.about
    judged = sets.test or sets.held_out
    measured_on = "test" if sets.test else "val" if sets.held_out else None
    before = after = None
    weights = encode_weights(packed, run.preset)
    blob = dumps(packed, about, run.preset, weights)
    if judged is not None:
        start = time.monotonic()
        before = evaluate(Model(original), judged).accuracy
        with tempfile.TemporaryDirectory(prefix="reticule-") as folder:
            path = Path(folder) / "decoded.ret"
            write_whole(path, blob)
            after = evaluate_in_fresh_process(path, judged).accuracy
            held_out = after
            if sets.test is not None and sets.held_out is not None:
                held_out = evaluate_in_fresh_process(path, sets.held_out).accuracy
        if run.provenance:
            figures = _figures(before, after, measured_on)
            blob = dumps(packed, replace(about, accuracy=figures), run.preset, weights)
        nonzero = sum(form.nonzero for form in packed.forms.values())
        stages.append(StageRecord("decoded file", held_out, time.monotonic() - start, nonzero))
    del weights
    decoded = loads(blob)
    return Result(
        blob,
        decoded.packed,
        decoded.about,
        run.recipe,
        run.seed,
        tuple(stages),
        about.bytes_original,
        decoded.bytes_weights,
        before,
        after,
        measured_on,
        run.budget.max_drop,
        run.budget.max_bytes,
        seconds,
        decoded.tensor_bytes,
        decoded.part_bytes,
    )


def _figures(before: float, after: float, measured_on: str | None) -> dict[str, Any]:
    return {"before": before, "after": after, "measured_on": measured_on}
