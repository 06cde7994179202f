"""The tables of docs/science-benchmark.md, written from the rows."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean, median, pstdev

from coding.table import Table
from pages import DOCS, table_of, write_tables
from storage_methods.page import TITLES

from network_science import analyses
from network_science.density import at_bytes
from network_science.planted import FIND

PAGES = (
    DOCS / "science-benchmark.md",
    DOCS / "methods/order-units.md",
    DOCS / "methods/select-units.md",
    DOCS / "what-network-science-says.md",
)
Rows = list[dict[str, str]]


def write(tables: dict[str, Table]) -> None:
    rows = {name: list(table.rows.values()) for name, table in tables.items()}
    made = {
        "channels": _channels(rows["channels"]),
        "planted": _planted(rows["science_planted"]),
        "scale": _scale(rows["science_scale"]),
        "masks": _masks(rows["science_masks"]),
        "orders": _orders(rows["science_orders"]),
        "neurons": _neurons(rows["science_neurons"]),
        "submodularity": _submodularity(rows["science_submodularity"]),
        "density": _density(rows["science_density"]),
        "predictors": _predictors(rows["science_predictors"]),
    }
    made["embeddings"] = _embeddings(rows["science_embeddings"])
    made["equal rank"] = _equal_rank(rows["science_embeddings"])
    made |= _analyses(rows["science_analyses"])
    analyses.draw(rows["science_analyses"], TITLES)
    for page in PAGES:
        write_tables(page, made)


def _groups(rows: Rows, *names: str) -> dict[tuple[str, ...], Rows]:
    found: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def _numbers(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows if row[name]]


def _channels(rows: Rows) -> list[str]:
    head = ("network", "units", "removable", "removed", "in another order")
    body = (
        (
            row["network"],
            row["units"],
            row["removable"],
            f"{float(row['worst_removed']):.1e}",
            f"{float(row['worst_reordered']):.1e}",
        )
        for row in rows
    )
    return table_of(head, body) if rows else []


def _planted(rows: Rows) -> list[str]:
    head = ("blocks of", "found by", "right number", "least adjusted Rand", "seconds")
    return table_of(head, _planted_body(rows)) if rows else []


def _planted_body(rows: Rows) -> Iterable[tuple[str, ...]]:
    for case, model, some in _by_case(rows):
        right = sum(row["blocks_rows"] == row["blocks_columns"] == "4" for row in some)
        worst = min(_numbers(some, "rand_rows") + _numbers(some, "rand_columns"), default=0.0)
        seconds = median(_numbers(some, "seconds"))
        told = f"{right} of {len(some)}" if model in FIND else "told"
        yield case, model, told, f"{worst:.3f}", f"{seconds:.1f}"


def _by_case(rows: Rows) -> Iterable[tuple[str, str, Rows]]:
    for (case,), own in _groups(rows, "case").items():
        for (model,), some in _groups(own, "model").items():
            yield case, model, some


def _scale(rows: Rows) -> list[str]:
    head = ("found by", "blocks", "adjusted Rand", "bits over the planted ones", "seconds", "GiB")
    body = []
    for row in rows:
        if not row["bits"]:
            body.append((row["model"], row["problem"], "", "", row["seconds"], ""))
            continue
        rand = f"{float(row['rand_rows']):.3f} / {float(row['rand_columns']):.3f}"
        more = 100 * (float(row["bits"]) / float(row["bits_planted"]) - 1)
        blocks = f"{row['blocks_rows']} x {row['blocks_columns']}"
        figures = f"{float(row['seconds']):.0f}", f"{float(row['gib']):.2f}"
        body.append((row["model"], blocks, rand, f"{more:+.3f} %", *figures))
    return table_of(head, body) if rows else []


def _masks(rows: Rows) -> list[str]:
    over = ("independent", "degrees as labels", "degrees")
    models = (*over, "blocks", "blocks and degrees", "coder")
    head = ("network", "masks", *models, *(f"blocks / {model}" for model in over))
    body = []
    for (file, kind), some in _groups(rows, "file", "edges_are").items():
        total = {model: sum(_numbers(some, model)) / 8 for model in models}
        best = min(total["blocks"], total["blocks and degrees"])
        shares = (best / total[model] for model in over)
        sizes = (f"{total[model]:,.0f}" for model in models)
        body.append((file, kind, *sizes, *(f"{100 * share:.1f} %" for share in shares)))
    return table_of(head, body) if rows else []


def _orders(rows: Rows) -> list[str]:
    """Percent saved, a row for each file."""
    ways = list(dict.fromkeys(row["orders"] for row in rows))
    body = []
    for (file,), some in _groups(rows, "file").items():
        size = fmean(_numbers(some, "bytes_before"))
        cells = [file, f"{size:,.0f}"]
        for way in ways:
            own = [row for row in some if row["orders"] == way]
            saved = [
                100 * (1 - float(row["bytes_after"]) / float(row["bytes_before"])) for row in own
            ]
            cells.append(f"{fmean(saved):.2f} ± {pstdev(saved):.2f} %")
        body.append(cells)
    return table_of(("file", "bytes, shuffled", *ways), body) if rows else []


def _neurons(rows: Rows) -> list[str]:
    own = [row for row in rows if row["network"] == "lenet300100"]
    kept = list(dict.fromkeys(row["kept"] for row in own))
    body = []
    for (selection, refit), some in _groups(own, "selection", "refit").items():
        cells = []
        for what in kept:
            lost = _numbers([row for row in some if row["kept"] == what], "lost")
            cells.append(f"{fmean(lost):.2f} ± {pstdev(lost):.2f}")
        body.append((selection, refit, *cells))
    body.sort(key=lambda row: float(row[-1].split()[0]))
    return table_of(("selection", "refit", *kept), body) if own else []


def _submodularity(rows: Rows) -> list[str]:
    head = (
        "units", "value of a set", "gains that grew", "95 %", "that shrank", "worst growth",
        "gains below 0", "curvature", "gamma, least", "gamma, median",
    )  # fmt: skip
    body = []
    for row in rows:
        value = {name: float(row[name]) for name in ("rate", "low", "high", "shrunk", "negative")}
        percent = {name: f"{100 * number:.1f} %" for name, number in value.items()}
        interval = f"{100 * value['low']:.1f} to {100 * value['high']:.1f}"
        numbers = (f"{float(row[n]):.3g}" for n in ("curvature", "ratio", "usual_ratio"))
        body.append((
            f"{row['network']}, {row['layer']}", row["function"], percent["rate"], interval,
            percent["shrunk"], f"{100 * float(row['worst']):.1f} %", percent["negative"], *numbers,
        ))  # fmt: skip
    return table_of(head, body) if rows else []


def _density(rows: Rows) -> list[str]:
    """Accuracy at the bytes that global pruning takes at the middle one of its densities."""
    found = {way: _curves(some) for (way,), some in _groups(rows, "way").items()}
    if "global, lamp" not in found:
        return []
    wanted = {network: sorted(curve[0])[1] for network, curve in found["global, lamp"].items()}
    head = ("densities by", *(f"{name}, {size:,.0f} bytes" for name, size in wanted.items()))
    body = []
    for way, curves in found.items():
        reached = [
            at_bytes(*curves[name], size) if name in curves else None
            for name, size in wanted.items()
        ]
        mean = fmean(value or 0.0 for value in reached)
        cells = ("outside" if value is None else f"{value:.1f} %" for value in reached)
        body.append((mean, (way, *cells)))
    return table_of(head, (cells for _, cells in sorted(body, key=lambda row: -row[0])))


def _curves(rows: Rows) -> dict[str, tuple[list[float], list[float]]]:
    """Bytes and accuracy of each network's files."""
    return {
        network: (_numbers(some, "bytes_file"), _numbers(some, "accuracy"))
        for (network,), some in _groups(rows, "network").items()
    }


