"""Operators that move values and compute nothing; views wherever numpy can give one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from reticule.engine.kernels.common import Attributes, Kernel
from reticule.errors import ModelError
from reticule.graph.shapes import reshaped, slices


def concat(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return np.concatenate(inputs, axis=attributes["axis"])


def pad(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    """Negative pads crop, before positive ones add."""
    x, mode, pads = inputs[0], attributes["mode"], attributes["pads"]
    pairs = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    kept = tuple(
        slice(max(-before, 0), size - max(-after, 0))
        for size, (before, after) in zip(x.shape, pairs, strict=True)
    )
    widths = [(max(before, 0), max(after, 0)) for before, after in pairs]
    if any(part.stop < part.start for part in kept):
        raise ModelError("crops more than there is")
    x = x[kept]
    if mode == "constant":
        return np.pad(x, widths, constant_values=np.float32(attributes["value"]))
    if any(sum(width) and not size for width, size in zip(widths, x.shape, strict=True)):
        raise ModelError(f"cannot pad an empty axis with mode '{mode}'")
    return np.pad(x, widths, mode=mode)


def slice_(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return inputs[0][slices(inputs[0].shape, attributes)]


def reshape(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return inputs[0].reshape(reshaped(inputs[0].shape, attributes["shape"]))


def flatten(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    shape, axis = inputs[0].shape, attributes["axis"]
    axis = axis % len(shape) if axis < 0 else axis
    return inputs[0].reshape(prod(shape[:axis]), prod(shape[axis:]))


def transpose(inputs: Sequence[Any], attributes: Attributes, threads: int) -> np.ndarray:
    return inputs[0].transpose(attributes["perm"])


SHAPE: dict[str, Kernel] = {
    "Concat": concat,
    "Pad": pad,
    "Slice": slice_,
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
}
