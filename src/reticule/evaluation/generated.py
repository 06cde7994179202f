"""Inputs made up, for networks without data: seeded, of the right shape, like pictures.

Pictures have far more of coarse structure than of fine: the power of a frequency falls with its
square (Field, "Relations between the statistics of natural images and the response properties of
cortical cells", JOSA A, 1987).  Noise with such a spectrum excites a network much more like its
own images than white noise does.

>>> import numpy as np
>>> x, = generated_inputs({"x": (3, 8, 8)}, 4, seed=0)
>>> x.shape, x.dtype, bool(np.array_equal(x, generated_inputs({"x": (3, 8, 8)}, 4, seed=0)[0]))
((4, 3, 8, 8), dtype('float32'), True)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reticule.data import Preprocessing

_GREY, _CONTRAST = 118.0, 58.0  # mean and spread of pixels in photographs, about
_SHARED = 0.8  # share of the structure that the channels of a picture have in common


def generated_inputs(
    inputs: Mapping[str, Sequence[int]],
    count: int,
    seed: int,
    preprocessing: Preprocessing | None = None,
) -> tuple[np.ndarray, ...]:
    """``count`` inputs, float32, one array for each of the network's inputs (name to shape).

    Images are smooth noise: with a ``preprocessing`` pixels prepared by it, else numbers of mean
    0 and standard deviation 1.  Anything else is normal noise.
    """
    rng = np.random.default_rng(seed)
    found = []
    for shape in inputs.values():
        if len(shape) == 3 and min(shape[1:]) > 1:
            noise = smooth_noise((count, *shape), rng)
            if preprocessing is not None and len(inputs) == 1:
                pixels = np.clip(np.rint(_GREY + _CONTRAST * noise), 0, 255).astype(np.uint8)
                noise = preprocessing.apply(pixels)
        else:
            noise = rng.standard_normal((count, *shape))
        found.append(noise.astype(np.float32))
    return tuple(found)


def smooth_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise (n, C, H, W) whose amplitudes fall with the frequency; each image has a brightness
    and a contrast of its own, all together mean 0 and standard deviation 1.
    """
    count, channels, height, width = shape
    down, along = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1.0 / np.maximum(np.hypot(down, along), 1.0 / max(height, width))
    amplitude[0, 0] = 0.0

    def layer(layers: int) -> np.ndarray:
        white = np.fft.rfft2(rng.standard_normal((count, layers, height, width)))
        made = np.fft.irfft2(white * amplitude, (height, width))
        return made / np.maximum(made.std((2, 3), keepdims=True), 1e-12)

    mixed = _SHARED * layer(1) + (1 - _SHARED**2) ** 0.5 * layer(channels)
    brightness = rng.normal(0, 0.5, (count, 1, 1, 1))
    contrast = rng.uniform(0.4, 1.2, (count, 1, 1, 1))
    made = brightness + contrast * mixed
    return (made - made.mean()) / max(float(made.std()), 1e-12)
