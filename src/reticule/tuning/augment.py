"""Random shifts and mirror images, chosen by asking the network which ones it knows.

Whether mirrored or shifted images are still images of the same class depends on
the data (a mirrored cat is a cat, a mirrored 2 is not).  The trained network
knows: a change of the image that costs it much accuracy was not in its training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SHIFTS = (8, 16, 32)  # candidates: at most 1/8, 1/16, 1/32 of the image's side
TOLERATED = 3.0  # points of accuracy that a change known to the network may cost


@dataclass(frozen=True)
class Augmentation:
    """Shift by up to ``shift`` pixels in each direction, mirror left-right at random.

    >>> images = np.arange(4, dtype="u1").reshape(1, 1, 2, 2)
    >>> Augmentation(shift=0, flip=False)(images, np.random.default_rng(0)).tolist()
    [[[[0, 1], [2, 3]]]]
    """

    shift: int = 0
    flip: bool = False

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changed copies of uint8 images (n, C, H, W); new pixels are 0."""
        n, _, height, width = images.shape
        if self.flip:
            images = np.where(rng.random((n, 1, 1, 1)) < 0.5, images[..., ::-1], images)
        if not self.shift:
            return images
        s = self.shift
        wide = np.pad(images, ((0, 0), (0, 0), (s, s), (s, s)))
        downs, rights = rng.integers(0, 2 * s + 1, (2, n))
        out = np.empty_like(images)
        for i, (down, right) in enumerate(zip(downs, rights, strict=True)):
            out[i] = wide[i, :, down : down + height, right : right + width]
        return out


def cautious(shape: tuple[int, int, int]) -> Augmentation:
    """What any camera does to images (C, H, W): for networks that nobody can ask.

    The smallest shift, where the image has room for it, and no mirroring.
    """
    side = min(shape[1:])
    return Augmentation(max(1, round(side / SHIFTS[-1])) if side >= 16 else 0)


def detect(accuracy: Callable[[np.ndarray], float], images: np.ndarray, seed: int) -> Augmentation:
    """The strongest augmentation that the network tolerates.

    ``accuracy`` maps uint8 images (n, C, H, W) to percent correct.  The smallest
    shift is always allowed where the image has room for it: one pixel more or
    less is within what any camera does.
    """
    if images.ndim != 4 or min(images.shape[2:]) < 8:
        return Augmentation()
    rng = np.random.default_rng(seed)
    plain = accuracy(images)
    flip = accuracy(np.ascontiguousarray(images[..., ::-1])) >= plain - TOLERATED
    side = min(images.shape[2:])
    sizes = [max(1, round(side / part)) for part in SHIFTS]
    for size in sizes:
        if accuracy(Augmentation(size)(images, rng)) >= plain - TOLERATED:
            return Augmentation(size, flip)
    return Augmentation(sizes[-1] if side >= 16 else 0, flip)
