"""Networks with one layer made degenerate on purpose: the one in the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from generated.shapes import Floats
from reticule.graph import Network

Change = Callable[[Floats, Floats | None], None]
"""Changes weights (outputs, columns) and biases (outputs), if there are, in place."""


def zero_rows(weights: Floats, bias: Floats | None) -> None:
    """A third of the filters computes nothing."""
    weights[::3] = 0
    if bias is not None:
        bias[::3] = 0


def duplicated(weights: Floats, bias: Floats | None) -> None:
    """Every other filter is the one before it once more."""
    last = len(weights) // 2 * 2
    weights[1:last:2] = weights[:last:2]
    if bias is not None:
        bias[1:last:2] = bias[:last:2]


def constant_features(weights: Floats, bias: Floats | None) -> None:
    """Half of the filters say the same whatever they see."""
    weights[::2] = 0
    if bias is not None:
        bias[::2] = 1


def wide_spread(weights: Floats, bias: Floats | None) -> None:
    """The filters' scales lie up to a million times apart."""
    scales = 10 ** np.linspace(-3, 3, len(weights), dtype=np.float32)
    scales = np.random.default_rng(0).permutation(scales)
    weights *= scales[:, None]
    if bias is not None:
        bias *= scales


STATES: dict[str, Change | None] = {
    "as is": None,
    "zero rows": zero_rows,
    "duplicated": duplicated,
    "constant features": constant_features,
    "wide spread": wide_spread,
}


def in_state(network: Network, state: str) -> Network:
    """The network with its middle layer changed; itself for ``as is``."""
    change = STATES[state]
    if change is None:
        return network
    layers = list(network.graph.weights())
    node, name = layers[len(layers) // 2]
    tensors = {key: np.array(value) for key, value in network.tensors.items()}
    weights = tensors[name]
    transposed = node.op == "MatMul" or (node.op == "Gemm" and not node.settings["transB"])
    rows = weights.T if transposed else weights.reshape(len(weights), -1)
    bias = tensors.get(node.inputs[2]) if len(node.inputs) > 2 else None
    change(rows, bias)
    return replace(network, tensors=tensors).check()
