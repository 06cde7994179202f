"""Compress a network: run a recipe, write the file, decode it again, measure it.

The accuracy that is reported belongs to the bytes that are reported: the file is
written, a fresh process decodes and evaluates it, and the figures go into its
metadata without a byte of its weights changing.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reticule._native import give_back
from reticule.budget import Budget
from reticule.codec import (
    DEFAULT_PRESET,
    About,
    check_preset,
    dumps,
    encode_weights,
    loads,
    save,
    size_of,
)
from reticule.compression.measurer import Figures, measure_file
from reticule.compression.runner import Run
from reticule.compression.sets import Sets
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.errors import RecipeError
from reticule.evaluation.fidelity import Fidelity, worst_error
from reticule.evaluation.generated import generated_inputs
from reticule.evaluation.inputs import Arrays
from reticule.forms import Packed
from reticule.graph import Network
from reticule.graph.trimming import named_after_nodes
from reticule.journal import Journal
from reticule.progress import Progress, Silent
from reticule.recipes import Recipe, load_recipe
from reticule.records import StageRecord
from reticule.result import Result

SHOWN = 4  # inputs to a file whose weights are those of the original
SLACK = 16  # bytes, by which figures that are not known yet may lengthen a file


def compress(
    network: Network | Packed,
    *,
    train: Data | None = None,
    val: Data | None = None,
    test: Data | None = None,
    recipe: str | Path | Recipe = "deep-compression",
    max_drop: float | None = None,
    max_error: float | None = None,
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
    anyway: bool = False,
) -> Result:
    """Compress a network with a recipe and measure the decoded file.

    ``train`` is what the network is retrained on, or calibrated with; labels are needed for
    accuracies only.  ``val`` serves for choices (default: a seeded, stratified tenth of
    ``train``), ``test`` only for the figures of the report.  ``max_drop`` is the number of points
    of accuracy that may be lost, ``max_error`` the error of the answers in percent (see
    :mod:`reticule.evaluation.fidelity`), ``max_bytes`` the size that the file may have; all that
    are given must hold, against the network that was given.
    ``minutes`` is about what all training may take; without it the same seed gives the same
    file on every machine of a kind.
    ``device`` is where training runs: "cpu", "cuda", or "auto", a GPU where PyTorch sees one.
    On a GPU sums come in no fixed order, so that files of the same seed differ slightly.
    ``output`` is a file to save the result to, before the journal is removed.
    ``network`` may be packed already: the recipe ``recode`` keeps its forms, others start
    from its weights.  ``labels`` are names of classes, for data that has none.
    ``preset`` is that of the entropy coder: ``small``, ``fast`` or ``instant``.  Without
    ``provenance`` the file does not keep recipe, seed and accuracy.
    ``journal`` names a folder for checkpoints: stages that an interrupted run of the same
    settings has finished are taken from it.  With ``resume`` a journal of other settings is an
    error, else it is moved aside.  With ``anyway`` an original whose accuracy is no better than
    chance is compressed all the same.

    Raises ReticuleError for bad networks, data and recipes.
    """
    start = time.monotonic()
    progress = progress or Silent()
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    from reticule.tuning.device import device_of  # once the recipe has said what is missing

    device_of(device)
    given = network if isinstance(network, Packed) else Packed.of(network)
    network = given.network().check()
    budget = Budget(max_drop, max_error, max_bytes, minutes).check()
    check_preset(preset)
    if recipe.needs_data and train is None:
        raise RecipeError(
            f"recipe '{recipe.name}' retrains the network, or looks at what it does: "
            "give it training images (--train); labels are needed for accuracies only"
        )
    original = Packed.of(network)
    sets = Sets.of(Model(original), train, val, test, seed, labels, anyway)
    sets.check_budget(budget)
    for remark in sets.remarks:
        progress.say(remark)
    about = About(
        preprocessing=preprocessing or sets.preprocessing,
        labels=sets.labels or tuple(labels),
        bytes_original=4 * network.parameters,
    )
    if provenance:
        about = replace(about, recipe=recipe.to_json(), seed=seed)
    file = _File(about, preset, provenance)
    settings = {"preset": preset}
    run = Run(
        recipe, network, given, sets, budget, seed, device, settings, file.size,
        about.preprocessing, progress,
    )  # fmt: skip
    steps = None
    if journal is not None:
        steps = Journal(Path(journal), run.keys(), resume=resume)
        for remark in steps.remarks:
            progress.say(remark)
    packed, stages = run.stages(original, steps, anyway=anyway)
    result = _measured(original, packed, run, file, stages, start)
    if output is not None:
        result.save(output)
    if steps is not None:
        steps.remove()
    return replace(result, seconds=time.monotonic() - start)


@dataclass(frozen=True)
class _File:
    """How a network becomes the bytes of a file, with what the file says of itself."""

    about: About
    preset: str
    provenance: bool

    def size(self, packed: Packed) -> int:
        """Bytes of the whole file, within those that digits of what is measured take."""
        about = self.about
        if self.provenance:
            unknown = (88.88, 8.888, 88.88, 88.88)
            fidelity = tuple(Fidelity(n, *unknown).rounded() for n in packed.graph.outputs)
            about = replace(about, accuracy=_accuracy(88.8888, 88.8888, "test"), fidelity=fidelity)
        packed = replace(packed, graph=named_after_nodes(packed.graph))
        return size_of(packed, about, self.preset) + SLACK * (1 + len(packed.graph.outputs))

    def measured(self, figures: Figures) -> About:
        """What the file says of itself once it is measured."""
        if not self.provenance:
            return self.about
        accuracy = _accuracy(figures.accuracy_before, figures.accuracy_after, figures.on)
        fidelity = tuple(each.rounded() for each in figures.fidelity)
        return replace(self.about, accuracy=accuracy, fidelity=fidelity)


def _measured(
    original: Packed,
    packed: Packed,
    run: Run,
    file: _File,
    stages: list[StageRecord],
    start: float,
) -> Result:
    """The file's bytes, decoded and evaluated in a fresh process."""
    sets = run.sets
    judged: Data | Arrays | None = sets.test or sets.held_out
    on = "test" if sets.test else "val"
    if judged is None:
        judged, on = Arrays(_generated(run, packed)), "generated"
        run.progress.say(
            "without inputs of its own the network was compared with the original on generated "
            "ones: give --val or --train for a figure that can be trusted"
        )
    begun = time.monotonic()
    packed = replace(packed, graph=named_after_nodes(packed.graph))
    preset = file.preset
    weights = encode_weights(packed, preset)
    write = partial(save, packed=packed, about=file.about, preset=preset, weights=weights)
    figures = measure_file(original, write, on, judged, sets.held_out)
    give_back()
    blob = dumps(packed, file.measured(figures), preset, weights)
    del weights, write
    nonzero = sum(form.nonzero for form in packed.forms.values())
    seconds = time.monotonic() - begun
    error = worst_error(figures.fidelity)
    stages.append(
        StageRecord(
            "decoded file", figures.accuracy_held_out, seconds, nonzero,
            error_percent=error if error is not None and math.isfinite(error) else None,
        )
    )  # fmt: skip
    decoded = loads(blob)
    return Result(
        blob,
        decoded.packed,
        decoded.about,
        run.recipe,
        run.seed,
        tuple(stages),
        file.about.bytes_original,
        decoded.bytes_weights,
        figures.accuracy_before,
        figures.accuracy_after,
        None if on == "generated" else on,
        figures.fidelity,
        on,
        len(judged),
        run.budget,
        time.monotonic() - start,
        decoded.tensor_bytes,
        decoded.part_bytes,
    )


def _generated(run: Run, packed: Packed) -> tuple[np.ndarray, ...]:
    """Inputs to compare a network with the original on; any will do if nothing was changed."""
    if packed.same_weights(run.witness.original):
        return generated_inputs(run.network.graph.inputs, SHOWN, run.seed, run.preprocessing)
    return run.witness.inputs


def _accuracy(before: float | None, after: float | None, measured_on: str) -> dict[str, Any]:
    """What the file says of its accuracy, as far as there is one, and of where it was measured."""
    known = {} if after is None else {"before": before, "after": after}
    return {**known, "measured_on": measured_on}