def _predictors(rows: Rows) -> list[str]:
    """Rank correlations, plain and at equal size, for both outcomes."""
    head = (
        "measure of the layer",
        "density kept",
        "at equal size",
        "bits a weight",
        "at equal size",
    )
    body = []
    for (measure,), some in _groups(rows, "measure").items():
        cells = [measure]
        for row in sorted(some, key=lambda row: row["outcome"], reverse=True):
            cells += [_correlation(row["rho"], row["p"])]
            cells += [_correlation(row["partial_rho"], row["partial_p"])]
        body.append(cells)
    return table_of(head, body) if rows else []


def _correlation(rho: str, p: str) -> str:
    """With a star where chance does as much in less than one case in a hundred."""
    return f"{float(rho):+.2f}{'*' if float(p) < 0.01 else ''}" if rho else ""


def _analyses(rows: Rows) -> dict[str, list[str]]:
    """Measures and communities of each network, beside chance; not what shuffling keeps."""
    measures = [
        (
            TITLES[row["network"]],
            row["name"],
            *(f"{float(row[column]):.4g}" for column in ("found", "chance")),
            f"{float(row['z']):+.1f}" if row["z"] and float(row["z"]) else "",
            f"{float(row['p']):.3f}",
        )
        for row in rows
        if row["kind"] in ("measure", "information") and float(row["z"] or 0) and row["p"] != "1"
    ]
    uneven = {
        (row["network"], row["name"]): f"{float(row['p']):.3f}"
        for row in rows
        if row["kind"] == "classes"
    }
    communities = [
        (
            TITLES[row["network"]],
            f"{float(row['extra']):.0f}",
            *(f"{float(row[column]):.1f} %" for column in ("found", "chance")),
            f"{float(row['p']):.3f}",
            uneven[row["network"], row["name"]],
        )
        for row in rows
        if row["kind"] == "community"
    ]
    heads = (
        ("network", "measure", "found", "by chance", "z", "p"),
        ("network", "units", "without it", "without others like them", "p", "p, uneven classes"),
    )
    return {
        "measures": table_of(heads[0], measures) if rows else [],
        "communities": table_of(heads[1], communities) if rows else [],
    }


