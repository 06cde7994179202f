"""Hostile ``.ret`` files: one for each attack of docs/attacks.md that a file can carry.

All of them have right checksums and lengths that add up, unless that is the attack.  Run
this after a change of the format; ``tests/test_codec_attacks.py`` reads what it writes.

    python attacks/make.py
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from codec_mutations import Parts, crafted, deflate, shape, varint  # noqa: E402

from reticule import _native  # noqa: E402
from reticule.codec import streams  # noqa: E402
from reticule.codec.chunks import PRESETS  # noqa: E402

# Chunks of the preset instant: streams of one symbol, and arrays made of them
ZERO = b"\x01\x00"
FLOAT = ZERO * 4
NOTHING = b"\x00"  # integers that are all zero
LARGE_FLOAT = ZERO * 2 + b"\x01\x70" + b"\x01\x7f"  # 3.2e38

# Structure of forms, without their shape
DENSE, CODEBOOK, SPARSE, GRID, TRANSFORM, FACTORED, LABELLED = 0, 2, 3, 4, 5, 13, 14
ONE = b"\x00\x80\x3f"  # no trellis, a step of 1


INNER = bytes([GRID]) + ONE


def labelled(rows: int, columns: int, *axes: int) -> bytes:
    """A tensor with so many blocks, up to its form."""
    return shape(LABELLED, *axes) + varint(rows) + varint(columns)


def small(structure: bytes, weights: int, chunk: bytes, preset: str) -> Parts:
    return crafted(structure, weights, chunk, kind=0x88 | PRESETS.index(preset))


def coded(symbols: list[int]) -> bytes:
    """A short rANS stream: tag, length, table and state."""
    data = streams.REGISTRY[2].encode(np.array(symbols, np.uint8), np.bincount(symbols))
    assert data is not None and len(data) < 128
    return b"\x02" + data


def adaptive(values: np.ndarray) -> bytes:
    """A chunk of the preset small."""
    coder = _native.ContextEncoder(1)
    coder.integers(values, np.zeros(0, np.uint8), 1, values.size, 1, 1, 0, True)
    return coder.finish()


def longer(stream: bytes) -> bytes:
    """The same stream with a byte more, which nobody uses."""
    return stream[:1] + varint(len(stream) - 1) + stream[2:] + b"\x01"


NOISE = np.random.default_rng(0).integers(-9, 10, 999, np.int32)
SKEWED = [0] * 80 + [1] * 15 + [2] * 5
METADATA = crafted(shape(DENSE, 1), 1, FLOAT)


def with_metadata(text: bytes) -> Parts:
    return replace(METADATA, metadata=text)


def with_names(names: list[str]) -> Parts:
    return with_metadata(METADATA.metadata.replace(b'["w"]', json.dumps(names).encode()))


ATTACKS: dict[str, tuple[Parts | bytes, str]] = {
    # More than there is
    "weights-without-bytes": (crafted(shape(DENSE, 2**31), 2**31, FLOAT), "TOO_LARGE"),
    "product-overflows": (crafted(shape(DENSE, 2**32, 2**32), 0, FLOAT), "TOO_LARGE"),
    "axis-behind-zero": (crafted(shape(DENSE, 0, 2**31, 2**31), 0), "TOO_LARGE"),
    "row-pointers": (crafted(shape(SPARSE, 2**31 - 1, 0) + b"\x00", 0), "TOO_LARGE"),
    "rank": (crafted(shape(DENSE, *[1] * 15), 1, FLOAT), "TOO_LARGE"),
    "forms-in-forms": (
        crafted(shape(SPARSE, 1) + bytes([SPARSE] * 8 + [DENSE]), 1, NOTHING), "TOO_LARGE",
    ),
    "masks-in-masks": (
        crafted(shape(SPARSE, 2**21) + bytes([SPARSE] * 6 + [DENSE]), 2**21, NOTHING), "TOO_LARGE",
    ),
    "many-empty-tensors": (
        replace(
            with_names([f"{number:x}" for number in range(2**14)]),
            tensors=(shape(SPARSE, 0) + bytes([SPARSE] * 6 + [DENSE]),) * 2**14,
            weights=0,
            chunks=(),
        ),
        "TOO_LARGE",
    ),
    "centroids": (
        crafted(shape(CODEBOOK, 1) + varint(2**17) + bytes([DENSE]), 1, NOTHING), "TOO_LARGE",
    ),
    "ranks-without-numbers": (
        crafted(shape(FACTORED, 1, 1) + varint(2**16) + varint(2**12 + 1), 1, NOTHING),
        "TOO_LARGE",
    ),
    "labels-too-many": (
        crafted(labelled(1024, 1024, 1024, 1024) + INNER, 2**20, NOTHING * 3), "TOO_LARGE",
    ),
    "labels-in-labels": (
        crafted(labelled(1, 1, 2, 2) + varint(LABELLED) + b"\x01\x01" + INNER, 4, NOTHING * 5),
        "UNKNOWN_FORM",
    ),
    "one-symbol-too-often": (
        crafted(shape(GRID, 2**24 + 1) + ONE, 2**24 + 1, b"\x02\x01\x02"), "TOO_LARGE",
    ),
    "codes-too-few": (crafted(shape(GRID, 10**6) + ONE, 10**6, b"\x03\x00\xff"), "TRUNCATED"),
    "padded-integer": (crafted(shape(DENSE) + b"", 1, FLOAT).start + b"\x80\x00", "TOO_LARGE"),
    "weights-that-differ": (crafted(shape(DENSE, 2), 1, FLOAT), "TENSORS"),
    # Bombs
    "metadata-bomb": (
        replace(METADATA, deflated=deflate(bytes(2**23)), forged=(("inflated", 2**22),)),
        "METADATA",
    ),
    "metadata-bomb-declared": (
        replace(METADATA, deflated=deflate(bytes(2**23)), forged=(("inflated", 2**23),)),
        "TOO_LARGE",
    ),
    "metadata-of-brackets": (with_metadata(b"[" * 2**19), "TOO_LARGE"),
    "metadata-nested": (with_metadata(b"[" * 10**5 + b"]" * 10**5), "METADATA"),
    "metadata-long-number": (with_metadata(b"7" * 10**5), "METADATA"),
    "structure-bomb": (
        replace(METADATA, structure=deflate(bytes(2**23)), forged=(("structure", 3),)), "TENSORS",
    ),
    "structure-bomb-declared": (
        replace(METADATA, structure=deflate(bytes(2**23)), forged=(("structure", 2**23),)),
        "TOO_LARGE",
    ),
    # Two readers, two networks; words that do harm elsewhere
    "name-twice": (
        with_metadata(METADATA.metadata.replace(b'"tensors"', b'"tensors":[],"tensors"')),
        "METADATA",
    ),
    "terminal-escape": (with_names(["\x1b]0;owned\x07"]), "METADATA"),
    "line-break": (with_names(["w\nreticule: all is well"]), "METADATA"),
    "cycle": (
        with_metadata(METADATA.metadata.replace(b'"x"]]', b'"y"]]')), "GRAPH",
    ),
    "steps-back": (with_metadata(METADATA.metadata.replace(b'["x"]]', b"[7]]")), "GRAPH"),
    "archive-behind": (METADATA.bytes() + b"PK\x05\x06" + bytes(18), "TRAILING"),
    "pickle": (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "NOT_RET"),
    # Chunks
    "chunk-length": (replace(METADATA, forged=(("chunk 0", 2**62 - 1),)), "TRUNCATED"),
    "chunk-lengths-overlap": (
        replace(crafted(shape(DENSE, 2), 2, FLOAT, kind=0), forged=(("chunk 0", 1),)), "TRAILING",
    ),
    "unknown-preset": (replace(METADATA, kind=0x8B), "UNKNOWN_CODER"),
    "unknown-coder": (crafted(shape(DENSE, 1), 1, b"\x4d"), "UNKNOWN_CODER"),
    # Tables and streams
    "incomplete-table": (
        crafted(shape(GRID, 9) + ONE, 9, b"\x03\x02\x04\x00\x00\xff\xff"), "BAD_TABLE",
    ),
    "stream-goes-on": (
        crafted(shape(GRID, 100) + ONE, 100, b"\x02" + longer(coded(SKEWED))), "BAD_STREAM",
    ),
    "stream-too-short": (
        crafted(shape(GRID, 10**6) + ONE, 10**6, b"\x02" + coded(SKEWED)), "BAD_STREAM",
    ),
    "adaptive-padded": (
        small(shape(GRID, 999) + ONE, 999, adaptive(NOISE) + bytes(9), "small"), "BAD_STREAM",
    ),
    "adaptive-ones": (small(shape(GRID, 100) + ONE, 100, b"\xff" * 99, "small"), "BAD_STREAM"),
    "adaptive-goes-on": (small(shape(GRID, 1) + ONE, 1, bytes(99), "fast"), "BAD_STREAM"),
    # Integers
    "integer": (crafted(shape(GRID, 1) + ONE, 1, varint(2**26)), "BAD_INDEX"),
    "index-of-trellis": (
        crafted(shape(GRID, 1) + b"\x01\x80\x3f", 1, varint(2**24 + 2)), "BAD_INDEX",
    ),
    "label-outside": (
        crafted(labelled(2, 1, 2, 2) + INNER, 4, b"\x02\x01\x02" + NOTHING * 2), "BAD_INDEX",
    ),
    "labels-that-differ": (
        crafted(
            labelled(1, 2, 2, 2**16) + INNER, 2**17, NOTHING * 3,
            NOTHING + b"\x01\x01\x01" + NOTHING,
        ),
        "BAD_INDEX",
    ),
    "rank-without-centroid": (
        crafted(shape(CODEBOOK, 1) + b"\x01\x00", 1, b"\x01\x01\x01" + FLOAT), "BAD_INDEX",
    ),
    "codebook-without-centroids": (
        crafted(shape(CODEBOOK, 1) + b"\x00\x00", 1, NOTHING), "BAD_INDEX",
    ),
    "position-outside": (
        crafted(shape(SPARSE, 9) + b"\x00", 9, b"\x01\x05\x00\x01\x01" + FLOAT), "BAD_INDEX",
    ),
    "positions-too-many": (
        crafted(shape(SPARSE, 9) + b"\x00", 9, b"\x00\x0a\x00\x01\x00" + FLOAT), "BAD_INDEX",
    ),
    "escapes-without-end": (
        crafted(shape(SPARSE, 9) + b"\x00", 9, b"\x0b\x01" + varint(2**40)), "BAD_INDEX",
    ),
    # Weights that are no numbers
    "infinite": (crafted(shape(DENSE, 1), 1, ZERO * 2 + b"\x01\x80\x01\x01\x7f"), "BAD_VALUE"),
    "step-nan": (crafted(shape(GRID, 1) + b"\x00\xc0\x7f", 1, NOTHING), "BAD_VALUE"),
    "step-infinite": (crafted(shape(GRID, 1) + b"\x00\x80\x7f", 1, NOTHING), "BAD_VALUE"),
    "step-zero": (crafted(shape(GRID, 1) + b"\x00\x00\x00", 1, NOTHING), "BAD_VALUE"),
    "step-negative": (crafted(shape(GRID, 1) + b"\x00\x80\xbf", 1, NOTHING), "BAD_VALUE"),
    "product-infinite": (
        crafted(shape(GRID, 1) + b"\x00\x70\x7f", 1, b"\x04\x01\x04"), "BAD_VALUE",
    ),
    "sum-infinite": (
        crafted(shape(TRANSFORM, 1, 1, 2, 2) + b"\x00", 4, LARGE_FLOAT), "BAD_VALUE",
    ),
    # Forms that make no sense
    "unknown-form": (crafted(shape(77, 1), 1, FLOAT), "UNKNOWN_FORM"),
    "unknown-trellis": (crafted(shape(GRID, 1) + b"\x07\x80\x3f", 1, NOTHING), "UNKNOWN_FORM"),
    "trellis-under-mask": (
        crafted(shape(SPARSE, 1) + b"\x04\x01\x80\x3f", 1, NOTHING), "UNKNOWN_FORM",
    ),
    "transform-under-mask": (
        crafted(shape(SPARSE, 1, 1, 1, 1) + b"\x05\x00", 1, NOTHING), "UNKNOWN_FORM",
    ),
    "transform-without-kernels": (crafted(shape(TRANSFORM, 1) + b"\x00", 1, FLOAT), "UNKNOWN_FORM"),
    "transform-too-wide": (
        crafted(shape(TRANSFORM, 1, 1, 1, 2**12) + b"\x00", 2**12, FLOAT), "UNKNOWN_FORM",
    ),
}  # fmt: skip


def main() -> None:
    for old in HERE.glob("*.ret"):
        old.unlink()
    for name, (attack, _) in ATTACKS.items():
        data = attack if isinstance(attack, bytes) else attack.bytes()
        (HERE / f"{name}.ret").write_bytes(data)
    expected = {f"{name}.ret": fault for name, (_, fault) in ATTACKS.items()}
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
