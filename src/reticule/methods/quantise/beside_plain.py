"""What calibration has won, on inputs that it has not used.

A calibrated network is fitted to some images.  To be sure that it is the better one for others
too, it is compared with a plain one of as many bytes, whose errors were weighed by their size
alone: on held-out inputs, and on others made of them (:func:`others_like`), by the
signal-to-noise ratio of all outputs.  The better one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reticule.evaluation.generated import generated_inputs
from reticule.forms import Form, Packed, Quantised
from reticule.graph import Graph
from reticule.methods.layerwise.sizes import batch_of
from reticule.methods.quantise.budget import HIGHEST, LOWEST
from reticule.methods.quantise.walk import quantised_bias
from reticule.tuning.executor import execute
from reticule.tuning.problem import as_input, constant_tensors
from reticule.tuning.running import Inputs

COMPARED = 2e10  # multiply-accumulates of one network on one kind of inputs
FEWEST, MOST = 16, 128  # inputs of a kind
BIT = 6.02  # decibels
CLOSE = 0.01  # of the bytes, by which sizes may differ; what is left is set off
TURNS = 4
LARGE = 4_000_000  # weights from which on each turn takes minutes
ONE_IMAGE = 3.0  # decibels


@dataclass(frozen=True)
class Rival:
    """A plain network, its quality, and the bytes of its file."""

    packed: Packed
    quality: float
    size: int


def rivals_of(
    start: Packed,
    names: Sequence[str],
    bias_bits: int,
    plain: Callable[[float], Packed],
    size: Callable[[Packed], int],
    target: int,
) -> list[Rival]:
    """Networks of about ``target`` bytes that know no images: ``plain``, and such as
    round to nearest, with steps by the spread or by the largest weight of each tensor.
    Of large networks only the first.
    """
    weights = sum(start.forms[name].size for name in names)
    made = [matched(plain, size, target, weights)]
    if weights <= LARGE:
        for by_spread in (True, False):
            nearest = partial(rounded, start, names, bias_bits, by_spread)
            made.append(matched(nearest, size, target, weights))
    return made


def rounded(
    packed: Packed, names: Sequence[str], bias_bits: int, by_spread: bool, quality: float
) -> Packed:
    """Every weight rounded to the nearest level, ``quality`` decibels below its tensor's
    spread, or below its largest weight."""
    forms: dict[str, Form] = {}
    for node, name in packed.graph.weights():
        if name not in names:
            continue
        weights = packed.forms[name].dense().astype(np.float64)
        largest = float(np.abs(weights).max(initial=0.0))
        scale = float(weights.std()) if by_spread else largest
        step = max(scale * 12**0.5 * 10 ** (-quality / 20), largest * 2.0**-14) or 1.0
        forms[name] = Quantised(np.rint(weights / step).astype(np.int32), step)
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if bias in packed.forms:
            forms[bias] = quantised_bias(packed.forms[bias].dense().astype("f8"), bias_bits)
    return packed.with_forms(forms)


def others_like(inputs: Inputs, rng: np.random.Generator) -> list[Inputs]:
    """Kinds of inputs (n, ...) with about the same moments that calibration has not seen.

    Blends of two; brighter or darker ones of more or less contrast; noise of the same mean and
    spread in each channel, with the spectrum of pictures; moved ones beneath such noise, which tell
    most where there is one image only.  A few inputs serve several times.
    """
    turns = -(-FEWEST // max(len(inputs[0]), 1))
    inputs = tuple(np.concatenate([np.asarray(x, np.float32)] * turns) for x in inputs)
    count = len(inputs[0])
    share = rng.uniform(0.3, 0.7, count)
    turned = rng.permutation(count)
    light, contrast = rng.normal(0, 0.5, count), rng.uniform(0.5, 1.5, count)
    blends, changed, beneath, noise = [], [], [], []
    for x in inputs:
        each = (count, *[1] * (x.ndim - 1))
        axes = (0, *range(2, x.ndim))
        mean, spread = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
        spread = spread + 0.1 * np.abs(mean) * (spread == 0)
        part = share.reshape(each).astype(np.float32)
        blends.append(part * x + (1 - part) * x[turned])
        scaled = mean + (x - mean) * contrast.reshape(each) + spread * light.reshape(each)
        changed.append(scaled.astype(np.float32))
        (made,) = generated_inputs({"": x.shape[1:]}, count, int(rng.integers(1 << 31)))
        noise.append((mean + spread * made).astype(np.float32))
        half = (noise[-1] + _displaced(x, rng)) / 2
        beneath.append((mean + 2**0.5 * (half - mean)).astype(np.float32))
    kinds = [tuple(changed), tuple(noise), tuple(beneath)]
    return [tuple(blends), *kinds] if turns < count else kinds


def _displaced(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each image (n, C, H, W) moved, mirrored and with other colours; anything else as it is."""
    if x.ndim != 4:
        return x
    x = x.copy()
    for image in x:
        down, along = (int(rng.integers(size)) for size in image.shape[1:])
        moved = np.roll(image, (down, along), (1, 2))
        moved = moved[:, :: rng.choice((1, -1)), :: rng.choice((1, -1))]
        image[:] = moved[rng.permutation(len(image))]
    return x


