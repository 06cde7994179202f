"""Pooling and means.

An average divides by the taps that lie on the image or, with ``count_include_pad``, on the
image and its padding; the overhang of ``ceil_mode`` never counts (ONNX since opset 19).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reticule import _native
from reticule.engine.kernels.common import Attributes, Kernel, window_counts


def _pooled(x: np.ndarray, attributes: Attributes) -> np.ndarray:
    size = window_counts((x.shape[2], x.shape[3]), attributes["kernel_shape"], attributes)
    return np.empty((*x.shape[:2], *size), np.float32)


def max_pool(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x, a = np.ascontiguousarray(inputs[0]), attributes
    out = _pooled(x, a)
    _native.max_pool(x, out, a["kernel_shape"], a["strides"], a["dilations"], a["pads"], threads)
    return out


def average_pool(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x, a = np.ascontiguousarray(inputs[0]), attributes
    out = _pooled(x, a)
    counted = bool(a["count_include_pad"])
    _native.average_pool(
        x, out, a["kernel_shape"], a["strides"], (1, 1), a["pads"], counted, threads
    )
    return out


def _mean(x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    # Not np.mean: it warns about empty axes, where ONNX has plain 0/0.
    return x.sum(axis=axes, keepdims=keepdims) / np.float32(prod(x.shape[axis] for axis in axes))


def global_average_pool(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return _mean(inputs[0], (2, 3), keepdims=True)


def global_max_pool(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return inputs[0].max(axis=(2, 3), keepdims=True, initial=-np.inf)


def reduce_mean(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    x = inputs[0]
    axes = sorted({axis % x.ndim for axis in attributes["axes"]}) or range(x.ndim)
    return _mean(x, tuple(axes), keepdims=bool(attributes["keepdims"]))


POOL: dict[str, Kernel] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "ReduceMean": reduce_mean,
}
