"""Layer by layer through a network, each quantised for the inputs that it really gets.

See :mod:`reticule.methods.layerwise.walk` for the two networks that run side by side.  At each
layer:

1. What the quantised network's layer sees gives H (about its mean, which the bias takes care
   of), and what the original's sees a target: the weights which, from the inputs as they
   are now, best restore the outputs as they were (least squares).
2. The target is quantised, with error feedback (see :mod:`reticule.codec.quantiser`).
3. The bias takes what is left of the shift of each channel's mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from reticule.forms import Form, Packed, Quantised
from reticule.methods.layerwise.layer import Layer
from reticule.methods.layerwise.walk import Inputs, walk
from reticule.methods.quantise.layers import Choice, Sensitivity, quantise_layer
from reticule.progress import Bar, Progress


@dataclass(frozen=True)
class Settings:
    """How finely to quantise: lambda in nats of lost answers per bit, states of the trellis."""

    lam: float
    states: int = 8
    bias_bits: int = 8
    compensate: bool = True
    correct: bool = True
    centre: bool = True


def quantise_network(
    packed: Packed,
    chosen: Mapping[str, np.ndarray],
    inputs: Inputs,
    settings: Settings,
    choices: dict[str, Choice],
    progress: Progress,
    images: int | None = None,
    bar: Bar | None = None,
) -> Packed:
    """The network with the tensors in ``chosen`` (weight -> importance of its rows) quantised.

    ``inputs`` are preprocessed, one array (n, ...) for each input of the network; ``images``
    is how many they count as (None: those that differ).  ``choices`` is read and updated:
    what was chosen for each tensor.  Steps go to ``bar``, if it runs already.
    """

    def treat(layer: Layer) -> dict[str, Form]:
        return _quantised(layer, chosen[layer.name], settings, choices)

    bias_form = partial(quantised_bias, bits=settings.bias_bits) if settings.correct else None
    return walk(
        packed,
        chosen,
        inputs,
        treat,
        progress,
        title="quantising",
        bias_form=bias_form,
        images=images,
        bar=bar,
    )


def _quantised(
    layer: Layer, importance: np.ndarray, settings: Settings, choices: dict[str, Choice]
) -> dict[str, Form]:
    """The forms of a layer's weights and of its bias."""
    name, bias = layer.name, layer.bias
    centre = settings.centre and settings.correct and bool(bias)
    hessian, target = layer.statistics(layer.weights, centre, settings.compensate)
    made = quantise_layer(
        target,
        Sensitivity(hessian, importance),
        settings.lam,
        settings.states,
        choices.get(name),
    )
    choices[name] = made.choice
    forms: dict[str, Form] = {name: made.form}
    if bias:
        forms[bias] = quantised_bias(layer.tensors[bias].double().numpy(), settings.bias_bits)
    return forms


def quantised_bias(bias: np.ndarray, bits: int) -> Quantised:
    """Levels of so many bits, the largest for the largest magnitude.

    >>> quantised_bias(np.array([1.27, -0.5]), 8).levels
    array([127, -50], dtype=int8)
    """
    largest = float(np.abs(bias).max(initial=0.0))
    step = largest / (2 ** (bits - 1) - 1) if largest > 0 else 1.0
    return Quantised(np.rint(bias / np.float32(step)).astype(np.int32), step)