def matched(
    rival: Callable[[float], Packed], size: Callable[[Packed], int], target: int, weights: int
) -> Rival:
    """The plain network of about ``target`` bytes; never more, where a try gave so few."""
    quality = float(np.clip(BIT * 8 * target / max(weights, 1), LOWEST, HIGHEST))
    tried: list[Rival] = []
    for _ in range(2 if weights > LARGE else TURNS):
        packed = rival(quality)
        tried.append(Rival(packed, quality, size(packed)))
        if abs(tried[-1].size - target) <= CLOSE * target:
            break
        quality = float(np.clip(_next(tried, target, weights), LOWEST, HIGHEST))
        if quality == tried[-1].quality:
            break
    fitting = [r for r in tried if r.size <= target * (1 + CLOSE)]
    return min(fitting or tried, key=lambda r: abs(r.size - target))


def _next(tried: Sequence[Rival], target: int, weights: int) -> float:
    """By the straight line through the last two tries; at first 6 decibels for a bit."""
    last = tried[-1]
    slope = weights / 8 / BIT  # bytes for a decibel
    if len(tried) > 1 and tried[-2].quality != last.quality:
        found = (last.size - tried[-2].size) / (last.quality - tried[-2].quality)
        slope = float(np.clip(found, slope / 8, slope * 2))
    return last.quality + float(np.clip((target - last.size) / slope, -12, 12))


def gains_over(
    original: Packed, calibrated: Packed, plain: Sequence[Packed], kinds: Sequence[Inputs]
) -> list[list[float]]:
    """By how many decibels the calibrated network is nearer to the original than each plain
    one, kind by kind.

    Of several outputs the one counts for which that is least.  Not a number counts as
    infinitely far.
    """
    networks = [(p.graph, constant_tensors(p.network())) for p in (original, calibrated, *plain)]
    found: list[list[float]] = [[] for _ in plain]
    for inputs in kinds:
        exact, *made = (_outputs(graph, tensors, inputs) for graph, tensors in networks)
        own, *others = ([_error(a, b) for a, b in zip(exact, m, strict=True)] for m in made)
        for gains, errors in zip(found, others, strict=True):
            gains.append(min((b - a for a, b in zip(own, errors, strict=True)), default=0.0))
    return found


def _error(exact: Tensor, made: Tensor) -> float:
    """Squared error in decibels, with a floor where nothing is wrong."""
    error = float((exact - made).square().mean())
    least = 1e-14 * float(exact.square().mean()) + 1e-30
    return 10 * float(np.log10(max(error, least))) if np.isfinite(error) else 1e3


@torch.no_grad()
def _outputs(graph: Graph, tensors: Mapping[str, Tensor], inputs: Inputs) -> list[Tensor]:
    size = batch_of(graph)
    parts = []
    for start in range(0, len(inputs[0]), size):
        batch = (as_input(values[start : start + size]) for values in inputs)
        parts.append([y.double() for y in execute(graph, tensors, *batch)])
    return [torch.cat(same) for same in zip(*parts, strict=True)]


def better(
    original: Packed,
    calibrated: Packed,
    rivals: Sequence[Rival],
    size: int,
    held_out: Inputs,
    images: int,
    rng: np.random.Generator,
) -> tuple[Rival | None, float]:
    """The best rival, if it is better than the calibrated network (``size`` bytes); and how many
    decibels that has won over it.

    ``held_out`` inputs must tell for themselves, unless calibration had only one image
    (``images``): that says little of others, and the calibrated network has to be better by
    :data:`ONE_IMAGE` decibels beneath noise.
    """
    macs = max(sum(original.graph.macs().values()), 1)
    count = int(np.clip(COMPARED / macs, FEWEST, MOST))
    inputs = tuple(values[:count] for values in held_out)
    weights = sum(original.forms[name].size for _, name in original.graph.weights())
    kinds = others_like(inputs, rng)
    kinds = [inputs, *kinds] if images > 1 else kinds[-1:]
    handicap = 0.0 if images > 1 else ONE_IMAGE
    found = []
    every = gains_over(original, calibrated, [rival.packed for rival in rivals], kinds)
    for number, (rival, seen) in enumerate(zip(rivals, every, strict=True)):
        more = BIT * 8 * (size - rival.size) / max(weights, 1)  # what its bytes would have won
        gains = [gain - more - handicap for gain in seen]
        found.append((float(np.mean(gains)), gains[0], number))
    won, own, number = min(found)
    return (None if won >= 0 and own >= 0 else rivals[number]), won