def _embeddings(rows: Rows) -> list[str]:
    """Errors by kind of embedding, a row for each kind of layer of a network."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    body = []
    for network, sort, some in _by_layer(rows):
        if not some[0]["rank"]:
            found = {row["kind"]: float(row["error"]) for row in some}
            cells = (f"{found[kind]:.3f}" for kind in kinds)
            layers = f"{some[0]['layers']} {sort}"
            body.append((TITLES[network], layers, _numbers_kept(some[0]), *cells))
    return table_of(("network", "layers", "numbers", *kinds), body) if body else []


def _equal_rank(rows: Rows) -> list[str]:
    """Error and accuracy by kind of embedding, of single layers with the same rank."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    body = []
    for network, layer, some in _by_layer(rows):
        if some[0]["rank"]:
            found = {row["kind"]: row for row in some}
            cells = (
                f"{float(found[kind]['error']):.3f}, {float(found[kind]['accuracy']):.2f} %"
                for kind in kinds
            )
            before = f"{float(some[0]['accuracy_before']):.2f} %"
            body.append((TITLES[network], layer, _numbers_kept(some[0]), before, *cells))
    return table_of(("network", "layers", "numbers", "before", *kinds), body) if body else []


def _by_layer(rows: Rows) -> Iterable[tuple[str, str, Rows]]:
    for (network, layer), some in _groups(rows, "network", "layer").items():
        yield network, layer, some


def _numbers_kept(row: dict[str, str]) -> str:
    return f"{100 * float(row['numbers']) / float(row['weights']):.0f} %"
