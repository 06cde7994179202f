"""Preset instant: how fast static streams decode, and what they cost in bytes.

    python benchmarks/instant.py                      the streams alone
    python benchmarks/instant.py ../shared/models     and ResNet-20 (resnet20.th and .onnx)

*Streams*: normally distributed integers, zigzag, at about 2.4, 4 and 7 bits of entropy, and noise.
Everything behind ``streams.decode`` counts: reading the table, allocating the symbols, decoding.
Rivals decode the same symbols, a byte each: zlib, zstd (whose literals are Huffman codes in four
streams), and constriction's ANS coder, which gets its model for nothing.  Those that
are not installed are left out.

*ResNet-20*: round(w * 2**s) of all kernels and matrices, s = 3..6, as the chunks of a file: bytes
against the preset small and against DeepCABAC (from results/codec_integers.csv, if that has been
made); decoding from payload to int32 arrays.

All on one thread; times are processor time of the fastest round, as other load on the
machine can only add to it.  The tables are written to benchmarks/results/instant_streams.csv and
instant_sizes.csv.
"""

from __future__ import annotations

import csv
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from reticule.codec import streams
from reticule.codec.bits import ByteReader

SOURCES = {  # name: alphabet, standard deviation (None: uniform)
    "4 bits, 2.4 of entropy": (16, 1.27),
    "5 bits, 4 of entropy": (32, 3.87),
    "8 bits, 7 of entropy": (256, 31.0),
    "10 bits, 8 of entropy": (1024, 62.0),
    "noise of 4 bits": (16, None),
    "noise of 8 bits": (256, None),
}
COUNTS = (1 << 12, 1 << 16, 1 << 22)
SYMBOLS_A_ROUND = 1 << 23
ROUNDS = 7
RESULTS = Path(__file__).parent / "results"

Coded = tuple[str, int, Callable[[], np.ndarray]]  # name, bytes, decoder


def symbols_of(source: str, count: int) -> np.ndarray:
    """Seeded symbols below the source's alphabet."""
    alphabet, deviation = SOURCES[source]
    rng = np.random.default_rng(count)
    if deviation is None:
        return rng.integers(0, alphabet, count).astype(streams.symbol_type(alphabet))
    integers = np.rint(rng.normal(0, deviation, count)).astype(np.int64)
    zigzag = np.where(integers < 0, -2 * integers - 1, 2 * integers)
    return np.minimum(zigzag, alphabet - 1).astype(streams.symbol_type(alphabet))


def coders(symbols: np.ndarray, alphabet: int) -> Iterator[Coded]:
    """Ours first; then rivals that are there."""
    data = streams.encode(symbols, alphabet)
    name = ("bits", "constant", "rANS", "rANS, 4 lanes")[data[0]]
    yield (
        f"reticule {name}",
        len(data),
        lambda: streams.decode(ByteReader(data, "benchmark"), symbols.size, alphabet),
    )
    if symbols.dtype == np.uint8:
        plain = symbols.tobytes()
        deflated = zlib.compress(plain, 6)
        yield "zlib -6", len(deflated), lambda: np.frombuffer(zlib.decompress(deflated), np.uint8)
        yield from zstd(plain)
    yield from ans(symbols, alphabet)


def zstd(plain: bytes) -> Iterator[Coded]:
    try:
        import zstandard
    except ImportError:
        return
    coded = zstandard.ZstdCompressor(level=3).compress(plain)
    decoder = zstandard.ZstdDecompressor()
    yield "zstd -3", len(coded), lambda: np.frombuffer(decoder.decompress(coded), np.uint8)


def ans(symbols: np.ndarray, alphabet: int) -> Iterator[Coded]:
    try:
        import constriction
    except ImportError:
        return
    shares = np.maximum(np.bincount(symbols, minlength=alphabet) / symbols.size, 1e-6)
    model = constriction.stream.model.Categorical(shares / shares.sum(), perfect=False)
    encoder = constriction.stream.stack.AnsCoder()
    encoder.encode_reverse(symbols.astype(np.int32), model)
    words = encoder.get_compressed()

    def decode() -> np.ndarray:
        return constriction.stream.stack.AnsCoder(words).decode(model, symbols.size)

    yield "constriction ANS", 4 * words.size, decode


def fastest(once: Callable[[], object], repeats: int) -> float:
    """Seconds of processor time for one call: the fastest round's mean."""
    once()
    rounds = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(repeats):
            once()
        rounds.append((time.thread_time() - start) / repeats)
    return min(rounds)


def entropy(symbols: np.ndarray) -> float:
    """Bits for each symbol."""
    shares = np.bincount(symbols) / symbols.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def measure_streams() -> Iterator[dict[str, object]]:
    for source, (alphabet, _) in SOURCES.items():
        for count in COUNTS:
            symbols = symbols_of(source, count)
            for name, size, decode in coders(symbols, alphabet):
                if not np.array_equal(decode(), symbols):
                    raise RuntimeError(f"{name} does not restore {source}")
                slow = name == "constriction ANS" or name.startswith("zlib")
                repeats = max(SYMBOLS_A_ROUND // count // (8 if slow else 1), 1)
                seconds = fastest(decode, repeats)
                yield {
                    "symbols": source,
                    "count": count,
                    "coder": name,
                    "entropy_bits": round(entropy(symbols), 3),
                    "coded_bits": round(8 * size / count, 3),
                    "decode_million_per_s": round(count / seconds / 1e6),
                }


def measure_sizes(models: Path) -> Iterator[dict[str, object]]:
    from coding.integers import quantised
    from coding.networks import Subject
    from coding.ours import Integers

    for step, integers in quantised(Subject("resnet20", models)):
        count = sum(values.size for values in integers.values())
        instant, small = Integers("instant", integers), Integers("small", integers)
        payloads = instant.encode()
        size, best = (sum(map(len, parts)) for parts in (payloads, small.encode()))
        for found, given in zip(instant.decode(payloads), integers.values(), strict=True):
            if not np.array_equal(found, given.reshape(-1)):
                raise RuntimeError(f"step {step} is not restored")
        seconds = fastest(lambda: instant.decode(payloads), 5)  # noqa: B023
        rival = deepcabac(step)
        yield {
            "network": "resnet20",
            "step": step,
            "instant_bytes": size,
            "small_bytes": best,
            "against_small_percent": round(100 * (size / best - 1), 2),
            "deepcabac_bytes": rival or "",
            "against_deepcabac_percent": round(100 * (size / rival - 1), 2) if rival else "",
            "decode_million_per_s": round(count / seconds / 1e6),
        }


def deepcabac(step: str) -> int | None:
    """What benchmarks/codec.py has measured."""
    path = RESULTS / "codec_integers.csv"
    if not path.exists():
        return None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["network"], row["step"], row["coder"]) == ("resnet20", step, "DeepCABAC"):
                return int(row["bytes"])
    return None


def write(name: str, measured: Iterator[dict[str, object]]) -> None:
    rows = []
    for row in measured:
        print(", ".join(map(str, row.values())), flush=True)
        rows.append(row)
    with (RESULTS / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    write("instant_streams.csv", measure_streams())
    if len(sys.argv) > 1:
        write("instant_sizes.csv", measure_sizes(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
