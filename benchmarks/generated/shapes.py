"""Shapes drawn into small colour images, many at once, the same for the same seed.

Coordinates run from -1 to 1 along both axes of an image, y downwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

KINDS = ("disc", "square", "triangle", "ring", "cross", "moon")
STRIPES = 9.0  # radians of a striped shape's pattern for its radius


@dataclass(frozen=True)
class Shapes:
    """One shape for each of n images.

    ``kinds`` int64 (n,) index ``KINDS``; ``centres`` (n, 2) as x, y; ``radii`` and ``angles``
    (radians) (n,); ``striped`` bool (n,); ``colours`` (n, 3) in 0..1.
    """

    kinds: NDArray[np.int64]
    centres: Floats
    radii: Floats
    angles: Floats
    striped: NDArray[np.bool_]
    colours: Floats

    @classmethod
    def drawn_by_lot(
        cls,
        rng: np.random.Generator,
        count: int,
        kinds: NDArray[np.int64],
        radii: tuple[float, float],
        turn: float = 0.4,
    ) -> Shapes:
        """Light shapes that lie inside of the image, turned by so many radians at most."""
        radius = rng.uniform(*radii, count).astype(np.float32)
        room = (1 - radius)[:, None]
        return cls(
            kinds,
            (room * rng.uniform(-1, 1, (count, 2))).astype(np.float32),
            radius,
            rng.uniform(-turn, turn, count).astype(np.float32),
            np.zeros(count, bool),
            rng.uniform(0.35, 1, (count, 3)).astype(np.float32),
        )


def cover(shapes: Shapes, height: int, width: int) -> Floats:
    """How much of each pixel its image's shape covers: (n, height, width) in 0..1."""
    u, v = _own_coordinates(shapes, height, width)
    distance = _distance(shapes.kinds, u, v) * shapes.radii[:, None, None]
    edge = min(height, width) / 2
    return np.clip(0.5 - distance * edge, 0, 1).astype(np.float32)


def paint(canvas: Floats, shapes: Shapes, covered: Floats) -> None:
    """Paint each image's shape over ``canvas`` (n, 3, H, W), in place."""
    u, v = _own_coordinates(shapes, *canvas.shape[2:])
    bright = np.where(shapes.striped[:, None, None], np.sin(STRIPES * (u + v)) > 0, True)
    colour = shapes.colours[:, :, None, None] * (0.25 + 0.75 * bright[:, None])
    canvas += covered[:, None] * (colour - canvas)


def background(rng: np.random.Generator, count: int, height: int, width: int) -> Floats:
    """A dark colour that changes evenly across the image, with faint waves: (n, 3, H, W)."""
    x, y = _grid(height, width)
    wanted = rng.uniform(0, 0.6, (count, 3, 1, 1))
    slopes = rng.uniform(-0.25, 0.25, (count, 3, 2, 1, 1))
    plane = wanted + slopes[:, :, 0] * x + slopes[:, :, 1] * y
    waves = rng.uniform(2, 12, (count, 2, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    ripple = 0.1 * np.sin(waves[:, 0] * x + waves[:, 1] * y + phase)
    return (plane + ripple[:, None]).astype(np.float32)


def noisy_pixels(rng: np.random.Generator, canvas: Floats, noise: float) -> Pixels:
    """The canvas with noise of that standard deviation, as pixels."""
    spoilt = canvas + noise * rng.standard_normal(canvas.shape, np.float32)
    return np.rint(255 * np.clip(spoilt, 0, 1)).astype(np.uint8)


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """x (1, width) and y (height, 1) of the pixels' centres."""
    x = (np.arange(width, dtype=np.float32) + 0.5) * 2 / width - 1
    y = (np.arange(height, dtype=np.float32) + 0.5) * 2 / height - 1
    return x[None], y[:, None]


def _own_coordinates(shapes: Shapes, height: int, width: int) -> tuple[Any, Any]:
    """Coordinates in which each image's shape is upright, centred, and of radius 1."""
    x, y = _grid(height, width)
    dx = (x - shapes.centres[:, :1, None]) / shapes.radii[:, None, None]
    dy = (y - shapes.centres[:, 1:, None]) / shapes.radii[:, None, None]
    cosine, sine = (f(shapes.angles)[:, None, None] for f in (np.cos, np.sin))
    return cosine * dx + sine * dy, cosine * dy - sine * dx


def _distance(kinds: NDArray[np.int64], u: Any, v: Any) -> Any:
    """About the distance from each image's shape, negative inside."""
    out = np.empty(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for number, kind in enumerate(KINDS):
        own = kinds == number
        out[own] = _DISTANCES[kind](u[own], v[own])
    return out


def _disc(u: Any, v: Any) -> Any:
    return np.hypot(u, v) - 1


def _square(u: Any, v: Any) -> Any:
    return np.maximum(np.abs(u), np.abs(v)) - 0.85


def _triangle(u: Any, v: Any) -> Any:
    return np.maximum(0.866 * np.abs(u) + 0.5 * v, -v) - 0.55


def _ring(u: Any, v: Any) -> Any:
    return np.abs(np.hypot(u, v) - 0.75) - 0.25


def _cross(u: Any, v: Any) -> Any:
    wide = np.maximum(np.abs(u) - 1, np.abs(v) - 0.3)
    return np.minimum(wide, np.maximum(np.abs(u) - 0.3, np.abs(v) - 1))


def _moon(u: Any, v: Any) -> Any:
    return np.maximum(_disc(u, v), 0.8 - np.hypot(u - 0.5, v))


_DISTANCES = dict(zip(KINDS, (_disc, _square, _triangle, _ring, _cross, _moon), strict=True))
