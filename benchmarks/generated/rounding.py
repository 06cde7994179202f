"""Rounding to nearest: what any quantisation by data has to be better than.

Each tensor of weights has one uniform step and is coded as ours are, with biases as ours; the
steps are as fine as a file of a given size allows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np

from generated.shapes import Floats
from reticule.codec import DEFAULT_PRESET, About, dumps
from reticule.forms import Form, Packed, Quantised
from reticule.forms.quantised import short_step
from reticule.graph import Network
from reticule.graph.fold import fold_batch_norm
from reticule.methods import Context
from reticule.methods.half import HalfPrecision
from reticule.methods.quantise.walk import quantised_bias

BIAS_BITS = 8
TRIALS, NEAR = 14, 0.002
NEIGHBOURS = (0.98, 0.99, 1.0, 1.01, 1.02)  # of the step

Scale = Callable[[Floats], float]


def by_spread(weights: Floats) -> float:
    """Steps in proportion to the root mean square: all tensors lose the same share."""
    return float(np.sqrt(np.square(weights, dtype=np.float64).mean()))


def by_largest(weights: Floats) -> float:
    """Steps in proportion to the largest weight: all tensors have the same number of bits."""
    return float(np.abs(weights).max(initial=0.0))


SCALES: dict[str, Scale] = {"by spread": by_spread, "by largest": by_largest}


def rounded_to_size(network: Network, size: int, about: About, scale: Scale) -> list[Packed]:
    """The network as finely rounded as fits ``size`` bytes of a file with that metadata, and with
    steps that are a little finer and coarser: what they do to the answers differs by decibels."""
    folded = Packed.of(fold_batch_norm(network))
    low, high = log(1e-5), log(1e2)  # of the step over the scale; the file at ``high`` is smaller
    for _ in range(TRIALS):
        middle = (low + high) / 2
        made = rounded(folded, np.exp(middle), scale)
        bytes_file = len(dumps(made, about, DEFAULT_PRESET))
        if bytes_file > size:
            low = middle
            continue
        high = middle
        if bytes_file > (1 - NEAR) * size:
            break
    return [rounded(folded, np.exp(high) * factor, scale) for factor in NEIGHBOURS]


def rounded(folded: Packed, step: float, scale: Scale) -> Packed:
    """Weights at the nearest of their tensor's levels, ``step`` times its scale apart."""
    forms: dict[str, Form] = {}
    for node, name in folded.graph.weights():
        weights = folded.forms[name].dense()
        width = short_step(max(step * scale(weights), 1e-30))
        levels = np.rint(weights / np.float64(width))
        forms[name] = Quantised(np.clip(levels, -(1 << 20), 1 << 20).astype(np.int32), width)
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if bias in folded.forms:
            forms[bias] = quantised_bias(folded.forms[bias].dense().astype(np.float64), BIAS_BITS)
    made = folded.with_forms(forms)
    return HalfPrecision().apply(made, Context(made.network())).packed
