"""Writes fuzz/corpus: small valid inputs for every decoder (see decoders.cpp for the layout)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reticule import _native
from reticule.codec import streams
from reticule.codec.bits import ByteReader
from reticule.codec.limits import Limits

CORPUS = Path(__file__).parent / "corpus"
STATES = (0, 8, 32, 64)
NOTHING = np.empty(0, np.uint8)
PATTERN = 0b01101001


def context(preset: int, arrays: list[tuple[int, int, tuple[int, int, int, int]]]) -> bytes:
    """Arrays of (kind, index of states, layout) with random contents."""
    rng = np.random.default_rng(len(arrays))
    encoder = _native.ContextEncoder(preset)
    head = bytes([preset, len(arrays) - 1])
    for kind, states, layout in arrays:
        size = int(np.prod(layout))
        masked = kind & 16
        head += bytes([kind | states << 2, *layout, PATTERN])
        places = np.arange(size)
        labels = ((places ^ places >> 3) * PATTERN % 1024).astype(np.uint16) if kind & 32 else None
        mask = np.array([PATTERN >> (i & 7) & 1 for i in range(size)], np.uint8)
        if kind & 3 < 2:
            values = np.rint(rng.laplace(0, 1.5, size)).astype(np.int32)
            values = np.abs(values) if kind & 1 else values
            values = values * mask.astype(np.int32) if masked else values
            given = mask if masked else NOTHING
            encoder.integers(values, given, *layout, STATES[states], not kind & 1, labels)
        else:
            dtype, bits = ("f2", 16) if kind & 3 == 2 else ("f4", 32)
            numbers = rng.normal(size=size).astype(dtype)
            patterns = numbers.view(f"u{bits // 8}").astype(np.uint32)
            encoder.floats(patterns, bits, *layout, labels)
    return b"\1" + head + encoder.finish()


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    conv, linear, vector = (6, 5, 3, 3), (12, 20, 1, 1), (1, 40, 1, 1)
    files = {}
    for preset in (0, 1):
        files[f"integers-{preset}"] = context(preset, [(0, 0, conv), (0, 0, linear)])
        files[f"trellis-{preset}"] = context(preset, [(0, n, conv) for n in (1, 2, 3)])
        files[f"mask-{preset}"] = context(preset, [(1, 0, linear), (16, 0, linear)])
        files[f"floats-{preset}"] = context(preset, [(3, 0, linear), (2, 0, vector)])
        files[f"mixed-{preset}"] = context(
            preset, [(0, 1, conv), (0, 0, vector), (3, 0, vector), (1, 0, conv)]
        )
        files[f"labels-{preset}"] = context(
            preset, [(32, 1, conv), (33, 0, linear), (48, 0, linear), (34, 0, conv)]
        )
        for name in ("integers", "mask", "floats", "labels"):  # even: a round trip of these bytes
            files[f"trip-{name}-{preset}"] = b"\0" + files[f"{name}-{preset}"][1:]
    symbols = np.minimum(rng.geometric(0.3, 600), 200).astype(np.uint16)
    files["bits"] = b"\1" + bytes([4, 5, 88, 2]) + rng.bytes(375)
    files["trip-rans"] = b"\0\2" + symbols.astype(np.uint8).tobytes()
    files["positions"] = b"\1" + bytes([5, 3, 20, 30, 0, 0, 60, 0]) + bytes([3, 0] * 60)
    files["trellis"] = b"\1" + bytes([6, 1, 9, 0]) + rng.bytes(90)
    coded = streams.encode(symbols, 256)
    reader = ByteReader(coded, "corpus")
    assert (streams.decode(reader, 600, 256, Limits()) == symbols).all()
    files["rans"] = b"\1" + bytes([2, 0, 88, 2]) + coded[3:]
    for name, data in files.items():
        (CORPUS / name).write_bytes(data)


if __name__ == "__main__":
    main()
