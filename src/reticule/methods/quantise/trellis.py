"""Trellis-coded quantisation weighted by what matters, without retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Dense, Form, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.layerwise.calibrated import Calibrated
from reticule.methods.layerwise.evidence import matter
from reticule.methods.quantise.beside_plain import rivals_of
from reticule.methods.quantise.budget import Attempt, default_quality, within_budget
from reticule.methods.quantise.calibration import importances
from reticule.methods.quantise.drafts import Drafts
from reticule.methods.quantise.judge import NOT_JUDGED, Assessor, Verdict
from reticule.methods.quantise.layers import Choice
from reticule.methods.quantise.plain import quantise_plainly
from reticule.methods.quantise.walk import Settings, quantise_network
from reticule.methods.select import select
from reticule.methods.structure.sizes import size_of
from reticule.progress import Bar
from reticule.tuning.problem import constant_tensors

PLAIN_QUALITY = 24.0
DRAFTS, FULL = 6, 3  # tries that a search takes, as a guess
AHEAD = 0.5  # decibels by which a full pass is better than a draft


@method("trellis-quantisation")
@dataclass(frozen=True)
class TrellisQuantisation:
    """Quantise every layer, as coarsely as the answers of the network bear.

    With images (unlabelled, some hundred), an error is weighted by what it does to the
    network's answers, later weights and layers make up for errors of earlier ones, and biases
    restore each channel's mean.  Without, all weights count by their size.

    Source: Marcellin and Fischer, "Trellis coded quantization of memoryless and
    Gauss-Markov sources", 1990; Frantar et al., "Optimal Brain Compression", NeurIPS 2022,
    and "GPTQ", ICLR 2023.
    """

    quality: Annotated[float, Field(ge=-6, le=60)] | None = None
    states: Literal[0, 8, 32, 64] = 8
    bias_bits: Annotated[int, Field(ge=4, le=16)] = 8
    images: Annotated[int, Field(ge=16)] | None = None
    skip: Sequence[str] = ()

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=1, accept=_dense)
        if not names:
            return Outcome(packed, skipped)
        work = _Work.of(self, packed, names, context)
        best, met = work.search()
        made, compared = work.compared(best)
        notes: dict[str, object] = {"quality": round(best.quality, 3), "trials": work.trials}
        notes |= compared
        notes |= best.verdict.notes()
        if not met:
            notes["budget"] = "not met"
        biases = {
            node.inputs[2]: self.bias_bits
            for node, weight in made.graph.weights()
            if weight in names and len(node.inputs) > 2
        }
        size = sum(made.forms[name].size for name in biases if name in made.forms)
        notes["bias_bytes"] = size * self.bias_bits // 8
        return Outcome(made, {n: r for n, r in skipped.items() if n not in biases}, notes)


def _dense(form: Form) -> str:
    return "" if isinstance(form, Dense) else f"already in the form {form.name}"


@dataclass
class _Work:
    """One network under a budget.

    ``start`` is the network as it came; ``views`` what it is calibrated with, and with places
    for biases (None: there are no images).
    """

    settings: TrellisQuantisation
    start: Packed
    names: Sequence[str]
    context: Context
    views: Calibrated | None
    chosen: dict[str, np.ndarray]
    assessor: Assessor | None
    choices: dict[str, Choice] = field(default_factory=dict)
    trials: int = 0
    passes: int = 1  # over all layers, as far as can be told

    @classmethod
    def of(
        cls, settings: TrellisQuantisation, packed: Packed, names: Sequence[str], context: Context
    ) -> _Work:
        problem = context.problem
        if problem is None:
            assessor = None
            if settings.quality is None:
                assessor = Assessor.of(context, np.random.default_rng(context.seed))
            return cls(settings, packed, names, context, None, {}, assessor)
        views = Calibrated.of(
            packed,
            names,
            context,
            problem,
            images=settings.images,
            judged=settings.quality is None,
        )
        tensors = constant_tensors(views.packed.network())
        found = importances(
            views.packed.graph,
            tensors,
            views.mixed,
            views.likelihood,
            context.seed,
            context.progress,
        )
        chosen = {name: matter(found[name], views.images) for name in names}
        return cls(settings, packed, names, context, views, chosen, views.assessor)

    def search(self) -> tuple[Attempt, bool]:
        """The best trial, and whether it keeps the budget as far as this can tell."""
        context = self.context
        default = PLAIN_QUALITY if self.views is None else default_quality(context)
        start = default if self.settings.quality is None else self.settings.quality
        before = self.assessor.verdict(self.start) if self.assessor else None
        if self.views is None:
            return within_budget(context, self.plain, start, before=before)
        judged = before is not None
        passes = 1 + DRAFTS + FULL if judged or context.max_bytes is not None else 1
        with context.progress.bar("quantising", passes * len(self.names)) as bar:
            if passes > 1:
                start = self._near(start, before, bar)
                self._plan(FULL, bar)
            full = partial(self.walked, bar=bar)
            return within_budget(context, full, start, before=before)

    def _plan(self, more: int, bar: Bar) -> None:
        """So many more passes are expected, after the first look and all trials."""
        self.passes = 1 + self.trials + more
        bar.shorten(self.passes * len(self.names))

    def _near(self, start: float, before: Verdict | None, bar: Bar) -> float:
        """The quality that the budget allows drafts, less what full passes are better by."""
        views, context = self.views, self.context
        assert views is not None
        drafts = Drafts.of(
            views.packed, self.chosen, views.inputs, self._at(start), self.choices, views.images,
            context.progress, bar,
        )  # fmt: skip

        def draft(quality: float) -> Attempt:
            self.trials += 1
            return self._judged("draft of ", quality, drafts.at(self._at(quality), bar))

        near, _ = within_budget(context, draft, start, before=before, by_bytes=0.25, by_drop=0.5)
        return near.quality - (AHEAD if context.max_bytes is None else 0.0)

    def _at(self, quality: float) -> Settings:
        weights = sum(self.start.forms[name].size for name in self.names)
        settings = self.settings
        return Settings(10 ** (-quality / 10) / weights, settings.states, settings.bias_bits)

    def plain(self, quality: float) -> Attempt:
        """The network at this quality, by the errors of its weights alone."""
        self.trials += 1
        return self._judged("", quality, self._plain(quality, self.choices))

    def _plain(self, quality: float, choices: dict[str, Choice]) -> Packed:
        settings = self.settings
        return quantise_plainly(
            self.start, self.names, quality, settings.states, settings.bias_bits, choices
        )

    def walked(self, quality: float, bar: Bar) -> Attempt:
        """The network at this quality, each layer for the inputs that it really gets."""
        if 1 < self.passes <= 1 + self.trials:  # the search takes longer than was guessed
            self._plan(2, bar)
        self.trials += 1
        views = self.views
        assert views is not None
        made = quantise_network(
            views.packed,
            self.chosen,
            views.inputs,
            self._at(quality),
            self.choices,
            self.context.progress,
            views.images,
            bar,
        )
        return self._judged("", quality, made)

    def _judged(self, what: str, quality: float, made: Packed) -> Attempt:
        verdict = self.assessor.verdict(made) if self.assessor else NOT_JUDGED
        said = f"  {what}quality {quality:g}"
        self.context.progress.say(", ".join(filter(None, (said, str(verdict)))))
        return Attempt(quality, made, verdict)

    def compared(self, best: Attempt) -> tuple[Packed, dict[str, object]]:
        """The trial, or the plain network of as many bytes if that is nearer to the original."""
        views, context = self.views, self.context
        if views is None:
            return best.packed, {}
        choices: dict[str, Choice] = {}
        size = size_of(best.packed, context)
        rivals = rivals_of(
            self.start,
            self.names,
            self.settings.bias_bits,
            lambda quality: self._plain(quality, choices),
            lambda packed: size_of(packed, context),
            size,
        )
        return views.nearer(self.start, best, rivals, size, context)
