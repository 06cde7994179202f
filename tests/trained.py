"""Networks of the gallery trained for a moment on drawn images, so that statistics are real.

Each is trained once in a run of the tests, the first time that it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from gallery import GALLERY
from generated import sets, training
from generated.sets import Drawn

import reticule
from reticule.forms import Packed
from reticule.graph import Network

CLASSES = 10
IMAGES, EPOCHS = 384, 3


@dataclass(frozen=True)
class Trained:
    """A network, the images that it was trained on, and as many that it has not seen.

    It was trained for too short a time to be right often: in ``data`` its own answers are
    the labels.
    """

    network: Network
    seen: Drawn
    unseen: Drawn

    @property
    def data(self) -> reticule.Data:
        answers = reticule.Model(Packed.of(self.network))(self.seen.images.astype("f4") / 255)
        return reticule.Data((self.seen.images, np.asarray(answers).argmax(1)))


@cache
def trained(name: str) -> Trained:
    """A classifier of colour images from the gallery, by its name there."""
    module, example = GALLERY[name]()
    seen, unseen = (_drawn(example.shape[2], example.shape[3], seed) for seed in (1, 2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # fastest for so small networks, and the same on every machine
    training.train(module, seen, training.classes, epochs=EPOCHS, rate=5e-3, seed=0)
    torch.set_num_threads(threads)
    return Trained(reticule.from_torch(module, example), seen, unseen)


def _drawn(height: int, width: int, seed: int) -> Drawn:
    kind = sets.Kind((0.5, 0.9), 0.05, height, width)
    drawn = sets.classified(IMAGES, seed, kind)
    return Drawn(drawn.images, drawn.targets % CLASSES)
