"""Soft weight-sharing: a learnt mixture prior prunes and clusters while the network trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reticule.forms import Codebook, Dense, Form, Packed, Sparse
from reticule.methods.base import Context, Outcome, method
from reticule.methods.prune.dead import without_dead_units
from reticule.methods.prune.threshold import prunable
from reticule.methods.select import SMALLEST, select
from reticule.methods.share.mixture import Components, HyperPrior, Mixture
from reticule.methods.tune.retrain import density_of, resolved, settled
from reticule.tuning.train import Training, steps_of, train
from reticule.tuning.twins import Twin, twins_of

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
RATE = 2e-3  # of the weights, which have to travel
AVERAGE_RATE = {"constant": 1.0, "linear": 0.5, "cosine": 0.5}  # of the schedules, as a share
LONGEST_STEP = 0.3  # learning rate of the mixture at most, however short the training


@method("soft-weight-sharing")
@dataclass(frozen=True)
class SoftWeightSharing:
    """Train under a mixture of Gaussians as the weights' prior; then share its means.

    The loss of a batch is ``error + tau * C(w) / N`` with the complexity C of
    :mod:`~reticule.methods.share.mixture` and N training images: with ``tau`` 1 the
    description length of the network and of the labels together.  Component 0 has its
    mean at 0 and the mixing share ``zero_share``: it is what prunes.  ``components``
    others have means, precisions and shares that are learnt, with learning rates of their
    own: such that the optimiser's steps, each about as long as its rate, add up to
    ``mean_reach`` units of the weights, and to ``precision_reach`` and ``share_reach``
    on the logarithmic scale, however many steps there are.  So a short training passes
    through the same stages as a long one.
    ``tau`` rises from 0 during the first ``warm_up`` of the steps.

    All components start wide, so that the one at 0 pulls at every weight.  It narrows
    as weights come in; those that the answers need stay outside and gather around the
    means of the others.  Gamma priors (``zero_spread``, ``spread``, ``strength``)
    keep the variances from collapsing.

    Weights are measured in units of their layer's root mean square (``unit: layer``) or
    of one for all layers (``network``).  There is one mixture for all layers
    (``scope: network``) or one each (``layer``).

    Before the last ``settling`` share of the steps, components with a divergence below
    ``merge`` become one and the weights for which that at 0 is most responsible are pruned,
    with ``dead_units`` also what is left of units without input or output
    (:func:`~reticule.methods.prune.dead.without_dead_units`).  The others go on under the
    same prior, so that the network answers for what it lost before they are shared.  In
    the end each weight becomes the mean of the component that is most responsible for it,
    in float16.

    Source: Ullrich, Meeds, Welling, "Soft Weight-Sharing for Neural Network
    Compression", ICLR 2017, sections 3 and 4.  Units for each layer and settling are ours.
    """

    components: Annotated[int, Field(ge=1, le=255)] = 16
    zero_share: Annotated[float, Field(gt=0, lt=1)] = 0.999
    zero_strength: NotNegative = 0.0
    tau: NotNegative = 0.1
    warm_up: Annotated[float, Field(ge=0, le=1)] = 0.1
    zero_spread: Positive = 0.15
    spread: Positive = 0.07
    strength: NotNegative = 1.0
    mean_reach: Positive = 3.0
    precision_reach: Positive = 7.5
    share_reach: Positive = 9.0
    merge: NotNegative = 0.3
    unit: Literal["layer", "network"] = "layer"
    scope: Literal["network", "layer"] = "network"
    settling: Annotated[float, Field(ge=0, lt=1)] = 0.3
    dead_units: bool = True
    share: Positive = 0.6
    skip: Sequence[str] = ()
    smallest: int = SMALLEST
    training: Training = field(default_factory=Training)

    needs_data: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    settles: ClassVar[bool] = True

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=self.smallest, accept=prunable)
        if not names:
            return Outcome(packed, skipped)
        units = self._units(packed, names)
        groups = [names] if self.scope == "network" else [[name] for name in names]
        priors = [_Prior(group, units, packed, self._mixture) for group in groups]
        rate = self.training.learning_rate or RATE
        training = replace(self.training, learning_rate=rate)
        settings = resolved(training, self.share, context, packed, density_of(packed))
        first, last = (_part(settings, share) for share in (1 - self.settling, self.settling))
        trained = self._train(packed, context, priors, first, self.warm_up)
        trained, dead = self._pruned(trained, priors)
        if self.settling:
            trained = self._train(trained, context, priors, last, warm_up=0.0)
        result, notes = self._shared(trained, priors)
        notes |= {
            "dead_units": dead,
            "density": density_of(result),
            "accuracy_before_sharing": context.data.score(trained),
            "accuracy": context.data.score(result),
        }
        return Outcome(result, skipped, notes)

    def _pruned(self, packed: Packed, priors: Sequence[_Prior]) -> tuple[Packed, int]:
        """Without the weights of the components at 0, and how many units died of it."""
        forms: dict[str, Form] = {}
        for prior in priors:
            components = prior.mixture.components().merged(self.merge)
            for name in prior.names:
                forms[name] = pruned(packed.forms[name], components, prior.units[name])
        cut = packed.with_forms(forms)
        return without_dead_units(cut, forms) if self.dead_units else (cut, 0)

    def _shared(self, packed: Packed, priors: Sequence[_Prior]) -> tuple[Packed, dict[str, Any]]:
        """With the means in the place of the weights, and notes on the mixtures."""
        forms: dict[str, Form] = {}
        kept = [prior.mixture.components().merged(self.merge) for prior in priors]
        for prior, components in zip(priors, kept, strict=True):
            for name in prior.names:
                forms[name] = shared(packed.forms[name], components, prior.units[name])
        return packed.with_forms(forms), {
            "components": [len(components) for components in kept],
            "zero_shares": [float(c.shares[c.means == 0].sum()) for c in kept],
            "means": [components.means.round(4).tolist() for components in kept],
            "spreads": [(c.precisions**-0.5).round(4).tolist() for c in kept],
        }

    def _units(self, packed: Packed, names: Sequence[str]) -> dict[str, float]:
        """What a weight of size 1 is, in each tensor."""
        weights = {name: packed.forms[name].dense().astype(np.float64) for name in names}
        counts = {name: int(np.count_nonzero(w)) for name, w in weights.items()}
        squares = {name: float(np.square(w).sum()) for name, w in weights.items()}
        if self.unit == "network":
            every = sum(squares.values()) / max(sum(counts.values()), 1)
            return dict.fromkeys(names, every**0.5 or 1.0)
        return {name: (squares[name] / max(counts[name], 1)) ** 0.5 or 1.0 for name in names}

    def _mixture(self, values: np.ndarray) -> Mixture:
        prior = HyperPrior(
            self.zero_share, self.zero_spread, self.spread, self.strength, self.zero_strength
        )
        return Mixture(values, self.components, prior)

    def _train(
        self,
        packed: Packed,
        context: Context,
        priors: Sequence[_Prior],
        settings: Training,
        warm_up: float,
    ) -> Packed:
        """The network after a stretch of training; its priors go along."""
        twins = twins_of(packed.forms)
        for prior in priors:
            prior.follow(twins)
        weight = 0.0

        def warm(step: int, steps: int) -> None:
            nonlocal weight
            rise = min(1.0, (step + 1) / max(1.0, warm_up * steps))
            weight = rise * self.tau / max(len(context.data.train), 1)

        def penalty() -> Tensor:
            return weight * torch.stack([prior.complexity() for prior in priors]).sum()

        def clamp() -> None:
            for prior in priors:
                prior.mixture.clamp()

        steps = max(1, steps_of(context.data, settings))
        rate = settings.learning_rate or RATE
        travel, longest = AVERAGE_RATE[settings.schedule] * steps * rate, LONGEST_STEP / rate
        reaches = (self.mean_reach, self.precision_reach, self.share_reach)
        means, precisions, shares = (min(reach / travel, longest) for reach in reaches)
        train(
            context.data,
            packed.graph,
            twins,
            settings,
            seed=context.seed,
            progress=context.progress,
            title="soft weight-sharing",
            before_step=warm,
            after_step=clamp,
            penalty=penalty,
            extra=[g for p in priors for g in p.mixture.groups(means, precisions, shares)],
            holders=priors,
        )
        return settled(packed, twins)


class _Prior:
    """A mixture and the tensors whose weights it is the prior of."""

    def __init__(
        self,
        names: Sequence[str],
        units: Mapping[str, float],
        packed: Packed,
        mixture: Callable[[np.ndarray], Mixture],
    ) -> None:
        self.names, self.units = names, units
        self._free = {name: _free(packed.forms[name]) for name in names}
        self.follow(twins_of({name: packed.forms[name] for name in names}))
        with torch.no_grad():
            self.mixture = mixture(self._values().numpy())

    def follow(self, twins: Mapping[str, Twin]) -> None:
        """Whose weights it looks at from now on."""
        self._twins = {name: twins[name] for name in self.names}

    def complexity(self) -> Tensor:
        return self.mixture.complexity(self._values())

    def _values(self) -> Tensor:
        """The weights that were free in the beginning, in units of their tensors, flat."""
        flat = []
        for name, twin in self._twins.items():
            weights, free = twin.tensor().reshape(-1), self._free[name]
            flat.append((weights if free is None else weights[free]) / self.units[name])
        return torch.cat(flat)


def _part(settings: Training, share: float) -> Training:
    """The settings for a share of the training."""
    epochs, seconds = settings.epochs, settings.seconds
    return replace(
        settings,
        epochs=None if epochs is None else share * epochs,
        seconds=None if seconds is None else share * seconds,
    )


def _free(form: Form) -> Tensor | None:
    """Positions of the weights of a pruned form; None: all."""
    return torch.from_numpy(form.positions()) if isinstance(form, Sparse) else None


def pruned(form: Form, components: Components, unit: float) -> Sparse:
    """A form without the weights for which a component at 0 is most responsible.

    >>> three = Components(np.full(3, 1 / 3), np.array([-1.0, 0.0, 1.0]), np.full(3, 4.0))
    >>> pruned(Dense(np.array([2.1, 0.3, -1.4], "f4")), three, 2.0).mask().tolist()
    [True, False, True]
    """
    weights = form.dense()
    kept = components.means[components.labels(weights / unit)] != 0
    return Sparse.keep(weights, kept & form.mask() if isinstance(form, Sparse) else kept)


def shared(form: Form, components: Components, unit: float) -> Form:
    """A form whose weights are the means of the components most responsible for them.

    Zeros stay what they are.  Weights of a component with mean 0 are not stored,
    unless there is none.

    >>> three = Components(np.full(3, 1 / 3), np.array([-1.0, 0.0, 1.0]), np.full(3, 4.0))
    >>> form = shared(Dense(np.array([[2.1, 0.3], [-0.2, -1.4]], "f4")), three, 2.0)
    >>> form.name, form.dense().tolist()
    ('sparse(codebook2)', [[2.0, 0.0], [0.0, -2.0]])
    """
    weights = form.dense()
    labels = components.labels(weights / unit)
    table = (components.means * unit).astype(np.float16)
    kept = table[labels] != 0
    if isinstance(form, Sparse):
        kept &= form.mask()
    used, indices = np.unique(labels[kept], return_inverse=True)
    codebook = Codebook(indices.astype(np.uint16), Dense(table[used]))
    if kept.all() and kept.size:
        return Codebook(codebook.indices.reshape(weights.shape), codebook.centroids)
    return Sparse.at(kept, codebook)
