"""Trellis-coded quantisation weighted by what matters, without retraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Dense, Form, Packed
from reticule.methods.base import Context, Outcome, method
from reticule.methods.layerwise.calibrated import Calibrated
from reticule.methods.quantise.budget import Attempt, default_quality, within_budget
from reticule.methods.quantise.calibration import importances
from reticule.methods.quantise.judge import NOT_JUDGED, Assessor
from reticule.methods.quantise.layers import Choice
from reticule.methods.quantise.plain import quantise_plainly
from reticule.methods.quantise.walk import Settings, quantise_network
from reticule.methods.select import select
from reticule.tuning.problem import constant_tensors

PLAIN_QUALITY = 24.0


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
        notes: dict[str, object] = {"quality": round(best.quality, 3), "trials": work.trials}
        notes |= best.verdict.notes()
        if not met:
            notes["budget"] = "not met"
        biases = {
            node.inputs[2]: self.bias_bits
            for node, weight in best.packed.graph.weights()
            if weight in names and len(node.inputs) > 2
        }
        size = sum(best.packed.forms[name].size for name in biases if name in best.packed.forms)
        notes["bias_bytes"] = size * self.bias_bits // 8
        return Outcome(best.packed, {n: r for n, r in skipped.items() if n not in biases}, notes)


def _dense(form: Form) -> str:
    return "" if isinstance(form, Dense) else f"already in the form {form.name}"


@dataclass
class _Work:
    """One network under a budget."""

    settings: TrellisQuantisation
    packed: Packed
    names: Sequence[str]
    context: Context
    inputs: tuple[np.ndarray, ...] | None
    chosen: dict[str, np.ndarray]
    assessor: Assessor | None
    choices: dict[str, Choice] = field(default_factory=dict)
    trials: int = 0

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
        chosen = {name: found[name] for name in names}
        return cls(settings, views.packed, names, context, views.inputs, chosen, views.assessor)

    def search(self) -> tuple[Attempt, bool]:
        """The best trial, and whether it keeps the budget as far as this can tell."""
        context = self.context
        default = default_quality(context) if self.inputs is not None else PLAIN_QUALITY
        start = default if self.settings.quality is None else self.settings.quality
        before = self.assessor.verdict(self.packed) if self.assessor else None
        return within_budget(self.context, self.attempt, start, before=before)

    def attempt(self, quality: float) -> Attempt:
        """The network at this quality."""
        self.trials += 1
        settings = self.settings
        if self.inputs is None:
            made = quantise_plainly(
                self.packed, self.names, quality, settings.states, settings.bias_bits, self.choices
            )
            return self._judged(quality, made)
        weights = sum(self.packed.forms[name].size for name in self.names)
        made = quantise_network(
            self.packed,
            self.chosen,
            self.inputs,
            Settings(10 ** (-quality / 10) / weights, settings.states, settings.bias_bits),
            self.choices,
            self.context.progress,
        )
        return self._judged(quality, made)

    def _judged(self, quality: float, made: Packed) -> Attempt:
        verdict = self.assessor.verdict(made) if self.assessor else NOT_JUDGED
        self.context.progress.say(", ".join(filter(None, (f"  quality {quality:g}", str(verdict)))))
        return Attempt(quality, made, verdict)
