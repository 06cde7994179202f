"""The context coder: round trips, an independent decoder, sizes, rates, damaged payloads."""

from __future__ import annotations

import lzma
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_context import Integers, Model, Range
from reference_context import floats as read_floats

from reticule import _native

NONE = np.empty(0, np.uint8)
FAST, SMALL = 0, 1
PRESETS = pytest.mark.parametrize("preset", [FAST, SMALL], ids=["fast", "small"])
Layout = tuple[int, int, int, int]


def weights(seed: int, layout: Layout, scale: float = 2.0) -> np.ndarray:
    """Levels whose scale depends on row and channel, smooth within kernels."""
    rng = np.random.default_rng(seed)
    rows, channels = layout[:2]
    spread = rng.lognormal(0, 0.5, (rows, 1, 1, 1)) * rng.lognormal(0, 0.5, (1, channels, 1, 1))
    values = rng.laplace(0, scale, layout) + rng.normal(0, scale, (rows, channels, 1, 1))
    return np.rint(values * spread).astype(np.int32).reshape(-1)


def encode(
    preset: int,
    values: np.ndarray,
    layout: Layout,
    states: int = 0,
    signed: bool = True,
    mask: np.ndarray = NONE,
) -> bytes:
    encoder = _native.ContextEncoder(preset)
    encoder.integers(values, mask, *layout, states, signed)
    size, payload = encoder.size(), bytes(encoder.finish())
    assert len(payload) <= size + 1
    return payload


def decode(
    preset: int,
    payload: bytes,
    layout: Layout,
    states: int = 0,
    signed: bool = True,
    mask: np.ndarray = NONE,
) -> np.ndarray:
    decoder = _native.ContextDecoder(preset, np.frombuffer(payload, np.uint8))
    out = np.full(prod(layout), 7, np.int32)
    decoder.integers(out, mask, *layout, states, signed)
    decoder.finish()
    return out


@st.composite
def arrays(draw: st.DrawFn) -> tuple[np.ndarray, Layout, int, bool, np.ndarray]:
    layout = draw(st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 4)] * 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.laplace(0, 2.0 ** draw(st.integers(-4, 22)), prod(layout))
    if draw(st.booleans()):
        values *= rng.random(prod(layout)) < draw(st.sampled_from([0.01, 0.2]))
    values = np.rint(values.clip(-(2**24), 2**24)).astype(np.int32)
    signed = draw(st.booleans())
    mask = rng.integers(0, 2, values.size).astype(np.uint8) if draw(st.booleans()) else NONE
    if mask.size:
        values = values * mask
    values = values.astype(np.int32) if signed else np.abs(values).astype(np.int32)
    return values, layout, draw(st.sampled_from([0, 8, 32, 64])), signed, mask


@PRESETS
@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(), min_size=1, max_size=4))
def test_integers_come_back(preset: int, batch: list) -> None:
    encoder = _native.ContextEncoder(preset)
    sizes = []
    for values, layout, states, signed, mask in batch:
        encoder.integers(values, mask, *layout, states, signed)
        sizes.append(encoder.size())
    payload = np.frombuffer(encoder.finish(), np.uint8)
    decoder = _native.ContextDecoder(preset, payload)
    for (values, layout, states, signed, mask), size in zip(batch, sizes, strict=True):
        out = np.empty_like(values)
        decoder.integers(out, mask, *layout, states, signed)
        assert np.array_equal(out, values)
        assert decoder.position() == size
    decoder.finish()


