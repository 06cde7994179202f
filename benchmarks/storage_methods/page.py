"""The tables and the picture of docs/methods-benchmark.md, written from the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coding.table import Table
from pages import DOCS, table_of, write_tables

from storage_methods import plot
from storage_methods.papers import PAPERS, QUOTED

PAGE = DOCS / "methods-benchmark.md"
HEAD = (
    "recipe", "compression: file", "section", "error before → after", "speed: fewer products",
    "pruning: kept", "sharing: values", "index / weights / rest, bytes", "minutes", "paper",
)  # fmt: skip
TITLES = {"lenet300100": "LeNet-300-100", "lenet5": "LeNet-5", "resnet20": "ResNet-20"}

Row = Mapping[str, str]


def write(table: Table) -> None:
    rows = list(table.rows.values())
    tables = {name: _network(rows, name) for name in TITLES}
    write_tables(PAGE, {**tables, "quoted": _quoted()})
    plot.draw(rows, TITLES)


def _network(rows: Iterable[Row], network: str) -> list[str]:
    """The cells of a network, the smallest file first; none without rows."""
    own = sorted(
        (row for row in rows if row["network"] == network), key=lambda row: int(row["bytes_file"])
    )
    return table_of(HEAD, (_cells(row) for row in own)) if own else []


def _cells(row: Row) -> list[str]:
    rest = sum(int(row[part]) for part in ("codebook", "bias", "header"))
    values = int(row["values"])
    ratio, error, kind = PAPERS.get((row["network"], row["recipe"]), ("", "", ""))
    name = row["recipe"] if row["budget"] == "recipe" else f"{row['recipe']} ({row['budget']})"
    return [
        name,
        f"{float(row['ratio_file']):.1f}",
        f"{float(row['ratio']):.1f}",
        f"{100 - float(row['accuracy_before']):.2f} → {100 - float(row['accuracy_after']):.2f}",
        f"{int(row['multiplications_before']) / max(int(row['multiplications']), 1):.1f}",
        f"{100 * float(row['density']):.1f} %",
        str(values) if values <= 4096 else "all",
        f"{int(row['index']):,} / {int(row['weights']):,} / {rest:,}",
        f"{float(row['minutes']):.1f}",
        f"{ratio} {kind}, {error}" if ratio else "",
    ]


def _quoted() -> list[str]:
    return table_of(("method", "network", "ratio", "error, %", "kind"), QUOTED)
