"""Sets of drawn images, each with what is to be read from them, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from generated.shapes import KINDS, Floats, Pixels, Shapes, background, cover, noisy_pixels, paint

CLASSES = 2 * len(KINDS)  # every kind of shape, plain and striped
BOXED = 3  # kinds of shapes that boxes are drawn around, and that masks tell apart
MOST_BOXES = 3
SIDE = 32
_CHUNK = 1024  # images that are drawn at once

Targets = NDArray[np.float32] | NDArray[np.int64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Targets]]


@dataclass(frozen=True)
class Drawn:
    """Images, uint8 (n, 3, H, W), and their targets, (n, ...)."""

    images: Pixels
    targets: Targets

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Kind:
    """How images of a set are drawn: how large and how noisy."""

    radii: tuple[float, float] = (0.3, 0.75)
    noise: float = 0.12
    height: int = SIDE
    width: int = SIDE


def classified(count: int, seed: int, kind: Kind = Kind((0.45, 0.8), 0.08)) -> Drawn:
    """One shape in front of others' edges; the label, int64 (n,), says which, and if striped."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, NDArray[np.int64]]:
        canvas = background(rng, n, kind.height, kind.width)
        other = Shapes.drawn_by_lot(rng, n, rng.integers(0, len(KINDS), n), (0.1, 0.2))
        labels = rng.integers(0, CLASSES, n)
        own = Shapes.drawn_by_lot(rng, n, labels % len(KINDS), kind.radii)
        own = replace(own, striped=labels >= len(KINDS))
        for shapes in (own, other):
            paint(canvas, shapes, cover(shapes, kind.height, kind.width))
        return canvas, labels

    return _drawn(count, seed, kind, draw)


def measured(count: int, seed: int, kind: Kind = Kind(noise=0.35)) -> Drawn:
    """A disc; the target, float32 (n, 1), is its radius."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        canvas, disc = _disc(rng, n, kind)
        return canvas, disc.radii[:, None]

    return _drawn(count, seed, kind, draw)


def located(count: int, seed: int, kind: Kind = Kind(noise=0.6)) -> Drawn:
    """A disc; the target, float32 (n, 2), is its centre."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        canvas, disc = _disc(rng, n, kind)
        return canvas, disc.centres

    return _drawn(count, seed, kind, draw)


def present(count: int, seed: int, kind: Kind = Kind((0.25, 0.45))) -> Drawn:
    """Some shapes; the target, float32 (n, 6), is 1 for each kind that is there."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        canvas = background(rng, n, kind.height, kind.width)
        there = rng.random((n, len(KINDS))) < 0.35
        for number in rng.permutation(len(KINDS)):
            shapes = Shapes.drawn_by_lot(rng, n, np.full(n, number), kind.radii)
            covered = cover(shapes, kind.height, kind.width)
            paint(canvas, shapes, covered * there[:, number, None, None])
        return canvas, there.astype(np.float32)

    return _drawn(count, seed, kind, draw)


def masked(count: int, seed: int, kind: Kind = Kind((0.25, 0.6))) -> Drawn:
    """Up to three shapes; the target, int64 (n, H, W), is 0 behind them, else 1 + their kind."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, NDArray[np.int64]]:
        canvas = background(rng, n, kind.height, kind.width)
        mask = np.zeros((n, kind.height, kind.width), np.int64)
        for shapes, covered in _several(rng, n, kind):
            paint(canvas, shapes, covered)
            mask = np.where(covered > 0.5, 1 + shapes.kinds[:, None, None], mask)
        return canvas, mask

    return _drawn(count, seed, kind, draw)


def boxed(count: int, seed: int, kind: Kind = Kind((0.2, 0.4))) -> Drawn:
    """Up to three shapes; the target, float32 (n, 3, 5): kind, left, top, right, bottom.

    Sides are in 0..1 of the image; a kind of -1 stands for no box, or one nearly hidden.
    """

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        canvas = background(rng, n, kind.height, kind.width)
        seen = np.full((n, kind.height, kind.width), -1)
        boxes = np.zeros((n, MOST_BOXES, 5), np.float32)
        for number, (shapes, covered) in enumerate(_several(rng, n, kind)):
            paint(canvas, shapes, covered)
            boxes[:, number, 0] = shapes.kinds
            boxes[:, number, 1:] = _bounds(covered > 0.5)
            seen = np.where(covered > 0.5, number, seen)
        for number in range(MOST_BOXES):
            visible = (seen == number).sum((1, 2))
            left, top, right, bottom = boxes[:, number, 1:].T
            area = (right - left) * (bottom - top) * kind.height * kind.width
            boxes[visible < 0.25 * area + 1, number, 0] = -1
        return canvas, boxes

    return _drawn(count, seed, kind, draw)


def noise(count: int, seed: int, kind: Kind = Kind()) -> Pixels:
    """Images that show nothing: every pixel by itself."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, kind.height, kind.width), np.uint8)


def constant(count: int, seed: int, kind: Kind = Kind()) -> Pixels:
    """Images of one colour each."""
    colours = np.random.default_rng(seed).integers(0, 256, (count, 3, 1, 1), np.uint8)
    return np.broadcast_to(colours, (count, 3, kind.height, kind.width)).copy()


def _disc(rng: np.random.Generator, n: int, kind: Kind) -> tuple[Floats, Shapes]:
    canvas = background(rng, n, kind.height, kind.width)
    disc = Shapes.drawn_by_lot(rng, n, np.zeros(n, np.int64), kind.radii)
    paint(canvas, disc, cover(disc, kind.height, kind.width))
    return canvas, disc


def _several(rng: np.random.Generator, n: int, kind: Kind) -> list[tuple[Shapes, Floats]]:
    """One to three shapes for an image; one that is not there covers nothing."""
    out = []
    there = rng.integers(1, MOST_BOXES + 1, n)
    for number in range(MOST_BOXES):
        shapes = Shapes.drawn_by_lot(rng, n, rng.integers(0, BOXED, n), kind.radii)
        covered = cover(shapes, kind.height, kind.width)
        out.append((shapes, covered * (number < there)[:, None, None].astype(np.float32)))
    return out


def _bounds(inside: NDArray[np.bool_]) -> Floats:
    """Left, top, right, bottom of what is inside, in 0..1: (n, 4); zeros where nothing is."""
    sides = []
    for axis in (1, 2):
        line = inside.any(axis)
        size = line.shape[1]
        some = line.any(1)
        first = np.where(some, line.argmax(1), 0) / size
        last = np.where(some, size - line[:, ::-1].argmax(1), 0) / size
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    return np.stack([left, top, right, bottom], 1).astype(np.float32)


def _drawn(count: int, seed: int, kind: Kind, draw: Draw) -> Drawn:
    """Images in chunks, each with a generator of its own."""
    images, targets = [], []
    for number, start in enumerate(range(0, count, _CHUNK)):
        rng = np.random.default_rng([seed, number])
        canvas, target = draw(rng, min(_CHUNK, count - start))
        images.append(noisy_pixels(rng, canvas, kind.noise))
        targets.append(target)
    return Drawn(np.concatenate(images), np.concatenate(targets))
