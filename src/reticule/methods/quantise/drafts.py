"""A network quantised at many qualities, from what one pass has seen.

What a layer sees of the original network, its H and the factor of that, the transform and the
step that suit: none of this changes much with the quality.  So while a quality is being
searched, each layer is quantised for the inputs that it had in the original.  The few qualities
that matter in the end are then made layer by layer, each for the inputs that it really gets
(:mod:`reticule.methods.quantise.walk`), which costs a pass of both networks and is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reticule.forms import Form, Packed, Quantised
from reticule.methods.layerwise.layer import Layer
from reticule.methods.layerwise.walk import Inputs, walk
from reticule.methods.quantise.layers import (
    Choice,
    Sensitivity,
    Target,
    prepared,
    quantise_target,
)
from reticule.methods.quantise.walk import Settings, quantised_bias
from reticule.progress import Bar, Progress
from reticule.tuning.evidence import believed


@dataclass(frozen=True)
class _Kept:
    """What serves every draft of a layer: its target, and what it sees of each image."""

    target: Target | None  # None: all weights are zero
    choice: Choice
    bias: str
    means: NDArray[np.float32]  # (groups, images, columns)


@dataclass
class Drafts:
    """Drafts of one network; ``images`` is how many of the inputs differ."""

    packed: Packed
    images: int
    kept: dict[str, _Kept] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        packed: Packed,
        chosen: Mapping[str, np.ndarray],
        inputs: Inputs,
        settings: Settings,
        choices: dict[str, Choice],
        images: int,
        progress: Progress,
        bar: Bar,
    ) -> Drafts:
        """After one pass through the original; ``choices`` is read and updated."""
        drafts = cls(packed, images)

        def see(layer: Layer) -> dict[str, Form]:
            name, bias = layer.name, layer.bias
            means = layer.means().astype(np.float32)
            target, choice = None, Choice(False, 1.0)
            if np.any(layer.weights):
                centre = settings.centre and settings.correct and bool(bias)
                hessian, weights = layer.statistics(layer.weights, centre, False)
                matters = Sensitivity(hessian, chosen[name])
                known = choices.get(name)
                choice, target = prepared(weights, matters, settings.lam, settings.states, known)
                choices[name] = choice
            drafts.kept[name] = _Kept(target, choice, bias, means)
            return {}

        walk(packed, chosen, inputs, see, progress, title="looking", images=images, bar=bar)
        return drafts

    def at(self, settings: Settings, bar: Bar) -> Packed:
        """The network at some lambda."""
        forms: dict[str, Form] = {}
        for name, kept in self.kept.items():
            weights = self.packed.forms[name].dense().astype(np.float64)
            if kept.target is None:
                forms[name] = Quantised(np.zeros(weights.shape, np.int8), 1.0)
            else:
                made = quantise_target(
                    kept.target, kept.choice, settings.lam, settings.states, exact=False
                )
                forms[name] = made.form
            if kept.bias:
                bias = self.packed.forms[kept.bias].dense().astype(np.float64)
                if settings.correct:
                    bias = bias + self._shift(kept, weights - forms[name].dense())
                forms[kept.bias] = quantised_bias(bias, settings.bias_bits)
            bar.advance(1, name)
        return self.packed.with_forms(forms)

    def _shift(self, kept: _Kept, lost: np.ndarray) -> NDArray[np.float64]:
        groups, count, columns = kept.means.shape
        rows = lost.reshape(groups, -1, columns)
        shifts = kept.means.astype(np.float64) @ rows.transpose(0, 2, 1)
        return believed(shifts.transpose(1, 0, 2).reshape(count, -1), self.images)
