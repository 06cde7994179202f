"""Pruning by size alone, to compare with: what it gives at the same density."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reticule.forms import Form, Packed, Sparse
from reticule.graph import Node
from reticule.methods.obs.pruning import masks_at, price_for
from reticule.methods.obs.survivors import quantise_survivors
from reticule.methods.quantise.layers import Sensitivity
from reticule.methods.quantise.plain import by_weight_error


def by_magnitude(
    packed: Packed, names: Sequence[str], density: float, quality: float | None, bias_bits: int
) -> Packed:
    """The network without its smallest weights, as a share of each tensor's energy.

    ``density`` is that of all named tensors; with a ``quality`` (decibels) what is left is
    quantised, and the biases.
    """
    dense = {name: packed.forms[name].dense().astype(np.float64) for name in names}
    prices = {}
    for name, weights in dense.items():
        energy = max(float(np.square(weights).sum()), 1e-30)
        prices[name] = np.square(weights).reshape(len(weights), -1) / energy
    masks = masks_at(prices, price_for(prices, density))
    if quality is None:
        kept = {name: Sparse.keep(w, masks[name].reshape(w.shape)) for name, w in dense.items()}
        return packed.with_forms(kept)

    def coded(
        node: Node, name: str, weights: np.ndarray, sensitivity: Sensitivity, lam: float
    ) -> Form:
        matters = sensitivity.importance
        return quantise_survivors(weights, masks[name], sensitivity.hessian, matters, lam)[0]

    return by_weight_error(packed, names, quality, bias_bits, coded)
