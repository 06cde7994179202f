"""What the kernels share: their type, and the geometry of sliding windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reticule.graph.shapes import window

Attributes = Mapping[str, Any]
Kernel = Callable[[Sequence[Any], Attributes, int], np.ndarray]


def window_counts(
    size: tuple[int, int], kernel: tuple[int, int], attributes: Attributes
) -> tuple[int, int]:
    """Output height and width of a convolution or pool.

    >>> window_counts((5, 7), (3, 3), {"strides": (2, 2), "pads": (0, 1, 0, 1)})
    (2, 4)
    """
    top, left, bottom, right = attributes["pads"]
    strides, dilations = attributes["strides"], attributes.get("dilations", (1, 1))
    up = bool(attributes.get("ceil_mode", 0))
    return (
        window(size[0], kernel[0], strides[0], top, bottom, dilations[0], up),
        window(size[1], kernel[1], strides[1], left, right, dilations[1], up),
    )
