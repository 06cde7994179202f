"""The tables and the picture of docs/methods-benchmark.md, written from the rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coding.table import Table
from pages import DOCS, table_of, write_tables

from storage_methods import plot
from storage_methods.papers import PAPERS, QUOTED

PAGE = DOCS / "methods-benchmark.md"
HEAD = (
    "recipe", "kind", "compression: file", "section", "error before → after",
    "speed: fewer products", "pruning: kept", "sharing: values", "index / weights / rest, bytes",
    "minutes", "paper",
)  # fmt: skip
TITLES = {"lenet300100": "LeNet-300-100", "lenet5": "LeNet-5", "resnet20": "ResNet-20"}

Row = Mapping[str, str]


METHODS = {  # page of a method: its recipes
    "binary": ("binary", "binarized"),
    "block-low-rank": ("block-low-rank",),
    "block-means": ("block-means",),
    "cnnpack": ("cnnpack",),
    "dynamic-surgery": ("dynamic-surgery",),
    "embedding": ("embedding",),
    "frequency-hashing": ("freshnets",),
    "frequency-pruning": ("frequency-pruning",),
    "hashing": ("hashednet",),
    "inq": ("inq",),
    "optimal-brain": ("optimal-brain",),
    "order-units": ("block-model",),
    "soft-weight-sharing": ("soft-weight-sharing",),
    "ternary": ("ternary",),
    "transform-coding": ("lapped", "wavelet"),
    "ttq": ("ttq",),
    "xnor-weights": ("xnor-weights",),
}
KINDS = {  # what goes, or what takes the weights' place: its recipes
    "weights": (
        "deep-compression", "dynamic-surgery", "soft-weight-sharing", "optimal-brain",
        "block-model",
    ),
    "blocks": ("block-pruning", "block-diagonal", "block-means"),
    "units": ("diversity",),
    "factors": ("embedding", "block-low-rank"),
    "frequencies": ("cnnpack", "frequency-pruning", "lapped", "wavelet"),
    "hashing": ("hashednet", "freshnets"),
    "few bits": ("binary", "binarized", "xnor-weights", "ternary", "ttq", "inq", "post-training"),
    "nothing": ("lossless",),
}  # fmt: skip
NOTES = {  # where a recipe can do little on a network
    ("resnet20", "block-means"): "13 of 20 layers too small for blocks and their labels, and stay",
}
FIGURES = ("network", "recipe", "file", "section", "error, %", "minutes", "the source's")


def write(table: Table, variants: Table) -> None:
    rows, changed = list(table.rows.values()), list(variants.rows.values())
    tables = {name: _network(rows, name) for name in TITLES}
    write_tables(PAGE, {**tables, "variants": _variants(changed), "quoted": _quoted()})
    for page in ("block-pruning", "block-diagonal"):
        made = {"blocks": _blocks(changed), "speed": _speed()}
        write_tables(DOCS / f"methods/{page}.md", made)
    for page, recipes in METHODS.items():
        own = [row for row in rows + changed if row["recipe"] in recipes]
        figures = table_of(FIGURES, (_figures(row) for row in own)) if own else []
        write_tables(DOCS / f"methods/{page}.md", {"figures": figures})
    plot.draw(rows, TITLES)


def _figures(row: Row) -> list[str]:
    """A row of the table on a method's own page."""
    ratio, error, kind = PAPERS.get((row["network"], row["recipe"]), ("", "", ""))
    what = row.get("variant", row.get("budget", ""))
    return [
        TITLES[row["network"]],
        row["recipe"] if what == "recipe" else f"{row['recipe']}, {what}",
        f"{float(row['ratio_file']):.1f}" if row["ratio_file"] else "",
        f"{float(row['ratio']):.1f}",
        _errors(row),
        f"{float(row['minutes']):.0f}",
        f"{ratio} {kind}, {error}" if ratio else "",
    ]


def _errors(row: Row) -> str:
    before, after = (100 - float(row[f"accuracy_{when}"]) for when in ("before", "after"))
    return f"{before:.2f} → {after:.2f}"


def _variants(rows: Iterable[Row]) -> list[str]:
    head = ("recipe", "variant", "network", "bytes of weights", "section", "error, %", "lost")
    body = [
        (
            row["recipe"], row["variant"], TITLES[row["network"]], f"{int(row['bytes_weights']):,}",
            f"{float(row['ratio']):.1f}", _errors(row), f"{float(row['drop_points']):.2f}",
        )
        for row in rows
    ]  # fmt: skip
    return table_of(head, body) if body else []


def _blocks(rows: Iterable[Row]) -> list[str]:
    """Networks pruned by the block and in parts, beside those pruned by single weights."""
    head = ("network", "recipe", "what", "bytes of the file", "error, %", "multiplications")
    body = []
    for row in rows:
        if row["variant"].startswith(("single weights", "blocks", "4 parts")):
            before, after = (float(row[f"multiplications{end}"]) for end in ("_before", ""))
            fewer = f"{before / max(after, 1):.1f} times fewer"
            size = f"{int(row['bytes_file']):,}"
            body.append(
                (TITLES[row["network"]], row["recipe"], row["variant"], size, _errors(row), fewer)
            )
    return table_of(head, body) if body else []


def _speed() -> list[str]:
    """Milliseconds of benchmarks/block_speed.py, and how many times ONNX Runtime's."""
    columns = ("milliseconds", "of_onnxruntime", "of_dense")
    rows = list(Table("block_speed", ("network", "batch", "engine"), columns).rows.values())
    head = ("network", "images at once", "network as", "milliseconds", "times ONNX Runtime")
    body = (
        (
            TITLES[row["network"]],
            row["batch"],
            row["engine"],
            f"{float(row['milliseconds']):.3g}",
            f"{float(row['of_onnxruntime']):.2f}",
        )
        for row in rows
    )
    return table_of(head, body) if rows else []


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
        _kind(row),
        f"{float(row['ratio_file']):.1f}",
        f"{float(row['ratio']):.1f}",
        _errors(row),
        f"{int(row['multiplications_before']) / max(int(row['multiplications']), 1):.1f}",
        f"{100 * float(row['density']):.1f} %",
        str(values) if values <= 4096 else "all",
        f"{int(row['index']):,} / {int(row['weights']):,} / {rest:,}",
        f"{float(row['minutes']):.1f}",
        f"{ratio} {kind}, {error}" if ratio else "",
    ]


def _kind(row: Row) -> str:
    kind = next((kind for kind, recipes in KINDS.items() if row["recipe"] in recipes), "")
    note = NOTES.get((row["network"], row["recipe"]))
    return f"{kind}; {note}" if note else kind


def _quoted() -> list[str]:
    return table_of(("method", "network", "ratio", "error, %", "kind"), QUOTED)
