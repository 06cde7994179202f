"""Quantisation by weight error alone, for a network without any images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reticule.codec.parallel import in_order
from reticule.forms import Form, Packed
from reticule.graph import Node
from reticule.methods.quantise.layers import Choice, Sensitivity, quantise_layer
from reticule.methods.quantise.walk import quantised_bias

Coded = Callable[[Node, str, np.ndarray, Sensitivity, float], Form]
"""A tensor (node, name, weights, sensitivity, lambda) in its new form."""


def quantise_plainly(
    packed: Packed,
    names: Sequence[str],
    quality: float,
    states: int,
    bias_bits: int,
    choices: dict[str, Choice],
) -> Packed:
    """All tensors quantised; their relative errors are ``quality`` decibels or so below 1.

    The relative error of each layer adds as much to that of the answers as any other's, so
    what counts is their sum; a layer with few weights gets a small one, as that costs little.
    """

    def coded(
        node: Node, name: str, weights: np.ndarray, sensitivity: Sensitivity, lam: float
    ) -> Form:
        made = quantise_layer(weights, sensitivity, lam, states, choices.get(name))
        choices[name] = made.choice
        return made.form

    return by_weight_error(packed, names, quality, bias_bits, coded)


def by_weight_error(
    packed: Packed, names: Sequence[str], quality: float, bias_bits: int, coded: Coded
) -> Packed:
    """All named tensors ``coded``, with lambda by the quality, and their biases quantised.

    No tensor depends on another, so that ``coded`` is called on several threads at once.
    """
    sizes = [packed.forms[name].size for name in names]
    lam = 10 ** (-quality / 10) / float(np.mean(sizes))
    wanted = set(names)

    def layer(found: tuple[Node, str]) -> dict[str, Form]:
        node, name = found
        weights = packed.forms[name].dense().astype(np.float64)
        forms = {name: coded(node, name, weights, by_size(weights), lam)}
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if bias in packed.forms:
            forms[bias] = quantised_bias(packed.forms[bias].dense().astype("f8"), bias_bits)
        return forms

    forms: dict[str, Form] = {}
    for made in in_order(layer, (found for found in packed.graph.weights() if found[1] in wanted)):
        forms.update(made)
    return packed.with_forms(forms)


def by_size(weights: np.ndarray) -> Sensitivity:
    """Errors count relative to the energy of the tensor."""
    rows = weights.reshape(len(weights), -1)
    energy = float(np.square(rows).sum())
    return Sensitivity(np.ones(rows.shape[1]), np.full(len(rows), 2 / max(energy, 1e-30)))
