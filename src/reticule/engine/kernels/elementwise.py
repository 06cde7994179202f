"""Activations, arithmetic with broadcasting, softmax and local response normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from reticule import _native
from reticule.engine.kernels.common import Attributes, Kernel


def _unary(function: Callable[[np.ndarray, Attributes], np.ndarray]) -> Kernel:
    def kernel(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
        return function(inputs[0], attributes)

    return kernel


def _binary(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Kernel:
    def kernel(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
        return function(inputs[0], inputs[1])

    return kernel


def _relu(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.maximum(x, np.float32(0))


def _leaky_relu(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.where(x < 0, x * np.float32(a["alpha"]), x)


def _prelu(x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x * slope, x)


def _elu(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.where(x < 0, np.float32(a["alpha"]) * np.expm1(np.minimum(x, 0)), x)


def _clip(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.minimum(np.maximum(x, np.float32(a["min"])), np.float32(a["max"]))


def _sign(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.sign(x)


def _sigmoid(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def _tanh(x: np.ndarray, a: Attributes) -> np.ndarray:
    return np.tanh(x)


def _hard_sigmoid(x: np.ndarray, a: Attributes) -> np.ndarray:
    line = x * np.float32(a["alpha"]) + np.float32(a["beta"])
    return np.minimum(np.maximum(line, np.float32(0)), np.float32(1))


def _hard_swish(x: np.ndarray, a: Attributes) -> np.ndarray:
    return x * _hard_sigmoid(x, {"alpha": 1 / 6, "beta": 0.5})


def _shifted(x: np.ndarray, axis: int) -> np.ndarray:
    """x less its largest value along the axis: exponentials of it cannot overflow."""
    return x - x.max(axis=axis, keepdims=True, initial=-np.inf)


def _softmax(x: np.ndarray, a: Attributes) -> np.ndarray:
    powers = np.exp(_shifted(x, a["axis"]))
    return powers / powers.sum(axis=a["axis"], keepdims=True)


def _log_softmax(x: np.ndarray, a: Attributes) -> np.ndarray:
    shifted = _shifted(x, a["axis"])
    return shifted - np.log(np.exp(shifted).sum(axis=a["axis"], keepdims=True))


def _identity(x: np.ndarray, a: Attributes) -> np.ndarray:
    return x


def lrn(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x = np.ascontiguousarray(inputs[0])
    planes = x.reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))
    out = np.empty_like(planes)
    a = attributes
    _native.lrn(planes, out, a["size"], a["alpha"], a["beta"], a["bias"], threads)
    return out.reshape(x.shape)


ELEMENTWISE: dict[str, Kernel] = {
    "Relu": _unary(_relu),
    "LeakyRelu": _unary(_leaky_relu),
    "PRelu": _binary(_prelu),
    "Elu": _unary(_elu),
    "Clip": _unary(_clip),
    "Sign": _unary(_sign),
    "Sigmoid": _unary(_sigmoid),
    "Tanh": _unary(_tanh),
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(_hard_swish),
    "Softmax": _unary(_softmax),
    "LogSoftmax": _unary(_log_softmax),
    "Add": _binary(np.add),
    "Sub": _binary(np.subtract),
    "Mul": _binary(np.multiply),
    "Div": _binary(np.divide),
    "LRN": lrn,
    "Identity": _unary(_identity),
}