@st.composite
def patterns(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    width = draw(st.sampled_from([16, 32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["any", "normal", "short", "zeros", "few", "tiny"]))
    count = draw(st.integers(0, 300))
    values = rng.normal(0, 10.0 ** draw(st.integers(-3, 3)), count).astype(np.float32)
    if kind == "zeros":
        values *= rng.choice([0.0, -0.0, 1.0], count).astype(np.float32)
    if kind == "few":
        values = rng.choice(np.array([0.25, -0.1, 3.7, -0.0], np.float32), count)
    if kind == "tiny":
        values *= np.float32(1e-38)
    bits = values.view(np.uint32).copy()
    if kind == "any":
        bits = rng.integers(0, 2**32, count, dtype=np.uint32)
    if kind == "short":
        bits &= np.uint32(0xFFFF0000)
    return (bits >> np.uint32(32 - width)).astype(np.uint32), width


@PRESETS
@settings(max_examples=60, deadline=None)
@given(patterns())
def test_floats_come_back(preset: int, sample: tuple[np.ndarray, int]) -> None:
    bits, width = sample
    encoder = _native.ContextEncoder(preset)
    encoder.floats(bits, width, 1, bits.size, 1, 1)
    payload = encoder.finish()
    assert len(payload) <= bits.size * width // 8 + 2
    decoder = _native.ContextDecoder(preset, np.frombuffer(payload, np.uint8))
    out = np.empty_like(bits)
    decoder.floats(out, width, 1, bits.size, 1, 1)
    decoder.finish()
    assert np.array_equal(out, bits)


@PRESETS
def test_second_decoder_agrees(preset: int) -> None:
    cases = [
        ((6, 8, 3, 3), 0, 2.0),
        ((8, 6, 3, 3), 8, 1.0),
        ((5, 3, 5, 5), 64, 9.0),
        ((12, 20, 1, 1), 0, 300.0),
        ((1, 40, 1, 1), 32, 1e5),
    ]
    encoder = _native.ContextEncoder(preset)
    mask = (np.arange(432) % 3 > 0).astype(np.uint8)
    for seed, (layout, states, scale) in enumerate(cases):
        encoder.integers(weights(seed, layout, scale), NONE, *layout, states, True)
    masked = (weights(9, (6, 8, 3, 3)) * mask).astype(np.int32)
    encoder.integers(np.abs(masked), mask, 6, 8, 3, 3, 0, False)
    noise = np.random.default_rng(0).integers(-128, 128, 60).astype(np.int32)
    encoder.integers(noise, NONE, 1, 60, 1, 1, 0, True)
    floats = np.random.default_rng(1).normal(size=90).astype(np.float32).view(np.uint32)
    encoder.floats(floats, 32, 10, 9, 1, 1)
    few = np.tile(np.array([0.5, -2.5, 0.0, 1e-3], np.float32), 20).view(np.uint32)
    encoder.floats(few, 32, 1, 80, 1, 1)
    coder, model = Range(encoder.finish()), Model(preset == SMALL)

    def read(layout: Layout, under: list[int] | None, states: int, signed: bool) -> list[int]:
        return Integers(coder, model, layout, under, states, signed).decode()

    for seed, (layout, states, scale) in enumerate(cases):
        assert read(layout, None, states, True) == weights(seed, layout, scale).tolist()
    assert read((6, 8, 3, 3), mask.tolist(), 0, False) == np.abs(masked).tolist()
    assert read((1, 60, 1, 1), None, 0, True) == noise.tolist()
    assert read_floats(coder, model, (10, 9, 1, 1), 32) == floats.tolist()
    assert read_floats(coder, model, (1, 80, 1, 1), 32) == few.tolist()
    coder.finish()


def labelled(seed: int, layout: Layout, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels whose density depends on their block of rows and columns, and those blocks."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, blocks, size) for size in layout[:2])
    labels = (rows[:, None] * blocks + columns).repeat(prod(layout[2:]), axis=1).reshape(-1)
    dense = rng.beta(0.3, 1, blocks * blocks)[labels]
    values = np.where(rng.random(labels.size) < dense, weights(seed, layout), 0)
    return values.astype(np.int32), labels.astype(np.uint16)


@PRESETS
def test_labels_are_a_context_of_one_preset(preset: int) -> None:
    jobs: list[tuple[np.ndarray, np.ndarray, Layout, int, bool, np.ndarray | None]] = []
    cases = [((40, 60, 1, 1), 0, 5), ((8, 12, 3, 3), 8, 3), ((30, 20, 1, 1), 64, 32)]
    for seed, (layout, states, blocks) in enumerate(cases):
        values, labels = labelled(seed, layout, blocks)
        mask = (labels % 5 > 0).astype(np.uint8)
        kept = np.abs(values * mask).astype(np.int32)
        jobs.append((values, NONE, layout, states, True, labels))
        jobs.append((kept, mask, layout, states, False, labels))
        jobs.append((values, NONE, layout, states, True, None))
    layout, (values, labels) = cases[0][0], labelled(0, *cases[0][::2])
    floats = np.where(values > 0, 0.1 * values, -1).astype("f4").view(np.uint32)
    payloads = []
    for known in (True, False):
        encoder = _native.ContextEncoder(preset)
        for array, mask, shape, states, signed, job_labels in jobs:
            chosen = job_labels if known else None
            encoder.integers(array, mask, *shape, states, signed, chosen)
        encoder.floats(floats, 32, *layout, labels if known else None)
        payloads.append(encoder.finish())
    payload, without = payloads
    assert payload == without if preset == FAST else len(payload) < 0.97 * len(without)

    decoder = _native.ContextDecoder(preset, np.frombuffer(payload, np.uint8))
    coder, model = Range(payload), Model(preset == SMALL)
    for array, mask, shape, states, signed, job_labels in jobs:
        out = np.empty_like(array)
        decoder.integers(out, mask, *shape, states, signed, job_labels)
        assert np.array_equal(out, array)
        under = mask.tolist() if mask.size else None
        named = None if job_labels is None else job_labels.tolist()
        other = Integers(coder, model, shape, under, states, signed, named)
        assert other.decode() == array.tolist()
    out = np.empty_like(floats)
    decoder.floats(out, 32, *layout, labels)
    decoder.finish()
    assert np.array_equal(out, floats)
    assert read_floats(coder, model, layout, 32, labels.tolist()) == floats.tolist()
    coder.finish()


@PRESETS
def test_labels_must_fit(preset: int) -> None:
    encoder, values = _native.ContextEncoder(preset), np.ones(4, np.int32)
    for labels in (np.zeros(3, np.uint16), np.array([0, 1, 2, 1024], np.uint16)):
        with pytest.raises(ValueError, match="label"):
            encoder.integers(values, NONE, 2, 2, 1, 1, 0, True, labels)
        with pytest.raises(ValueError, match="label"):
            encoder.floats(values.view(np.uint32), 32, 2, 2, 1, 1, labels)
        decoder = _native.ContextDecoder(preset, np.zeros(8, np.uint8))
        with pytest.raises(ValueError, match="label"):
            decoder.integers(values.copy(), NONE, 2, 2, 1, 1, 0, True, labels)
        with pytest.raises(ValueError, match="label"):
            decoder.floats(np.zeros(4, np.uint32), 32, 2, 2, 1, 1, labels)


@PRESETS
def test_no_array_grows(preset: int) -> None:
    rng = np.random.default_rng(0)
    for bits, count in ((1, 40), (4, 1), (8, 5), (8, 3000), (16, 700), (24, 300)):
        values = rng.integers(0, 2**bits, count).astype(np.int32)
        payload = encode(preset, values, (1, count, 1, 1), signed=False)
        assert len(payload) <= -(-bits * count // 8) + 2
        assert np.array_equal(decode(preset, payload, (1, count, 1, 1), signed=False), values)


@PRESETS
def test_dead_layers_cost_nothing(preset: int) -> None:
    zeros = np.zeros(500 * 800, np.int32)
    assert len(encode(preset, zeros, (500, 800, 1, 1))) <= 2
    mask = np.zeros(zeros.size, np.uint8)
    assert len(encode(preset, zeros, (500, 800, 1, 1), mask=mask)) <= 2


@PRESETS
@pytest.mark.parametrize("count", [64, 300])
def test_small_arrays_learn_little(preset: int, count: int) -> None:
    # Against the ideal code of the distribution that the values come from.
    total = ideal = 0.0
    for seed in range(20):
        values = np.rint(np.random.default_rng(seed).laplace(0, 1.5, count)).astype(np.int32)
        size = np.abs(values)
        beyond = np.exp(-(size - 0.5) / 1.5) / 2
        chance = np.where(size > 0, beyond * (1 - np.exp(-1 / 1.5)), 1 - np.exp(-0.5 / 1.5))
        ideal += -np.log2(chance).sum() / 8
        total += len(encode(preset, values, (1, count, 1, 1)))
    assert total < 1.08 * ideal + 20 * 3


@PRESETS
def test_sparse_and_structured_arrays(preset: int) -> None:
    rng = np.random.default_rng(0)
    density = rng.beta(0.3, 6, (200, 1))
    mask = rng.random((200, 300)) < density
    ideal = -np.where(mask, np.log2(density), np.log2(1 - density)).sum() / 8
    payload = encode(preset, mask.astype(np.int32).reshape(-1), (200, 300, 1, 1), signed=False)
    assert len(payload) < 1.08 * ideal + 20
    plain = weights(0, (32, 32, 3, 3))
    lzma_size = len(lzma.compress(plain.astype(np.int8).tobytes(), preset=9))
    assert len(encode(preset, plain, (32, 32, 3, 3))) < 0.92 * lzma_size


@PRESETS
def test_trellis_state_is_a_context(preset: int) -> None:
    # Indices whose zeros depend on the state: without it they cannot be told apart.
    rng, state, values = np.random.default_rng(0), 0, []
    for _ in range(4000):
        k = 0 if state & 4 else int(rng.integers(1, 3))
        values.append(k)
        state = (state >> 1) ^ (0o13 >> 1 if state & 1 else 0) ^ (0o4 >> 1 if k & 1 else 0)
    array, layout = np.array(values, np.int32), (20, 200, 1, 1)
    with_state = encode(preset, array, layout, states=8)
    assert len(with_state) < 0.8 * len(encode(preset, array, layout))
    assert np.array_equal(decode(preset, with_state, layout, states=8), array)


@PRESETS
@pytest.mark.parametrize("states", [0, 8])
def test_rates_are_what_coding_costs(preset: int, states: int) -> None:
    layout = (16, 24, 3, 3)
    values = weights(3, layout, 0.5).clip(-6, 6).astype(np.int32)
    values[0] = 40  # rates do not know of the bound in the array's head
    encoder = _native.ContextEncoder(preset)
    out = np.empty(26 * values.size, np.uint16)
    encoder.rates(values, NONE, *layout, states, True, out)
    payload = encoder.finish()
    assert payload == encode(preset, values, layout, states=states)
    quantiser = np.zeros(values.size, np.uint8)
    if states:
        _native.trellis_quantisers(values, values.size, states, quantiser)
    table = out.reshape(-1, 2, 13)
    chosen = table[np.arange(1, values.size), quantiser[1:], values[1:] + 6]
    assert abs(chosen.sum() / 256 / 8 - len(payload)) < 0.01 * len(payload) + 6
    chances = 2.0 ** (-table.astype(np.float64) / 256)
    assert (chances.sum(axis=2) < 1.01).all()


@PRESETS
def test_bad_arguments(preset: int) -> None:
    encoder = _native.ContextEncoder(preset)
    for values, layout, states, signed, mask in (
        ([2**24 + 1], (1, 1, 1, 1), 0, True, NONE),
        ([-1], (1, 1, 1, 1), 0, False, NONE),
        ([1, 2], (1, 1, 1, 1), 0, True, NONE),
        ([1], (1, 1, 1, 1), 16, True, NONE),
        ([1], (1, 1, 1, 1), 0, True, np.zeros(1, np.uint8)),
        ([1], (1, 1, 1, 1), 0, True, np.ones(2, np.uint8)),
        ([], (2**32 - 1,) * 4, 0, True, NONE),
    ):
        with pytest.raises(ValueError):
            encoder.integers(np.array(values, np.int32), mask, *layout, states, signed)
    with pytest.raises(ValueError):
        encoder.floats(np.zeros(1, np.uint32), 8, 1, 1, 1, 1)
    with pytest.raises(ValueError):
        encoder.floats(np.full(1, 2**16, np.uint32), 16, 1, 1, 1, 1)
    with pytest.raises(ValueError):
        _native.ContextEncoder(2)
    assert encoder.finish() == b""


@PRESETS
def test_damaged_payloads(preset: int) -> None:
    layout = (12, 10, 3, 3)
    values = weights(5, layout)
    payload = encode(preset, values, layout)
    for longer in (b"\0", b"\1", bytes(8), b"\xff" * 9):
        with pytest.raises(ValueError, match="damaged"):
            decode(preset, payload + longer, layout)
    # Damage inside is the business of a checksum; what it decodes to must stay in range.
    rng, refused = np.random.default_rng(0), 0
    for cut in range(60):
        copy = bytearray(payload[: len(payload) - cut % 9])
        copy[rng.integers(len(copy))] ^= 1 << int(rng.integers(8))
        try:
            found = decode(preset, bytes(copy), layout)
            assert np.abs(found).max() <= 2**24 and not np.array_equal(found, values)
        except ValueError:
            refused += 1
    assert refused > 20
