"""Kinds of inputs that people calibrate with, good and bad, and fresh ones of the same kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from generated import sets
from generated.catalogue import PLANS
from generated.shapes import Pixels

CALIBRATION, FRESH = 11, 12
"""Seeds."""

MANY = 256


def noise(name: str, count: int, seed: int) -> Pixels:
    """Every pixel by itself."""
    return sets.noise(count, seed)


def images(name: str, count: int, seed: int) -> Pixels:
    """What the network was trained for."""
    return PLANS[name].task.draw(count, seed).images


def one_image(name: str, count: int, seed: int) -> Pixels:
    """A single image; fresh ones are others that were drawn alike."""
    return images(name, 1 if seed == CALIBRATION else count, seed)


def constant(name: str, count: int, seed: int) -> Pixels:
    """Images of one colour, which is the same in all of them; fresh ones are of others."""
    colours = sets.constant(count, seed)
    return np.repeat(colours[:1], 16, axis=0) if seed == CALIBRATION else colours


KINDS: dict[str, Callable[[str, int, int], Pixels]] = {
    "noise": noise,
    "images": images,
    "one image": one_image,
    "constant": constant,
}


def to_calibrate(kind: str, name: str) -> Pixels:
    """uint8 (n, 3, H, W) for the network of that name."""
    return KINDS[kind](name, MANY, CALIBRATION)


def fresh(kind: str, name: str) -> Pixels:
    """Others of the same kind."""
    return KINDS[kind](name, MANY, FRESH)
