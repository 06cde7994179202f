"""The tables of docs/codec-benchmark.md, written from the results."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from statistics import mean

from pages import DOCS, table_of, write_tables

from coding.integers import DEEPCABAC
from coding.table import RESULTS

PAGE = DOCS / "codec-benchmark.md"
OTHERS = ("xz -9e", "zstd -19", "brotli -q 11 -w 24", "Huffman", "Deep Compression")
PRESETS = ("reticule instant", "reticule fast", "reticule small")

Rows = list[dict[str, str]]


def write() -> None:
    """Put today's results into the page."""
    write_tables(PAGE, {name: table() for name, table in TABLES.items()})


def rows_of(name: str) -> Rows:
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _signed(text: str) -> str:
    return f"{float(text):+.1f} %"


def _bytes(text: str) -> str:
    return f"{int(text):,}"


def integers() -> list[str]:
    """Bytes of DeepCABAC, the others against it."""
    rows = {(r["network"], r["step"], r["coder"]): r for r in rows_of("codec_integers")}
    body = []
    for network, step in dict.fromkeys(key[:2] for key in rows):
        cells = [f"{network}, {step}", _bytes(rows[network, step, DEEPCABAC]["bytes"])]
        for coder in (*OTHERS, *PRESETS):
            row = rows.get((network, step, coder))
            cells.append(_signed(row["against_deepcabac_percent"]) if row else "")
        body.append(cells)
    return table_of(("network, step", f"{DEEPCABAC}, bytes", *OTHERS, *PRESETS), body)


def error() -> list[str]:
    body = []
    for theirs, ours in _pairs(rows_of("codec_error"), "mse"):
        body.append(
            (
                f"{theirs['network']}, {theirs['mse']}",
                f"{_bytes(theirs['bytes_payload'])} ({theirs['settings']})",
                _bytes(ours["bytes_payload"]),
                _signed(ours["against_nncodec_percent"]),
            )
        )
    return table_of(("network, mean squared error", "NNCodec, bytes", "Reticule, bytes", ""), body)


def accuracy() -> list[str]:
    pairs = list(_pairs(rows_of("codec_accuracy"), "accuracy"))
    body = [
        (
            f"{theirs['accuracy']} %",
            _bytes(theirs["bytes_file"]),
            _bytes(ours["bytes_file"]),
            _signed(ours["against_nncodec_percent"]),
        )
        for theirs, ours in pairs
    ]
    if pairs:
        average = mean(float(ours["against_nncodec_percent"]) for _, ours in pairs)
        body.append(("mean", "", "", _signed(str(average))))
    return table_of(("accuracy", "NNCodec, bytes", "Reticule, bytes", ""), body)


def _pairs(rows: Rows, column: str) -> Iterable[tuple[dict[str, str], dict[str, str]]]:
    """NNCodec's and our row of the same network and point."""
    own = {(r["network"], r[column]): r for r in rows if r["coder"] == "reticule"}
    for row in rows:
        if row["coder"] == "nncodec" and (row["network"], row[column]) in own:
            yield row, own[row["network"], row[column]]


def lossless() -> list[str]:
    rows = rows_of("codec_lossless")
    coders = list(dict.fromkeys(row["coder"] for row in rows))
    shares = {(r["network"], r["coder"]): f"{float(r['percent_of_raw']):.2f} %" for r in rows}
    networks = dict.fromkeys(row["network"] for row in rows)
    body = ((network, *(shares.get((network, c), "") for c in coders)) for network in networks)
    return table_of(("network", *coders), body)


def speed() -> list[str]:
    body = []
    for row in rows_of("codec_speed"):
        cells = [f"{row['network']}, {row['step']}, {row['coder']}"]
        for way in ("encode", "decode"):
            cells.append(f"{float(row[f'{way}_million_per_s']):.3g}")
            ratio = row[f"{way}_times_deepcabac"]
            cells.append(f"{float(ratio):.2g}" if ratio else "")
        body.append(cells)
    return table_of(
        (
            "network, step, coder",
            "encodes, million weights/s",
            "times DeepCABAC",
            "decodes, million weights/s",
            "times DeepCABAC",
        ),
        body,
    )


TABLES: dict[str, Callable[[], list[str]]] = {
    "integers": integers,
    "error": error,
    "accuracy": accuracy,
    "lossless": lossless,
    "speed": speed,
}
