"""The figures of the report as plain data in plotly's layout; colours are the page's.

Every function returns None where there is nothing to draw.  A colour is written as the
name of a CSS variable ("--accent"), which the page's script replaces, so that figures
follow the light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reticule.forms import Form, matrix_shape
from reticule.layers import Layer
from reticule.records import StageRecord

Figure = dict[str, Any]

MAP_SIDE = 64  # cells of a density map along each side, at most
BINS = 60
PALETTE = 8  # colours --c0 to --c7


def stages(records: Sequence[StageRecord]) -> Figure | None:
    """Accuracy on the held-out images after every stage."""
    shown = [record for record in records if record.accuracy is not None]
    if not shown:
        return None
    accuracies = [record.accuracy for record in shown]
    return framed(
        [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [f"{number}. {record.name}" for number, record in enumerate(shown)],
                "y": accuracies,
                "line": {"color": "--accent", "width": 2},
                "marker": {"color": "--accent", "size": 8},
                "hovertemplate": "%{x}<br>%{y:.2f} %<extra></extra>",
            }
        ],
        height=320,
        yaxis={"title": {"text": "accuracy, %"}, "range": _range(accuracies)},
        xaxis={"tickangle": -25},
    )


def levels(records: Sequence[StageRecord]) -> Figure | None:
    """Accuracy at every density that pruning tried."""
    tried = [
        level
        for record in records
        for level in record.notes.get("tried") or ()
        if isinstance(level, dict) and {"density", "accuracy"} <= set(level)
    ]
    if len(tried) < 2:
        return None
    traces: list[Figure] = []
    for name, chosen, colour, symbol in (
        ("kept", tried[-1:], "--accent", "circle"),
        ("tried before", tried[:-1], "--bad", "x"),
    ):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [100 * level["density"] for level in chosen],
                "y": [level["accuracy"] for level in chosen],
                "marker": {"color": colour, "size": 10, "symbol": symbol},
                "hovertemplate": "density %{x:.3g} %<br>accuracy %{y:.2f} %<extra></extra>",
            }
        )
    return framed(
        traces,
        height=320,
        showlegend=True,
        legend={"orientation": "h", "y": 1.12},
        xaxis={
            "type": "log",
            "title": {"text": "density, % (log scale)"},
            "autorange": "reversed",
            "tickvals": [100 * level["density"] for level in tried],
            "ticktext": [f"{100 * level['density']:.3g}" for level in tried],
        },
        yaxis={
            "title": {"text": "accuracy, %"},
            "range": _range([level["accuracy"] for level in tried]),
        },
    )


def where_the_bytes_are(layers: Sequence[Layer], around: int) -> Figure | None:
    """Two bars of 100 %: the float32 weights and the file, divided by layer."""
    parts = [(layer.name, 4 * layer.weights, layer.bytes) for layer in layers]
    totals = (
        max(sum(before for _, before, _ in parts), 1),
        max(sum(after for _, _, after in parts) + around, 1),
    )
    traces = []
    for number, (name, before, after) in enumerate([*parts, ("names, topology", 0, around)]):
        shares = [100 * before / totals[0], 100 * after / totals[1]]
        last = number == len(parts)
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": ["float32", "file"],
                "x": shares,
                "customdata": [before, after],
                "text": [name if share >= 9 else "" for share in shares],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "constraintext": "inside",
                "cliponaxis": True,
                "marker": {
                    "color": "--rest" if last else f"--c{number % PALETTE}",
                    "line": {"color": "--page", "width": 1},
                },
                "hovertemplate": f"{escaped(name)}<br>%{{customdata:,}} bytes, %{{x:.1f}} %"
                "<extra></extra>",
            }
        )
    return framed(
        traces,
        height=190,
        barmode="stack",
        bargap=0.35,
        xaxis={"range": [0, 100], "title": {"text": "share of the bytes, %"}},
        yaxis={"autorange": "reversed"},
        uniformtext={"minsize": 10, "mode": "hide"},
    )


def density_map(layer: Layer, form: Form) -> Figure | None:
    """Where the weights of a layer are that are left: share of each block of its matrix."""
    rows, columns = matrix_shape(tuple(form.shape))
    if rows < 2 or layer.density >= 1:
        return None
    kept = (form.dense() != 0).reshape(rows, columns).astype(np.float64)
    blocks = shrunk(shrunk(kept, MAP_SIDE).T, MAP_SIDE).T
    return framed(
        [
            {
                "type": "heatmap",
                "z": np.round(100 * blocks, 2).tolist(),
                "zmin": 0,
                "colorscale": "--scale",
                "colorbar": {"thickness": 8, "outlinewidth": 0, "ticksuffix": " %"},
                "hovertemplate": "%{z:.1f} % left<extra></extra>",
            }
        ],
        title=titled(f"{layer.name}: weights left, {rows} x {columns}"),
        height=260,
        xaxis={"visible": False},
        yaxis={"visible": False, "autorange": "reversed"},
    )


def histogram(layer: Layer, form: Form) -> Figure | None:
    """The values of the weights that are left."""
    values = form.dense()
    values = values[values != 0]
    if not values.size:
        return None
    distinct, counts = np.unique(values, return_counts=True)
    what = f"{len(distinct)} values"
    width: Any = None
    if len(distinct) > BINS:
        counts, edges = np.histogram(values, BINS)
        distinct, what = (edges[1:] + edges[:-1]) / 2, "values"
    elif len(distinct) > 1:
        width = float(distinct[-1] - distinct[0]) / (3 * BINS)
    return framed(
        [
            {
                "type": "bar",
                "x": distinct.astype(float).tolist(),
                "y": counts.tolist(),
                "width": width,
                "marker": {"color": "--accent"},
                "hovertemplate": "%{x:.4g}: %{y:,} weights<extra></extra>",
            }
        ],
        title=titled(f"{layer.name}: {what} of the {values.size:,} weights left"),
        height=260,
        bargap=0.05,
    )


def shrunk(matrix: np.ndarray, most: int) -> np.ndarray:
    """Means over groups of rows, so that at most ``most`` rows are left."""
    if len(matrix) <= most:
        return matrix
    edges = np.linspace(0, len(matrix), most + 1).astype(int)
    sums = np.add.reduceat(matrix, edges[:-1], axis=0)
    return sums / np.diff(edges)[:, None]


def framed(traces: list[Figure], **layout: Any) -> Figure:
    return {"data": traces, "layout": {"showlegend": False, **layout}}


def titled(text: str) -> dict[str, Any]:
    return {"text": escaped(text), "font": {"size": 13}, "x": 0, "xanchor": "left"}


def escaped(text: str) -> str:
    """Text in which plotly finds no markup and no template."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")


def _range(values: Sequence[float | None]) -> list[float]:
    """An axis around the values, at least a point high, that does not pass 100 %."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    margin = max(0.5, 0.1 * (high - low))
    top = min(high + margin, 100.0)
    return [low - margin, top + 0.03 * (top - low + margin)]  # room for a marker at 100 %
