"""What calibration has won, on inputs that it has not used.

A calibrated network is fitted to some images.  To be sure that it is the better one for others
too, it is compared with a plain one of as many bytes, whose errors were weighed by their size
alone: on held-out inputs, and on others made of them (:func:`others_like`), by the
signal-to-noise ratio of all outputs.  The better one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reticule.forms import Packed
from reticule.graph import Graph
from reticule.methods.layerwise.sizes import batch_of
from reticule.methods.quantise.budget import HIGHEST, LOWEST
from reticule.tuning.executor import execute
from reticule.tuning.problem import as_input, constant_tensors

COMPARED = 4e10  # multiply-accumulates of one network on one kind of inputs
FEWEST, MOST = 16, 128  # inputs of a kind
BIT = 6.02  # decibels
CLOSE = 0.01  # of the bytes, by which sizes may differ; what is left is set off
TURNS = 4
LARGE = 4_000_000  # weights from which on each turn takes minutes
SMOOTH = 8  # cells of smooth noise along each axis

Inputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Rival:
    """A plain network, its quality, and the bytes of its file."""

    packed: Packed
    quality: float
    size: int


def others_like(inputs: Inputs, rng: np.random.Generator) -> list[Inputs]:
    """Kinds of inputs (n, ...) with about the same moments that calibration has not seen.

    Blends of two; brighter or darker ones of more or less contrast; smooth noise of the same
    mean and spread in each channel.
    """
    count = len(inputs[0])
    share = rng.uniform(0.3, 0.7, count)
    turned = rng.permutation(count)
    light, contrast = rng.normal(0, 0.5, count), rng.uniform(0.5, 1.5, count)
    blends, changed, noise = [], [], []
    for values in inputs:
        x = np.asarray(values, np.float32)
        each = (count, *[1] * (x.ndim - 1))
        axes = (0, *range(2, x.ndim))
        mean, spread = x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
        spread = spread + 0.1 * np.abs(mean) * (spread == 0)
        part = share.reshape(each).astype(np.float32)
        blends.append(part * x + (1 - part) * x[turned])
        scaled = mean + (x - mean) * contrast.reshape(each) + spread * light.reshape(each)
        changed.append(scaled.astype(np.float32))
        noise.append((mean + spread * _smooth(x.shape, rng)).astype(np.float32))
    kinds = [tuple(changed), tuple(noise)]
    return [tuple(blends), *kinds] if count > 1 else kinds


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Normal noise of this shape, of one scale for every axis after the second."""
    coarse = rng.normal(size=(*shape[:2], *(min(n, SMOOTH) for n in shape[2:])))
    for axis, length in enumerate(shape[2:], 2):
        places = np.linspace(0, coarse.shape[axis] - 1, length)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, coarse.shape[axis] - 1)
        part = (places - low).reshape(-1, *[1] * (coarse.ndim - 1 - axis))
        coarse = (1 - part) * coarse.take(low, axis) + part * coarse.take(high, axis)
    return (coarse / max(float(coarse.std()), 1e-12)).astype(np.float32)


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


def gain(
    original: Packed,
    calibrated: Packed,
    plain: Packed,
    kinds: Sequence[Inputs],
) -> list[float]:
    """By how many decibels the calibrated network is nearer to the original, kind by kind.

    Of several outputs the one counts for which that is least.  Not a number of either counts
    as infinitely far.
    """
    found = []
    networks = [(p.graph, constant_tensors(p.network())) for p in (original, calibrated, plain)]
    for inputs in kinds:
        exact, *both = (_outputs(graph, tensors, inputs) for graph, tensors in networks)
        errors = [[_error(a, b) for a, b in zip(exact, made, strict=True)] for made in both]
        found.append(min(b - a for a, b in zip(*errors, strict=True)) if exact else 0.0)
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
    rival: Rival,
    size: int,
    held_out: Inputs,
    images: int,
    rng: np.random.Generator,
) -> tuple[bool, float]:
    """Whether the calibrated network (``size`` bytes) stays, and how many decibels it has won.

    ``held_out`` inputs must tell for themselves, unless calibration had only one image
    (``images``): that says nothing of others.
    """
    macs = max(sum(original.graph.macs().values()), 1)
    count = int(np.clip(COMPARED / macs, FEWEST, MOST))
    inputs = tuple(values[:count] for values in held_out)
    weights = sum(original.forms[name].size for _, name in original.graph.weights())
    more = BIT * 8 * (size - rival.size) / max(weights, 1)  # what its bytes would have won anyway
    kinds = [inputs, *others_like(inputs, rng)]
    gains = [g - more for g in gain(original, calibrated, rival.packed, kinds)]
    if images < 2:
        gains = gains[1:]
    mean = float(np.mean(gains))
    return mean >= 0 and gains[0] >= 0, mean
