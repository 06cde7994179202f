"""Transform coding of weights without retraining: the chain of JPEG 2000."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from reticule.forms import BitPlanes, Form, Packed, Sparse
from reticule.forms.lapped import LARGEST_BLOCK as LARGEST_LAPPED
from reticule.forms.lifting import MOST_LEVELS
from reticule.forms.planes import blocks_of
from reticule.graph import Node
from reticule.methods.base import Context, Outcome, method
from reticule.methods.layerwise.calibrated import Calibrated
from reticule.methods.layerwise.layer import Layer
from reticule.methods.layerwise.walk import Inputs, walk
from reticule.methods.prune.threshold import prunable
from reticule.methods.quantise.budget import Attempt, default_quality, within_budget
from reticule.methods.quantise.calibration import importances
from reticule.methods.quantise.judge import NOT_JUDGED, Assessor
from reticule.methods.quantise.layers import Sensitivity
from reticule.methods.quantise.plain import by_weight_error
from reticule.methods.quantise.walk import quantised_bias
from reticule.methods.select import select
from reticule.methods.transform.bases import Domain, Transform, domains_of, expected_loss
from reticule.methods.transform.truncation import best_factor, truncate
from reticule.tuning.problem import constant_tensors

PLAIN_QUALITY = 24.0
BY_BYTES, BY_DROP = 0.25, 0.5  # finest steps of a search: planes are cut whole
PRUNED = "pruned: a transform would fill its zeros"
DEARER = "costs less without a transform"
_IDENTITY = Domain("identity")

Block = Annotated[int, Field(ge=2, le=LARGEST_LAPPED)]
Levels = Annotated[int, Field(ge=1, le=MOST_LEVELS)]


@method("transform-coding")
@dataclass(frozen=True)
class TransformCoding:
    """Transform each layer's weights where that pays, and cut bit planes off.

    ``transform`` is one of

    * ``lapped``: a modulated lapped transform (MDCT with the sine window),
    * ``wavelet53``, ``wavelet97``: the wavelets of JPEG 2000,
    * ``dct``: the DCT of each kernel,
    * ``identity``: none.

    Every layer has *domains*: its weights as they are, and the transform of its kernels, of the
    images that it looks at (a linear layer behind a flattening) or of its whole matrix.
    With ``where`` "cheaper" the domain is taken that has the least loss + lambda * bits, with
    "everywhere" the best of those that are transformed.  There each code block of the
    coefficients loses the bit planes that are not worth their bits (see
    :mod:`~reticule.methods.transform.truncation`).

    The loss is that of the answers where there are images, labelled or not: 1/2 sum over rows
    r of importance_r e_r^T H e_r (see :mod:`~reticule.methods.quantise.calibration`), with errors
    of coefficients taken as independent.  Without images it is the squared error of each
    tensor relative to its energy.

    Sources: Princen and Bradley, 1986, and Malvar, 1990 (lapped transforms); Cohen, Daubechies
    and Feauveau, 1992 (the wavelets); Taubman, "High performance scalable image compression with
    EBCOT", 2000 (code blocks, bit planes and their truncation).

    >>> TransformCoding(transform="wavelet97").levels
    (1, 3)
    """

    transform: Transform = "lapped"
    quality: Annotated[float, Field(ge=-6, le=60)] | None = None
    where: Literal["cheaper", "everywhere"] = "cheaper"
    blocks: Sequence[Block] = (4, 16)
    levels: Sequence[Levels] = (1, 3)
    code_block: Annotated[int, Field(ge=4, le=64)] = 16
    bias_bits: Annotated[int, Field(ge=4, le=16)] = 8
    images: Annotated[int, Field(ge=16)] | None = None
    skip: Sequence[str] = ()

    needs_data: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    settles: ClassVar[bool] = False

    def apply(self, packed: Packed, context: Context) -> Outcome:
        names, skipped = select(packed, skip=self.skip, smallest=1, accept=prunable)
        if not names:
            return Outcome(packed, skipped)
        work = _Work.of(self, packed, names, context)
        start = work.default if self.quality is None else self.quality
        best, met = within_budget(
            context,
            work.attempt,
            start,
            before=work.assessor.verdict(packed) if work.assessor else None,
            by_bytes=BY_BYTES,
            by_drop=BY_DROP,
        )
        notes: dict[str, object] = {"quality": round(best.quality, 3), "trials": work.trials}
        notes |= best.verdict.notes()
        if not met:
            notes["budget"] = "not met"
        notes["transforms"] = {
            name: str(work.choices[name][0])
            for name in names
            if name in work.choices and work.choices[name][0] != _IDENTITY
        }
        notes["untransformed"] = {n: work.reasons[n] for n in names if n in work.reasons}
        done = {name for name, form in best.packed.forms.items() if form is not packed.forms[name]}
        return Outcome(best.packed, {n: r for n, r in skipped.items() if n not in done}, notes)


@dataclass
class _Work:
    """One network, coded at several qualities."""

    settings: TransformCoding
    packed: Packed
    names: Sequence[str]
    context: Context
    inputs: Inputs | None = None
    differ: int = 0
    chosen: dict[str, np.ndarray] = field(default_factory=dict)  # importance of rows
    assessor: Assessor | None = None
    choices: dict[str, tuple[Domain, float]] = field(default_factory=dict)  # and factor of steps
    reasons: dict[str, str] = field(default_factory=dict)
    trials: int = 0

    @classmethod
    def of(
        cls, settings: TransformCoding, packed: Packed, names: Sequence[str], context: Context
    ) -> _Work:
        problem = context.problem
        if problem is None:
            made = cls(settings, packed, names, context)
            if settings.quality is None:
                made.assessor = Assessor.of(context, np.random.default_rng(context.seed))
            return made
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
        return cls(
            settings,
            views.packed,
            names,
            context,
            views.inputs,
            views.images,
            chosen,
            views.assessor,
        )

    @property
    def default(self) -> float:
        return default_quality(self.context) if self.inputs is not None else PLAIN_QUALITY

    def attempt(self, quality: float) -> Attempt:
        """The network at this quality."""
        self.trials += 1
        made = self._plain(quality) if self.inputs is None else self._walked(self.inputs, quality)
        verdict = self.assessor.verdict(made) if self.assessor else NOT_JUDGED
        self.context.progress.say(", ".join(filter(None, (f"  quality {quality:g}", str(verdict)))))
        return Attempt(quality, made, verdict)

    def _plain(self, quality: float) -> Packed:
        """By the relative weight error of each tensor."""
        return by_weight_error(
            self.packed, self.names, quality, self.settings.bias_bits, self._coded
        )

    def _walked(self, inputs: Inputs, quality: float) -> Packed:
        """By the loss of the answers, layer by layer; biases restore the means of channels."""
        weights = sum(self.packed.forms[name].size for name in self.names)
        lam = 10 ** (-quality / 10) / max(weights, 1)
        bias_form = partial(quantised_bias, bits=self.settings.bias_bits)

        def treat(layer: Layer) -> dict[str, Form]:
            name, bias = layer.name, layer.bias
            hessian, target = layer.statistics(layer.weights, bool(bias), False)
            sensitivity = Sensitivity(hessian, self.chosen[name])
            made = self._coded(layer.node, name, target, sensitivity, lam)
            own = {bias: bias_form(layer.tensors[bias].double().numpy())} if bias else {}
            return {name: made, **own}

        return walk(
            self.packed,
            self.chosen,
            inputs,
            treat,
            self.context.progress,
            title="transform coding",
            bias_form=bias_form,
            images=self.differ,
        )

    def _coded(
        self, node: Node, name: str, weights: np.ndarray, sensitivity: Sensitivity, lam: float
    ) -> Form:
        """One tensor; what is chosen for it at the first quality stays."""
        block = self.settings.code_block
        if not np.any(weights):
            blocks = np.zeros(blocks_of(weights.shape, block), np.uint8)
            self.reasons[name] = "all of it is zero"
            return BitPlanes(np.zeros(weights.shape, np.int8), blocks, 1.0, block)
        if name not in self.choices:
            self.choices[name] = self._chosen(node, name, weights, sensitivity, lam)
        domain, factor = self.choices[name]
        matters = expected_loss(domain, weights.shape, sensitivity)
        return domain.form(truncate(domain.forward(weights), matters, lam, block, factor).form)

    def _chosen(
        self, node: Node, name: str, weights: np.ndarray, sensitivity: Sensitivity, lam: float
    ) -> tuple[Domain, float]:
        """The domain that costs least, and the factor of its step; if it is no transform, why."""
        settings = self.settings
        domains, reason = domains_of(
            self.packed.graph,
            node,
            weights.shape,
            settings.transform,
            settings.blocks,
            settings.levels,
        )
        if isinstance(self.packed.forms[name], Sparse):
            domains, reason = [], PRUNED
        elif domains and settings.where == "cheaper":
            domains, reason = [_IDENTITY, *domains], DEARER
        tried = []
        for domain in domains or [_IDENTITY]:
            matters = expected_loss(domain, weights.shape, sensitivity)
            cost, factor = best_factor(domain.forward(weights), matters, lam)
            tried.append((cost, domain, factor))
        _, best, factor = min(tried, key=lambda one: one[0])
        if best == _IDENTITY:
            self.reasons[name] = reason
        return best, factor
