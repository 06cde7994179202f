"""Dynamic Network Surgery: prune weights while training, and splice back those that matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.automatic import free_density, held_to_budget, reach_of
from reticule.methods.prune.dead import without_dead_units
from reticule.methods.prune.scores import Scope, Score, masks_at, position_prices
from reticule.methods.prune.threshold import prunable
from reticule.methods.prune.twins import SplicingTwin
from reticule.methods.select import SMALLEST, select
from reticule.methods.tune.retrain import resolved, settled
from reticule.tuning.train import Training, rate_at, train
from reticule.tuning.twins import Twin, twins_of

Share = Annotated[float, Field(gt=0, le=1)]
Rates = float | Mapping[str, float]

LARGEST_RATE = 2e-3  # twice that of retraining: a pruned weight has a way to go to come back
DENSE = 0.05  # the density by which the learning rate is chosen, where none is known


@method("dynamic-surgery")
@dataclass(frozen=True)
class DynamicSurgery:
    """Prune while training, and let weights that turn out to matter come back.

    Every weight w of a layer keeps its value and has a mask T; the network computes with
    ``w * T``.  The gradient of that goes to all weights, masked or not, so that a pruned
    weight moves on.  With a threshold t of the layer the mask is decided anew, all over
    the training, with some distance between the two decisions:

        T <- 0  where |w| <= 0.9 t
        T <- 1  where |w| >  1.1 t

    In step i the mask of a layer is decided with probability ``(1 + gamma * i) ** -power``,
    each layer by a generator of its own, and only in the first ``surgery`` of all steps;
    the others train with fixed masks.

    With ``rate`` the threshold is the source's, ``max(mu + rate * sigma, 0)`` for mean and
    standard deviation of |w| before training; one number, or one for each pattern of names.
    Without it thresholds follow from ``density``: along the schedule of
    :class:`~reticule.methods.GradualPruning` during the first ``ramp`` of the steps
    (``updates`` times), and then held at the target; when the surgery is over, a last cut
    takes what hysteresis has kept beyond it.  ``density`` "auto" is ``f ** reach`` as
    there, with other reaches, but at least ``f / furthest``.

    With ``gather`` a weight must be larger where its position costs more: its threshold is
    multiplied with :func:`~reticule.methods.prune.scores.position_prices` of the mask, raised
    to that power and decided anew with the thresholds.  Rows and columns with few weights lose
    them, units die, and what is left lies in few rows and columns, where positions are cheap.
    Only with a density.

    With ``biases`` the biases of these layers are masked by the same rule.  ``decay`` pulls
    all weights towards zero, ``w <- w - learning_rate * decay * w`` in each step.
    In the end :func:`~reticule.methods.prune.dead.without_dead_units` takes what is
    left of units without input or output.

    Source: Guo, Yao, Chen, "Dynamic Network Surgery for Efficient DNNs", NIPS 2016,
    section 3; the schedule of the threshold, the automatic density and ``gather`` are ours.
    """

    density: Share | Literal["auto"] = "auto"
    rate: Rates | None = None
    biases: bool = True
    scope: Scope = "global"
    score: Score = "lamp"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.002
    gamma: Annotated[float, Field(ge=0)] = 1e-4
    power: Annotated[float, Field(ge=0)] = 1.0
    updates: Annotated[int, Field(ge=1)] = 50
    ramp: Share = 0.5
    surgery: Share = 0.75
    decay: Annotated[float, Field(ge=0)] = 0.0
    gather: Annotated[float, Field(ge=0)] = 1.25
    dead_units: bool = True
    share: Annotated[float, Field(gt=0)] = 0.6
    free: Annotated[float, Field(ge=0)] = 1.5
    conv_reach: Annotated[float, Field(ge=1)] = 1.45
    linear_reach: Annotated[float, Field(ge=1)] = 2.25
    furthest: Annotated[float, Field(ge=1)] = 8.0
    attempts: Annotated[int, Field(ge=1)] = 3
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        if self.rate is not None:
            for name in [n for n in names if _rate_of(self.rate, n) is None]:
                names.remove(name)
                skipped[name] = "no pattern in 'rate' fits"
        for own in _layers(packed, names, self.biases).values():
            for name in own[1:]:
                skipped.pop(name, None)  # a bias goes with its layer
        done, notes = self._to_density(packed, names, context)
        forms = [done.forms[name] for name in names]
        kept = sum(form.nonzero for form in forms)
        notes["density"] = kept / max(sum(form.size for form in forms), 1)
        return Outcome(done, skipped, notes)

    def _to_density(
        self, packed: Packed, names: Sequence[str], context: Context
    ) -> tuple[Packed, dict[str, Any]]:
        """The outcome, by whichever way the thresholds are given."""
        notes: dict[str, Any] = {}

        def operate(target: float | None, attempt: int = 0) -> Packed:
            operated, figures = self._operated(packed, names, target, context, attempt)
            notes.update(figures)
            return operated

        if self.rate is not None:
            return operate(None), notes
        if self.density != "auto":
            return operate(self.density), notes
        free = free_density(packed, names, context, self._masks, points=self.free, floor=self.floor)
        reach = reach_of(packed, names, conv=self.conv_reach, linear=self.linear_reach)
        target = max(free**reach, free / self.furthest)
        context.progress.say(
            f"  a cut to {100 * free:.3g} % costs at most {self.free:g} points; "
            f"surgery to {100 * target:.3g} %"
        )
        done, tried = held_to_budget(operate, target, self.attempts, context)
        return done, {**notes, "free_density": free, "tried": tried}

    def _masks(self, weights: Mapping[str, np.ndarray], density: float) -> dict[str, np.ndarray]:
        return masks_at(weights, density, scope=self.scope, score=self.score, floor=self.floor)

    def _operated(
        self,
        packed: Packed,
        names: Sequence[str],
        target: float | None,
        context: Context,
        attempt: int,
    ) -> tuple[Packed, dict[str, Any]]:
        """The network after surgery from the start, to a density or by ``rate``."""
        density = DENSE if target is None else target
        settings = resolved(self.training, self.share, context, packed, density, LARGEST_RATE)
        patients = [
            _Patient(weight, {name: _twin(packed.forms[name]) for name in own})
            for weight, own in _layers(packed, names, self.biases).items()
        ]
        generators = np.random.SeedSequence([context.seed, attempt]).spawn(len(patients))
        for patient, generator in zip(patients, generators, strict=True):
            patient.draw = np.random.default_rng(generator).random
            if target is None:
                patient.threshold = patient.by_rate(_rate_of(self.rate, patient.name) or 0.0)
        twins: dict[str, Twin] = twins_of(packed.forms)
        for patient in patients:
            twins.update(patient.twins)

        def step_of(step: int, steps: int) -> None:
            rate = rate_at(settings, step / max(steps, 1))
            last = min(int(steps * self.surgery), steps - 1)
            for patient in patients:
                patient.shrink(1.0 - rate * self.decay)
                patient.open(step < last)
            if step == last and target is not None:
                self._close(patients, target)
            if step >= last:
                return
            if target is not None:
                self._follow(patients, target, step, int(steps * self.ramp))
            for patient in patients:
                if patient.draw() < (1.0 + self.gamma * step) ** -self.power:
                    patient.operate()

        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed + attempt,
            progress=context.progress,
            title="surgery" if target is None else f"surgery to {100 * target:.3g} %",
            before_step=step_of,
        )
        operated = settled(packed, twins)
        figures: dict[str, Any] = {"spliced": sum(p.spliced for p in patients)}
        if self.dead_units:
            operated, figures["dead_units"] = without_dead_units(operated, names)
        return operated, figures

    def _close(self, patients: Sequence[_Patient], target: float) -> None:
        """Fix masks of no more than the target density."""
        masks = self._masks({p.name: p.worth() * p.mask() for p in patients}, target)
        for patient in patients:
            patient.cut(masks[patient.name])

    def _follow(self, patients: Sequence[_Patient], target: float, step: int, ramp: int) -> None:
        """Set the thresholds at which the density of the schedule is kept."""
        period = max(1, ramp // self.updates)
        if step % period:
            return
        left = max(0.0, 1.0 - step / max(ramp, 1)) ** 3
        for patient in patients:
            patient.prices = position_prices(patient.mask(), self.gather)
        weights = {patient.name: patient.worth() for patient in patients}
        masks = self._masks(weights, target + (1.0 - target) * left)
        for patient in patients:
            kept = np.abs(weights[patient.name][masks[patient.name]])
            patient.threshold = float(kept.min(initial=np.inf))


class _Patient:
    """A layer under surgery: its weights and perhaps its bias, with one threshold."""

    def __init__(self, name: str, twins: Mapping[str, SplicingTwin]) -> None:
        self.name = name
        self.twins = twins
        self.threshold = 0.0
        self.prices: np.ndarray | float = 1.0  # of positions, by which the threshold is multiplied
        self.draw: Callable[[], float] = lambda: 0.0
        self.spliced = 0

    def by_rate(self, rate: float) -> float:
        """The source's threshold, by the weights that are not zero."""
        sizes = np.concatenate([np.abs(t.weights()).ravel() for t in self.twins.values()])
        sizes = sizes[sizes > 0]
        return max(float(sizes.mean() + rate * sizes.std()), 0.0) if sizes.size else 0.0

    def worth(self) -> np.ndarray:
        """Weights in units of what their positions cost."""
        return self.twins[self.name].weights() / self.prices

    def mask(self) -> np.ndarray:
        return self.twins[self.name].mask()

    def cut(self, mask: np.ndarray) -> None:
        self.twins[self.name].cut(mask)

    def shrink(self, factor: float) -> None:
        if factor != 1.0:
            for twin in self.twins.values():
                twin.shrink(factor)

    def open(self, yes: bool) -> None:
        for twin in self.twins.values():
            twin.open = yes

    def operate(self) -> None:
        for name, twin in self.twins.items():
            prices = self.prices if name == self.name else 1.0
            self.spliced += twin.operate(self.threshold * prices)


def _layers(packed: Packed, names: Sequence[str], biases: bool) -> dict[str, list[str]]:
    """The named weights, each with itself and its bias, if that is free and no other's."""
    uses = [name for node in packed.graph.nodes for name in node.inputs]
    out = {}
    for node, weight in packed.graph.weights():
        if weight not in names:
            continue
        out[weight] = [weight]
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if biases and uses.count(bias) == 1 and bias in packed.forms:
            out[weight] += [] if prunable(packed.forms[bias]) else [bias]
    return out


def _twin(form: Form) -> SplicingTwin:
    allowed = form.mask() if isinstance(form, Sparse) else np.ones(form.shape, bool)
    return SplicingTwin(form.dense(), allowed)


def _rate_of(rate: Rates | None, name: str) -> float | None:
    """The rate for a tensor: that of the first pattern that fits."""
    if isinstance(rate, Mapping):
        return next((r for pattern, r in rate.items() if fnmatchcase(name, pattern)), None)
    return rate
