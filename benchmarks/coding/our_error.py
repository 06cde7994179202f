"""Our side of the equal weight error: transform, trellis and coder, without any images.

Each kernel of a convolution may be transformed (2-D DCT), by cost; all levels lie on paths of
the trellis with 64 states, one step for all tensors; decisions by rate and distortion, first
with estimated rates, then with those that the coder ``small`` really has at each weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from coding.networks import Tensors
from reticule import _native
from reticule.codec.arrays import Array, Kind, Layout
from reticule.codec.bits import ByteReader
from reticule.codec.chunks import plan
from reticule.codec.limits import Limits
from reticule.codec.quantiser import exchange, forward_dct, quantise_tensor, rate_distortion
from reticule.codec.rates import Rates, indices_and_quantisers
from reticule.codec.section import TARGET_BITS, Section, write_section
from reticule.forms import Form, Quantised, Spectral
from reticule.forms.quantised import LARGEST_LEVEL

STATES = 64
PRESET, MODEL = "small", 1
BALANCES = (1.0, 1.25)
POINTS = 11
PASSES = 2  # with the coder's own rates

ErrorPoint = tuple[str, str, Callable[[], tuple[int, Tensors]]]


def error_points(
    weights: Mapping[str, np.ndarray], targets: Iterable[float]
) -> Iterator[ErrorPoint]:
    """(settings, point, what codes it): steps around those that the errors ask for."""
    targets = tuple(targets)
    # A trellis of 64 states makes an error of a quarter of the step squared, more at low rates.
    low, high = (2 * target**0.5 for target in (min(targets), max(targets)))
    steps = np.geomspace(0.95 * low, 1.6 * high, POINTS)
    for balance in BALANCES:
        for step in steps:
            step = np.float32(f"{step:.4g}")
            settings = f"{PRESET} {STATES} states balance {balance:g}"
            yield settings, f"step {step:.4g}", lambda s=step, b=balance: code(weights, s, b)


def code(weights: Mapping[str, np.ndarray], step: float, balance: float) -> tuple[int, Tensors]:
    """Bytes of the coded payloads, and the weights that the decoder gives back."""
    lam = exchange(step, STATES, balance)
    values, levels, spectral = {}, {}, set()
    for name, weight in weights.items():
        values[name], levels[name], transformed = domain(weight, step, lam)
        if transformed:
            spectral.add(name)
    for _ in range(PASSES):
        rates = real_rates(levels)
        for name, value in values.items():
            levels[name] = quantise_tensor(
                value, step, lam=lam, states=STATES, rates=Rates(rates[name])
            )
    forms: dict[str, Form] = {}
    for name, level in levels.items():
        form = Quantised(level, step, STATES)
        forms[name] = Spectral(form) if name in spectral else form
    return through_file(forms)


def domain(weight: np.ndarray, step: float, lam: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """(values, levels, whether they are frequencies): the domain that costs less."""
    levels, cost = rate_distortion(weight, step, lam=lam, states=STATES, passes=2)
    if weight.ndim != 4 or weight.shape[2] * weight.shape[3] == 1:
        return weight, levels, False
    values = forward_dct(weight).astype(np.float32)
    there, cost_there = rate_distortion(values, step, lam=lam, states=STATES, passes=2)
    return (values, there, True) if cost_there < cost else (weight, levels, False)


def real_rates(levels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each index would have cost the coder, chunk by chunk as in a file."""
    arrays = {
        name: Array(
            Kind.INTEGERS,
            Layout.of(level.shape),
            indices_and_quantisers(level, STATES)[0].astype(np.int32),
            LARGEST_LEVEL,
            STATES,
        )
        for name, level in levels.items()
    }
    names = {id(array): name for name, array in arrays.items()}
    rates = {name: np.zeros((level.size, 2, 13), np.uint16) for name, level in levels.items()}
    for pieces in plan([[array] for array in arrays.values()], 1 << TARGET_BITS):
        coder = _native.ContextEncoder(MODEL)
        for piece in pieces:
            layout, out = piece.layout, np.zeros((piece.layout.size, 2, 13), np.uint16)
            where = (layout.rows, layout.channels, layout.height, layout.width)
            coder.rates(piece.data, np.zeros(0, np.uint8), *where, STATES, True, out.reshape(-1))
            rates[names[id(piece.array)]][piece.first : piece.first + layout.size] = out
    return rates


def through_file(forms: Mapping[str, Form]) -> tuple[int, Tensors]:
    """Bytes that the coder made, and the tensors read from them."""
    written = write_section(forms, PRESET)
    count = sum(form.size for form in forms.values())
    head = ByteReader(written.head, "benchmark")
    section = Section.read(head, memoryview(written.chunks), list(forms), count, Limits())
    back, _ = section.forms(list(forms), 1)
    return written.bytes_coded, {name: form.dense() for name, form in back.items()}
