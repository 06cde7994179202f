"""Convolution, matrix products, and batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reticule import _native
from reticule.engine.kernels.common import Attributes, Kernel, window_counts
from reticule.engine.operands import DenseOperand, FactoredOperand, Operand

COLUMN_BYTES = 2 << 20
"""Scratch for the windows of a convolution (im2col); one position at least is computed."""


def _operand(weight: Operand | np.ndarray) -> Operand:
    """The weight in run form, also where another node computed it."""
    if isinstance(weight, Operand):
        return weight
    return DenseOperand(np.ascontiguousarray(weight))


def _optional(inputs: Sequence[Any], position: int) -> np.ndarray | None:
    return inputs[position] if len(inputs) > position else None


def gemm(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x, weight, bias = inputs[0], _operand(inputs[1]), _optional(inputs, 2)
    lead = x.shape[:-1]
    out = weight.linear(x.reshape(prod(lead), x.shape[-1]), threads)
    if bias is not None:
        out += bias
    return out.reshape(*lead, weight.rows)


def matmul(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return np.matmul(inputs[0], inputs[1])


def conv(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x = np.ascontiguousarray(inputs[0])
    weight, bias = _operand(inputs[1]), _optional(inputs, 2)
    kernel = (weight.shape[2], weight.shape[3])
    size = window_counts((x.shape[2], x.shape[3]), kernel, attributes)
    shape = (x.shape[0], weight.rows, *size)
    if not prod(weight.shape) or not prod(shape):
        out = np.zeros(shape, np.float32)
    else:
        ready = weight.ready(attributes["group"])
        out = _convolved(x, ready, size, attributes, threads).reshape(shape)
    if bias is not None:
        out += bias[:, None, None]
    return out


def _convolved(
    x: np.ndarray, weight: Operand, size: tuple[int, int], attributes: Attributes, threads: int
) -> np.ndarray:
    if isinstance(weight, FactoredOperand):
        return _by_factors(x, weight, size, attributes, threads)
    images, channels = x.shape[:2]
    groups, plain = attributes["group"], isinstance(weight, DenseOperand)
    strides, dilations, pads = (attributes[k] for k in ("strides", "dilations", "pads"))
    if plain and groups == channels and weight.shape[1] == 1:
        out = np.empty((images, weight.rows, *size), np.float32)
        _native.depthwise(x, weight.dense(), out, strides, dilations, pads, threads)
        return out
    if weight.shape[2:] == (1, 1) and strides == (1, 1) and pads == (0, 0, 0, 0):
        columns = x.reshape(images, groups, channels // groups, size[0] * size[1])
        return weight.convolve(columns, threads)
    return _by_columns(x, weight, size, attributes, threads)


def _by_factors(
    x: np.ndarray,
    weight: FactoredOperand,
    size: tuple[int, int],
    attributes: Attributes,
    threads: int,
) -> np.ndarray:
    """Fewer channels, the core's kernels, and the layer's channels again."""
    shape, core = (len(x), weight.core.rows, size[0] * size[1]), weight.core
    if not prod(core.shape):
        return np.zeros((len(x), weight.rows, shape[2]), np.float32)
    x = weight.narrowed(x)
    out = _convolved(x, core.ready(1), size, attributes, threads)
    return weight.widened(out.reshape(shape), threads)


def _by_columns(
    x: np.ndarray, weight: Operand, size: tuple[int, int], attributes: Attributes, threads: int
) -> np.ndarray:
    """Windows become columns of a matrix: some images, or else some positions, at a time."""
    images, channels = x.shape[:2]
    groups, taps = attributes["group"], weight.shape[2] * weight.shape[3]
    depth, positions = channels * taps, size[0] * size[1]
    width = min(positions, max(1, COLUMN_BYTES // (4 * depth)))
    together = max(1, COLUMN_BYTES // (4 * depth * positions))
    strides, dilations, pads = (attributes[k] for k in ("strides", "dilations", "pads"))
    out = np.empty((images, weight.rows, positions), np.float32)
    scratch = np.empty(min(images, together) * depth * width, np.float32)
    for first in range(0, images, together):
        some = x[first : first + together]
        for start in range(0, positions, width):
            count = min(width, positions - start)
            columns = scratch[: len(some) * depth * count].reshape(len(some), depth, count)
            _native.im2col(
                some, columns, weight.shape[2:], strides, dilations, pads, start, size[1], threads
            )
            grouped = columns.reshape(len(some), groups, depth // groups, count)
            out[first : first + together, :, start : start + count] = weight.convolve(
                grouped, threads
            )
    return out


def batch_normalisation(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x, scale, bias, mean, variance = inputs
    factor = scale / np.sqrt(variance + np.float32(attributes["epsilon"]))
    channel = (-1,) + (1,) * (x.ndim - 2)
    out = x * factor.reshape(channel)
    out += (bias - mean * factor).reshape(channel)
    return out


LINEAR: dict[str, Kernel] = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_normalisation,
}
