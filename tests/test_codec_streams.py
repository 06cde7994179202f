"""Streams of symbols: every coder restores them, and needs hardly more than the entropy."""

from __future__ import annotations

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reticule import _native
from reticule.codec import streams, tables
from reticule.codec.bits import BitWriter, ByteReader, ByteWriter
from reticule.errors import Fault, FormatError

TAGS = {1: 2, 4: 3}  # of the coders with so many lanes


def skewed(seed: int, count: int, alphabet: int, spread: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(alphabet, spread))
    return rng.choice(alphabet, count, p=shares).astype(np.uint16)


def coded_in(lanes: int, symbols: np.ndarray, alphabet: int) -> bytes:
    """A stream of this number of lanes, however long or short it is; empty if it does not pay."""
    coder = streams._Rans(lanes, range(1 << 62))
    kept = symbols.astype(streams.symbol_type(alphabet))
    coded = coder.encode(kept, np.bincount(symbols, minlength=alphabet))
    return b"" if coded is None else bytes([TAGS[lanes]]) + coded


def decoded(data: bytes, count: int, alphabet: int) -> np.ndarray:
    reader = ByteReader(data, "stream")
    symbols = streams.decode(reader, count, alphabet)
    reader.finish()
    return symbols


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
    found = decoded(data, symbols.size, alphabet)
    assert np.array_equal(found, symbols)
    assert found.dtype == (np.uint8 if alphabet <= 256 else np.uint16)
    if not symbols.size:
        return
    counts = np.bincount(symbols, minlength=alphabet)
    for tag in (0, 1):
        coded = streams.REGISTRY[tag].encode(symbols.astype(streams.symbol_type(alphabet)), counts)
        if coded is not None:
            assert np.array_equal(decoded(bytes([tag]) + coded, symbols.size, alphabet), symbols)
            assert len(data) <= len(coded) + 1
    for lanes in TAGS:
        if coded := coded_in(lanes, symbols, alphabet):
            assert np.array_equal(decoded(coded, symbols.size, alphabet), symbols), lanes


@given(
    st.integers(1, 400),
    st.integers(0, 3),
    st.integers(0, 1000),
    st.sampled_from([0.001, 0.02, 0.3]),
)
def test_lanes_of_very_different_fill_are_not_misread(count, lane, seed, rare):
    """One lane has moved words out while the next has hardly begun."""
    rng = np.random.default_rng(seed)
    symbols = (rng.random(count) < rare).astype(np.uint8)
    symbols[lane::4] = 1
    frequencies = np.array([4095, 1], np.uint32)
    out = np.empty(2 * count + 64, np.uint8)
    used = _native.rans_encode(symbols, frequencies, 12, 4, out)
    found = np.empty(count, np.uint8)
    _native.rans_decode(out[out.size - used :].copy(), frequencies, 12, 4, found)
    assert np.array_equal(found, symbols)


def test_more_lanes_take_hardly_more_bytes_and_are_chosen_for_long_streams():
    short, long = (skewed(3, count, 16, 1.0) for count in (2_000, 40_000))
    assert streams.encode(short, 16)[0] == 2 and streams.encode(long, 16)[0] == 3
    for symbols in (short, long):
        assert len(coded_in(4, symbols, 16)) <= len(coded_in(1, symbols, 16)) + 32


@given(symbol_streams())
def test_a_stream_is_at_most_a_byte_longer_than_fixed_width(case):
    symbols, alphabet = case
    fixed = (symbols.size * max((alphabet - 1).bit_length(), 1) + 7) // 8
    assert len(streams.encode(symbols, alphabet)) <= fixed + 1


