"""Streams of symbols: every coder restores them, and needs hardly more than the entropy."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reticule.codec import streams, tables
from reticule.codec.bits import BitReader, BitWriter, ByteReader, ByteWriter
from reticule.codec.limits import Limits
from reticule.errors import Fault, FormatError

LIMITS = Limits()


def skewed(seed: int, count: int, alphabet: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(alphabet, spread))
    return rng.choice(alphabet, count, p=shares).astype(np.uint16)


@st.composite
def symbol_streams(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    alphabet = draw(st.sampled_from([1, 2, 3, 5, 16, 17, 256, 257, 4096]))
    if draw(st.booleans()):
        symbols = draw(
            hnp.arrays(np.uint16, st.integers(0, 60), elements=st.integers(0, alphabet - 1))
        )
    else:
        count = draw(st.integers(1, 3000))
        spread = draw(st.sampled_from([0.01, 0.1, 1.0, 100.0]))
        symbols = skewed(draw(st.integers(0, 1000)), count, alphabet, max(spread, 3 / alphabet))
    return symbols, alphabet


@given(symbol_streams())
def test_every_coder_restores_every_stream(case):
    symbols, alphabet = case
    data = streams.encode(symbols, alphabet)
    reader = ByteReader(data, "stream")
    assert np.array_equal(streams.decode(reader, symbols.size, alphabet), symbols)
    reader.finish()
    counts = np.bincount(symbols, minlength=alphabet)
    for tag, coder in streams.REGISTRY.items():
        if symbols.size and (coded := coder.encode(symbols, counts)) is not None:
            reader = ByteReader(coded, "stream")
            found = coder.decode(reader, symbols.size, alphabet, LIMITS)
            assert np.array_equal(found, symbols), tag
            reader.finish()
            assert len(data) <= len(coded) + 1


@given(symbol_streams())
def test_a_stream_is_at_most_a_byte_longer_than_fixed_width(case):
    symbols, alphabet = case
    fixed = (symbols.size * max((alphabet - 1).bit_length(), 1) + 7) // 8
    assert len(streams.encode(symbols, alphabet)) <= fixed + 1


@pytest.mark.parametrize("alphabet", [2, 3, 16, 33, 256])
@pytest.mark.parametrize("spread", [0.3, 1.0, 10.0])
def test_rans_is_as_short_as_an_independent_entropy_coder(alphabet, spread):
    symbols = skewed(alphabet, 20_000, alphabet, spread)
    counts = np.bincount(symbols, minlength=alphabet)
    shares = np.maximum(counts / counts.sum(), 1e-6)
    model = constriction.stream.model.Categorical(shares / shares.sum(), perfect=False)
    oracle = constriction.stream.stack.AnsCoder()
    oracle.encode_reverse(symbols.astype(np.int32), model)
    coded = streams.REGISTRY[3].encode(symbols, counts)
    assert coded is not None
    table = len(tables.write_frequencies(*tables.plan_frequencies(counts)[:2]))
    assert len(coded) - table <= 1.003 * 4 * oracle.get_compressed().size + 8
    assert table <= 4 + 1.5 * alphabet


@pytest.mark.parametrize("alphabet", [2, 16, 33, 256])
def test_huffman_is_within_a_bit_of_the_entropy_and_rans_is_not_longer(alphabet):
    symbols = skewed(7, 20_000, alphabet, 1.0)
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = tables.huffman_lengths(counts)
    used = counts[counts > 0] / symbols.size
    entropy = -(used * np.log2(used)).sum()
    mean = (counts * lengths).sum() / symbols.size
    assert entropy <= mean < entropy + 1
    plan = tables.plan_frequencies(counts)
    assert plan[2] <= mean * symbols.size + 16 * alphabet


@given(hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(0, 2**40)))
def test_huffman_lengths_are_a_complete_code_and_longer_for_rarer_symbols(counts):
    counts[:2] += 1
    lengths = tables.huffman_lengths(counts).astype(int)
    assert ((lengths > 0) == (counts > 0)).all() and lengths.max() <= tables.MAX_CODE_LENGTH
    used = lengths[lengths > 0]
    assert (2.0**-used).sum() == 1
    order = np.argsort(counts[counts > 0], kind="stable")
    assert (np.diff(used[order]) <= 0).all()


def test_huffman_lengths_are_optimal_where_the_limit_does_not_bind():
    heap = sorted([1, 1, 2, 3, 5, 8, 13, 21])
    counts, total = np.array(heap), 0
    while len(heap) > 1:  # the textbook's greedy merge
        merged = heap.pop(0) + heap.pop(0)
        total += merged
        heap = sorted([*heap, merged])
    assert (counts * tables.huffman_lengths(counts)).sum() == total


@given(
    hnp.arrays(np.int64, st.integers(2, 300), elements=st.integers(1, 10**6)), st.integers(9, 14)
)
def test_frequencies_are_positive_and_fill_the_scale(counts, scale_bits):
    frequencies = tables.scaled_frequencies(counts, scale_bits)
    assert frequencies.min() >= 1 and frequencies.sum() == 1 << scale_bits


@given(symbol_streams())
def test_tables_survive_writing_and_reading(case):
    symbols, alphabet = case
    counts = np.bincount(symbols, minlength=alphabet)
    if np.count_nonzero(counts) < 2:
        return
    lengths = tables.huffman_lengths(counts)
    reader = ByteReader(tables.write_lengths(lengths), "table")
    assert np.array_equal(tables.read_lengths(reader, alphabet), lengths)
    scale_bits, frequencies, _ = tables.plan_frequencies(counts)
    reader = ByteReader(tables.write_frequencies(scale_bits, frequencies), "table")
    found = tables.read_frequencies(reader, alphabet)
    assert found[0] == scale_bits and np.array_equal(found[1], frequencies)
    reader.finish()


@given(st.lists(st.integers(0, 2**62), max_size=20))
def test_integers_of_any_size_survive(values):
    writer = ByteWriter()
    for value in values:
        writer.varint(value)
    reader = ByteReader(writer.bytes(), "numbers")
    assert [reader.varint() for _ in values] == values
    reader.finish()


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), max_size=30))
def test_golomb_codes_survive(values):
    writer = BitWriter()
    for value, order in values:
        writer.golomb(value, order)
    bits = BitReader(ByteReader(writer.bytes(), "bits"))
    assert [bits.golomb(order) for _, order in values] == [value for value, _ in values]
    bits.finish()


@given(st.integers(1, 2**40))
def test_fixed_point_logarithm_is_close_and_never_too_large(number):
    exact = np.log2(float(number)) * 4096
    assert exact - 3 <= tables.log2_fixed(np.array([number]))[0] <= exact + 1e-6


@pytest.mark.parametrize(
    ("data", "count", "alphabet", "fault"),
    [
        (b"", 1, 2, Fault.TRUNCATED),
        (b"\x09", 1, 2, Fault.UNKNOWN_CODER),
        (b"\x00\xff", 9, 2, Fault.TRUNCATED),  # nine bits of a byte
        (b"\x00\x01", 1, 2, Fault.BAD_STREAM),  # padding that is not zero
        (b"\x00\xc0", 1, 3, Fault.BAD_INDEX),  # symbol 3 of 0..2
        (b"\x00\x00", 1, 1, Fault.BAD_STREAM),  # a width of zero bits
        (b"\x01\x02", 1, 2, Fault.BAD_INDEX),
        (b"\x01\x00", 2**24 + 1, 2, Fault.TOO_LARGE),
        (b"\x02\x05\x00", 1, 2, Fault.TRUNCATED),
        (b"\x02\x01\x00", 1, 2, Fault.BAD_TABLE),
        (b"\x03\x01\x00", 1, 2, Fault.BAD_TABLE),
        (b"\x80\x00", 1, 2, Fault.UNKNOWN_CODER),
    ],
)
def test_streams_that_cannot_be_are_told_apart(data, count, alphabet, fault):
    with pytest.raises(FormatError) as caught:
        streams.decode(ByteReader(data, "stream"), count, alphabet)
    assert caught.value.fault is fault


@pytest.mark.parametrize("tag", [2, 3])
@pytest.mark.parametrize("claimed", [0.5, 0.99, 1.01, 2, 1000])
def test_a_wrong_count_is_noticed(tag, claimed):
    symbols = skewed(1, 4000, 16, 1.0)
    data = streams.REGISTRY[tag].encode(symbols, np.bincount(symbols, minlength=16))
    with pytest.raises(FormatError) as caught:
        streams.decode(ByteReader(bytes([tag]) + data, "stream"), int(4000 * claimed), 16)
    assert caught.value.fault is Fault.BAD_STREAM


def test_an_impossible_count_is_refused_before_anything_is_allocated():
    symbols = skewed(1, 4000, 16, 1.0)
    for tag in (0, 2, 3):
        coder = streams.REGISTRY[tag]
        data = coder.encode(symbols, np.bincount(symbols, minlength=16))
        with pytest.raises(FormatError):
            streams.decode(ByteReader(bytes([tag]) + data, "stream"), 2**50, 16)
