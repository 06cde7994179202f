"""Optimal brain compression: one-shot pruning by second-order information, no retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Dense, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.layerwise.calibrated import Calibrated
from reticule.methods.layerwise.evidence import matter
from reticule.methods.layerwise.layer import Layer
from reticule.methods.layerwise.walk import walk
from reticule.methods.obs.plain import by_magnitude
from reticule.methods.obs.probing import Probe, factors, probe_of
from reticule.methods.obs.pruning import damped, masks_at, price_for, prices_of, rebuilt
from reticule.methods.obs.survivors import quantise_survivors
from reticule.methods.prune.threshold import density_of, prunable
from reticule.methods.quantise.beside_plain import matched, rivals_of
from reticule.methods.quantise.budget import Attempt, default_quality, within_budget
from reticule.methods.quantise.calibration import Fisher, fisher
from reticule.methods.quantise.judge import NOT_JUDGED
from reticule.methods.quantise.layers import Choice
from reticule.methods.quantise.plain import quantise_plainly
from reticule.methods.quantise.walk import quantised_bias
from reticule.methods.select import SMALLEST, select
from reticule.methods.structure.sizes import size_of
from reticule.tuning.problem import constant_tensors

STATES = 8  # of the trellis of a plain network
BITS = 5.0  # what a weight that is kept takes in a file, its position included


@method("optimal-brain")
@dataclass(frozen=True)
class OptimalBrain:
    """Prune, and quantise what is left, by what that does to the network's answers.

    One-shot, from some hundred unlabelled images.  Of each row of weights the one goes whose
    loss ``w_p^2 / (2 [H^-1]_pp)`` is smallest, the others make up for it, and so on
    (optimal brain surgery, H = E[x x^T] of what the layer sees).  These losses, times what
    the network's answers depend on the row's channel, are prices; one cut through the prices
    of all layers keeps ``density`` of the weights.  With "auto" it is at the loss that the
    quality (decibels, as in ``trellis-quantisation``) allows for the bits that a weight takes.
    Then, in the network's order, each layer's weights are solved anew for their mask by least
    squares, from the inputs as they are now, and quantised unless ``quantise`` is off.

    Source: Hassibi and Stork, "Optimal Brain Surgeon", NIPS 1992; Dong et al., "Learning to
    Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon", NeurIPS 2017, section 3;
    Frantar and Alistarh, "Optimal Brain Compression", NeurIPS 2022, sections 4 and 5.  One
    price for all layers, from the Fisher information, is ours.
    """

    density: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = "auto"
    quality: Annotated[float, Field(ge=-6, le=60)] | None = None
    quantise: bool = True
    bias_bits: Annotated[int, Field(ge=4, le=16)] = 8
    images: Annotated[int, Field(ge=16)] = 512
    skip: Sequence[str] = ()
    smallest: int = SMALLEST

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        if not names:
            return Outcome(packed, skipped)
        work = _Work.of(self, packed, names, context)
        start = default_quality(context) if self.quality is None else self.quality
        if self.quality is not None or not (self.quantise or self.density == "auto"):
            best, met = work.attempt(start), True
        else:
            assessor = work.views.assessor
            before = assessor.verdict(packed) if assessor else None
            best, met = within_budget(context, work.attempt, start, before=before)
        made, compared = work.compared(packed, best)
        masks = {name: made.forms[name].dense() != 0 for name in names}
        notes: dict[str, object] = {
            "density": density_of(masks),
            "densities": {name: round(float(mask.mean()), 4) for name, mask in masks.items()},
        }
        if self.quantise or self.density == "auto":
            notes |= {"quality": round(best.quality, 3), "trials": work.trials}
        notes |= best.verdict.notes()
        if not met:
            notes["budget"] = "not met"
        notes |= compared
        return Outcome(made, {n: r for n, r in skipped.items() if n not in work.biases}, notes)


@dataclass
class _Work:
    """One network, its statistics, and trials at several qualities."""

    settings: OptimalBrain
    packed: Packed
    names: Sequence[str]
    context: Context
    views: Calibrated
    fisher: dict[str, Fisher]
    free: Mapping[str, np.ndarray]  # what earlier stages have not removed, (rows, columns)
    prices: dict[str, np.ndarray] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    trials: int = 0

    @classmethod
    def of(
        cls, settings: OptimalBrain, packed: Packed, names: Sequence[str], context: Context
    ) -> _Work:
        problem = context.data
        views = Calibrated.of(
            packed,
            names,
            context,
            problem,
            images=settings.images,
            judged=settings.quality is None,
        )
        packed, inputs, mixed = views.packed, views.inputs, views.mixed
        tensors = constant_tensors(packed.network())
        found = {
            name: replace(each, rows=matter(each.rows, views.images))
            for name, each in fisher(
                packed.graph, tensors, mixed, views.likelihood, context.seed, context.progress
            ).items()
        }
        free = {name: _matrix(_free(packed.forms[name])) for name in names}
        work = cls(settings, packed, names, context, views, found, free)
        walk(
            packed,
            names,
            inputs,
            work.priced,
            context.progress,
            title="weighing",
            images=views.images,
        )
        off = factors(packed.graph, tensors, work.probes, mixed, views.likelihood, context.progress)
        for name, factor in off.items():
            work.prices[name] *= factor
            work.fisher[name] = replace(found[name], rows=found[name].rows * factor)
        work.probes.clear()
        return work

    @property
    def biases(self) -> set[str]:
        """Names of the biases of what is pruned."""
        nodes = [n for n, weight in self.packed.graph.weights() if weight in self.names]
        return {node.inputs[2] for node in nodes if len(node.inputs) > 2}

    def priced(self, layer: Layer) -> dict[str, Form]:
        """What removing each weight of a layer costs, with all inputs as they were."""
        weights, name = layer.weights, layer.name
        hessian, _ = layer.statistics(weights, bool(layer.bias), False, self.fisher[name].common)
        hessian, rows = damped(hessian), _matrix(weights)
        self.prices[name] = self._prices(name, rows, hessian)
        share = rows.size / sum(self.packed.forms[other].size for other in self.names)
        self.probes[name] = probe_of(
            rows, hessian, self.fisher[name].rows, self.prices[name], share
        )
        return {}

    def _prices(self, name: str, weights: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        free = None if self.free[name].all() else self.free[name]
        return prices_of(weights, hessian, self.fisher[name].rows, free)

    def compared(self, start: Packed, best: Attempt) -> tuple[Packed, dict[str, object]]:
        """The trial, or a plain network of as many bytes if that is nearer to the original.

        Where the density was given, that is one without its smallest weights.
        """
        context, settings = self.context, self.settings
        size = size_of(best.packed, context)
        choices: dict[str, Choice] = {}

        def measured(packed: Packed) -> int:
            return size_of(packed, context)

        def plain(quality: float) -> Packed:
            return quantise_plainly(start, self.names, quality, STATES, settings.bias_bits, choices)

        if settings.quantise and settings.density == "auto":
            rivals = rivals_of(start, self.names, settings.bias_bits, plain, measured, size)
            return self.views.nearer(start, best, rivals, size, context)
        density = density_of({n: best.packed.forms[n].dense() != 0 for n in self.names})

        def smaller(quality: float) -> Packed:
            finely = quality if settings.quantise else None
            return by_magnitude(start, self.names, density, finely, settings.bias_bits)

        weights = sum(start.forms[name].size for name in self.names)
        rival = matched(smaller, measured, size, weights)
        return self.views.nearer(start, best, [rival], size, context)

    def attempt(self, quality: float) -> Attempt:
        """The network at this quality."""
        self.trials += 1
        settings, context = self.settings, self.context
        lam = 10 ** (-quality / 10) / sum(prices.size for prices in self.prices.values())
        price = lam * BITS
        if settings.density != "auto":
            price = price_for(self.prices, settings.density)
        masks = masks_at(self.prices, price)
        densities = {name: float(mask.mean()) for name, mask in masks.items()}
        bias_form = partial(quantised_bias, bits=settings.bias_bits) if settings.quantise else _full
        made = walk(
            self.packed,
            self.names,
            self.views.inputs,
            partial(self.pruned, densities=densities, lam=lam),
            context.progress,
            title="pruning",
            bias_form=bias_form,
            sums=True,
            images=self.views.images,
        )
        assessor = self.views.assessor
        verdict = assessor.verdict(made) if assessor else NOT_JUDGED
        kept = f"  quality {quality:g}: {100 * density_of(masks):.3g} % of the weights"
        context.progress.say(", ".join(filter(None, (kept, str(verdict)))))
        return Attempt(quality, made, verdict)

    def pruned(self, layer: Layer, densities: Mapping[str, float], lam: float) -> dict[str, Form]:
        """The forms of a layer's weights and bias, for the inputs as they are now."""
        weights, name = layer.weights, layer.name
        hessian, wanted = layer.statistics(
            weights, bool(layer.bias), True, self.fisher[name].common
        )
        hessian, target = damped(hessian), _matrix(wanted)
        free = self.free[name]
        if not free.all():
            target = rebuilt(target, hessian, free)
        prices = {name: self._prices(name, target, hessian)}
        mask = masks_at(prices, price_for(prices, densities[name]))[name] & free
        solved = rebuilt(target, hessian, mask).reshape(weights.shape)
        if not self.settings.quantise:
            return {name: Sparse.keep(solved, mask.reshape(weights.shape))}
        form, self.ratios[name] = quantise_survivors(
            solved, mask, hessian, self.fisher[name].rows, lam, self.ratios.get(name)
        )
        forms = {name: form}
        if layer.bias:
            bias = layer.tensors[layer.bias].double().numpy()
            forms[layer.bias] = quantised_bias(bias, self.settings.bias_bits)
        return forms


def _matrix(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _free(form: Form) -> np.ndarray:
    """Where a weight may be other than zero."""
    return form.mask() if isinstance(form, Sparse) else np.ones(form.shape, bool)


def _full(bias: np.ndarray) -> Form:
    return Dense(bias.astype(np.float32))