@given(st.integers(1, 16), st.integers(0, 80), st.randoms(use_true_random=False))
def test_fixed_width_is_most_significant_bit_first(width, count, random):
    symbols = np.array([random.randrange(1 << width) for _ in range(count)], np.uint16)
    text = "".join(f"{symbol:0{width}b}" for symbol in symbols)
    size = (len(text) + 7) // 8
    expected = int(text.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")
    for dtype in (np.uint8, np.uint16) if width <= 8 else (np.uint16,):
        packed = np.empty(size, np.uint8)
        _native.pack_bits(symbols.astype(dtype), width, packed)
        assert packed.tobytes() == expected
        found = np.empty(count, dtype)
        _native.unpack_bits(packed, width, found)
        assert np.array_equal(found, symbols)


@pytest.mark.parametrize("alphabet", [2, 3, 16, 33, 256])
@pytest.mark.parametrize("spread", [0.3, 1.0, 10.0])
def test_rans_is_as_short_as_an_independent_entropy_coder(alphabet, spread):
    symbols = skewed(alphabet, 20_000, alphabet, spread)
    counts = np.bincount(symbols, minlength=alphabet)
    shares = np.maximum(counts / counts.sum(), 1e-6)
    model = constriction.stream.model.Categorical(shares / shares.sum(), perfect=False)
    oracle = constriction.stream.stack.AnsCoder()
    oracle.encode_reverse(symbols.astype(np.int32), model)
    coded = coded_in(4, symbols, alphabet)
    assert coded
    assert len(coded) <= 1.003 * 4 * oracle.get_compressed().size + alphabet + 32  # with its table


@pytest.mark.parametrize("alphabet", [2, 16, 33, 256])
def test_a_stream_is_shorter_than_the_best_code_of_whole_bits(alphabet):
    symbols = skewed(7, 20_000, alphabet, 1.0)
    counts = np.bincount(symbols, minlength=alphabet)
    heap, merged = sorted(counts[counts > 0].tolist()), 0
    while len(heap) > 1:  # Huffman's greedy merge: its sums are the bits of the code
        pair = heap.pop(0) + heap.pop(0)
        merged += pair
        heap = sorted([*heap, pair])
    table = tables.plan_table(counts)
    assert table.bits <= merged + 8 * alphabet
    assert abs(8 * len(coded_in(1, symbols, alphabet)) - table.bits) <= 64


@given(
    hnp.arrays(np.uint64, st.integers(2, 300), elements=st.integers(0, 2**32 - 1)),
    st.integers(9, 14),
)
def test_slots_are_shared_in_proportion_and_everybody_gets_one(weights, scale_bits):
    weights[0] += weights.max() == 0
    shares = np.empty(weights.size, np.uint32)
    _native.share_slots(weights, scale_bits, shares)
    assert shares.min() >= 1 and shares.sum() == 1 << scale_bits
    exact = weights / weights.sum() * ((1 << scale_bits) - weights.size) + 1
    assert np.abs(shares - exact).max() < 1 + 1e-6


@given(symbol_streams())
def test_tables_survive_writing_and_reading(case):
    symbols, alphabet = case
    counts = np.bincount(symbols, minlength=alphabet)
    if np.count_nonzero(counts) < 2:
        return
    table = tables.plan_table(counts)
    data = np.frombuffer(tables.write_table(table), np.uint8)
    scale_bits, frequencies, size = tables.read_table(data, alphabet)
    assert scale_bits == table.scale_bits and np.array_equal(frequencies, table.frequencies)
    assert size == data.size and ((frequencies > 0) == (counts > 0)).all()
    longer = np.concatenate([data, np.full(3, 255, np.uint8)])
    assert tables.read_table(longer, alphabet)[2] == size
    with pytest.raises(ValueError):
        tables.read_table(data[:-1], alphabet)


@given(st.binary(max_size=40), st.sampled_from([2, 3, 16, 256, 257, 4096]))
def test_any_bytes_are_a_valid_table_or_none(data, alphabet):
    try:
        scale_bits, frequencies, size = tables.read_table(np.frombuffer(data, np.uint8), alphabet)
    except ValueError:
        return
    assert frequencies.sum() == 1 << scale_bits and np.count_nonzero(frequencies) >= 2
    assert 1 <= scale_bits <= tables.MAX_SCALE_BITS and size <= len(data)
    assert alphabet > 256 or frequencies.max() <= tables.MAX_FREQUENCY_OF_BYTES


@given(st.binary(max_size=200), st.integers(1, 300), st.sampled_from([1, 4]))
def test_any_bytes_are_a_valid_payload_or_none(data, count, lanes):
    frequencies = np.array([2000, 1000, 1000, 95, 1], np.uint32)
    symbols = np.empty(count, np.uint8)
    try:
        _native.rans_decode(np.frombuffer(data, np.uint8), frequencies, 12, lanes, symbols)
    except ValueError:
        return
    out = np.empty(2 * count + 64, np.uint8)
    used = _native.rans_encode(symbols, frequencies, 12, lanes, out)
    assert used <= len(data)  # the encoder's is the shortest


@pytest.mark.parametrize("lanes", [1, 4])
def test_every_damage_to_a_long_stream_is_noticed(lanes):
    symbols = skewed(5, 1500, 16, 1.0)
    good = coded_in(lanes, symbols, 16)
    head = 1 + 2 + len(tables.write_table(tables.plan_table(np.bincount(symbols, minlength=16))))
    rng = np.random.default_rng(0)
    for place in rng.integers(head, len(good), 200):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(FormatError) as caught:
            decoded(bytes(bad), symbols.size, 16)
        assert caught.value.fault is Fault.BAD_STREAM


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zigzag_symbols_become_integers(dtype):
    symbols = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    integers = np.empty(symbols.size, np.int32)
    _native.unzigzag(symbols, integers)
    expected = np.where(symbols % 2, -(symbols.astype(int) + 1) // 2, symbols // 2)
    assert np.array_equal(integers, expected)


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
    text = "".join(f"{byte:08b}" for byte in writer.bytes())
    for value, order in values:
        zeros = text.index("1")
        end = 2 * zeros + 1 + order
        assert int(text[:end], 2) - (1 << order) == value
        text = text[end:]
    assert "1" not in text and len(text) < 8


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


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("claimed", [0.5, 0.99, 1.01, 2, 1000])
def test_a_wrong_count_is_noticed(lanes, claimed):
    data = coded_in(lanes, skewed(1, 4000, 16, 1.0), 16)
    with pytest.raises(FormatError) as caught:
        decoded(data, int(4000 * claimed), 16)
    assert caught.value.fault is Fault.BAD_STREAM


def test_an_impossible_count_is_refused_before_anything_is_allocated():
    symbols = skewed(1, 4000, 16, 1.0)
    fixed = b"\0" + streams.REGISTRY[0].encode(
        symbols.astype(np.uint8), np.bincount(symbols, minlength=16)
    )
    for data in (fixed, coded_in(1, symbols, 16), coded_in(4, symbols, 16)):
        with pytest.raises(FormatError):
            decoded(data, 2**50, 16)
