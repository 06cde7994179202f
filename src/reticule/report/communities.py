"""Figures of an analysis, as plain data in plotly's layout; colours are the page's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from reticule.report.figures import MAP_SIDE, PALETTE, Figure, escaped, framed, titled
from reticule.science.analysis import Analysis
from reticule.science.measures import Whole
from reticule.science.optional import need

DRAWN_UNITS, DRAWN_EDGES = 40, 500  # of each group; of all


def drawn(found: Analysis) -> dict[str, Figure]:
    """Everything that is drawn, by the id of its place on the page."""
    made = {
        "matrix": _matrix(found),
        "parts": _multipartite(found),
        "curves": _curves(found),
        "tree": _dendrogram(found),
        "degrees": _degrees(found),
        "strengths": _strengths(found),
        "classes": _classes(found),
    }
    return {name: each for name, each in made.items() if each}


def _matrix(found: Analysis) -> Figure | None:
    """Weights between all units, which are ordered by community: dense squares on the diagonal."""
    order = np.lexsort((found.whole.group, found.labels))
    order = order[found.labels[order] >= 0]
    if order.size < 2:
        return None
    coo = found.whole.matrix[order][:, order].tocoo()
    side = min(2 * MAP_SIDE, order.size)
    edges = np.linspace(0, order.size, side + 1).astype(int)
    place = np.searchsorted(edges, np.arange(order.size), side="right") - 1
    total = np.zeros((side, side))
    np.add.at(total, (place[coo.row], place[coo.col]), coo.data)
    size = np.diff(edges)
    mean = total / np.outer(size, size)
    top = float(np.quantile(mean[mean > 0], 0.99)) if (mean > 0).any() else 1.0
    return framed(
        [
            {
                "type": "heatmap",
                "z": np.round(np.minimum(mean / max(top, 1e-30), 1), 3).tolist(),
                "colorscale": "--scale",
                "showscale": False,
                "hoverinfo": "skip",
            }
        ],
        height=460,
        xaxis={"visible": False, "constrain": "domain"},
        yaxis={"visible": False, "autorange": "reversed", "scaleanchor": "x"},
    )


def _multipartite(found: Analysis) -> Figure | None:
    """Groups of units from left to right, communities in colours, and the strongest edges."""
    whole = found.whole
    if not len(whole.groups):
        return None
    shown, x, y = [], np.zeros(whole.units), np.zeros(whole.units)
    for number in range(len(whole.groups)):
        own = np.flatnonzero(whole.group == number)
        strongest = own[np.argsort(-whole.strengths[own], kind="stable")][:DRAWN_UNITS]
        strongest = strongest[np.argsort(found.labels[strongest], kind="stable")]
        x[strongest] = number
        y[strongest] = np.linspace(0, 1, strongest.size + 2)[1:-1]
        shown += strongest.tolist()
    units = np.array(shown, np.int64)
    coo = whole.matrix[units][:, units].tocoo()
    half = np.flatnonzero(coo.row < coo.col)
    half = half[np.argsort(-coo.data[half], kind="stable")][:DRAWN_EDGES]
    lines: dict[str, list[Any]] = {"x": [], "y": []}
    for a, b in zip(units[coo.row[half]].tolist(), units[coo.col[half]].tolist(), strict=True):
        lines["x"] += [float(x[a]), float(x[b]), None]
        lines["y"] += [float(y[a]), float(y[b]), None]
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            **lines,
            "line": {"color": "--line", "width": 0.7},
            "hoverinfo": "skip",
        }
    ]
    for community in sorted(set(found.labels[units].tolist())):
        own = units[found.labels[units] == community]
        colour = f"--c{community % PALETTE}" if community >= 0 else "--rest"
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": x[own].tolist(),
                "y": y[own].tolist(),
                "marker": {"color": colour, "size": 7},
                "text": [escaped(whole.groups[whole.group[unit]]) for unit in own.tolist()],
                "hovertemplate": f"%{{text}}<br>community {community}<extra></extra>",
            }
        )
    ticks = list(range(len(whole.groups)))
    return framed(
        traces,
        height=440,
        xaxis={
            "tickvals": ticks,
            "ticktext": [escaped(name) for name in whole.groups],
            "tickangle": -30,
            "showgrid": False,
        },
        yaxis={"visible": False},
    )


def _curves(found: Analysis) -> Figure | None:
    if not found.curves:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [100 * share for share, _ in points],
            "y": [accuracy for _, accuracy in points],
            "line": {"color": colour, "width": 2},
            "marker": {"color": colour, "size": 6},
            "hovertemplate": "%{x:.0f} % gone: %{y:.1f} %<extra>" + escaped(name) + "</extra>",
        }
        for (name, points), colour in zip(
            found.curves.items(), ("--bad", "--c1", "--c5", "--accent"), strict=False
        )
    ]
    return framed(
        traces,
        height=340,
        showlegend=True,
        legend={"orientation": "h", "y": 1.15},
        xaxis={"title": {"text": "hidden units gone, %"}},
        yaxis={"title": {"text": "accuracy, %"}, "rangemode": "tozero"},
    )


def _dendrogram(found: Analysis) -> Figure | None:
    """Communities joined pair by pair, those with the most weight between them first."""
    count = len(found.sizes)
    if not 2 < count <= 60:
        return None
    hierarchy = need("scipy.cluster.hierarchy", "the dendrogram")
    squareform = need("scipy.spatial.distance", "the dendrogram").squareform
    live = found.labels >= 0
    coo = found.whole.matrix.tocoo()
    between = np.zeros((count, count))
    inside = live[coo.row] & live[coo.col]
    np.add.at(
        between, (found.labels[coo.row[inside]], found.labels[coo.col[inside]]), coo.data[inside]
    )
    strength = between.sum(1)
    near = between / np.maximum(np.outer(strength, strength), 1e-300) * strength.sum()
    apart = 1 / (1 + near)
    np.fill_diagonal(apart, 0)
    tree = hierarchy.dendrogram(
        hierarchy.linkage(squareform((apart + apart.T) / 2), "average"), no_plot=True
    )
    lines: dict[str, list[Any]] = {"x": [], "y": []}
    for xs, ys in zip(tree["icoord"], tree["dcoord"], strict=True):
        lines["x"] += [*(float(v) for v in xs), None]
        lines["y"] += [*(float(v) for v in ys), None]
    return framed(
        [
            {
                "type": "scatter",
                "mode": "lines",
                **lines,
                "line": {"color": "--accent", "width": 1.5},
                "hoverinfo": "skip",
            }
        ],
        height=300,
        xaxis={
            "tickvals": [10.0 * i + 5 for i in range(count)],
            "ticktext": [f"{leaf}" for leaf in tree["leaves"]],
            "title": {"text": "community"},
        },
        yaxis={"title": {"text": "distance"}},
    )


def _degrees(found: Analysis) -> Figure | None:
    """Degree of units, the largest first."""
    return _ranked(found, lambda whole: whole.degrees.astype(np.float64), "the largest", "edges")


def _strengths(found: Analysis) -> Figure | None:
    """Strength of units, the strongest first, as a share of the group's mean."""
    return _ranked(found, _relative_strengths, "the strongest", "strength over the mean")


def _relative_strengths(whole: Whole) -> np.ndarray:
    """Of all units; zero in groups that have none."""
    sums = np.bincount(whole.group, whole.strengths, len(whole.groups))
    sizes = np.bincount(whole.group, minlength=len(whole.groups))
    mean = np.maximum(sums / np.maximum(sizes, 1), 1e-300)
    return whole.strengths / mean[whole.group]


def _ranked(
    found: Analysis, measure: Callable[[Whole], np.ndarray], first: str, title: str
) -> Figure | None:
    """A line for each group, its units from the largest to the least; dotted: before pruning."""
    traces: list[Figure] = []
    names = found.whole.groups
    looks = [(found.whole, "solid")]
    if found.before is not None:
        looks.append((found.before.whole, "dot"))
    for whole, dash in looks:
        values = measure(whole)
        for number, name in enumerate(whole.groups):
            own = np.sort(values[whole.group == number])[::-1]
            if own.size < 2 or not own.any() or name not in names:
                continue
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": name,
                    "legendgroup": name,
                    "showlegend": dash == "solid",
                    "x": np.linspace(0, 100, own.size).round(1).tolist(),
                    "y": own.round(3).tolist(),
                    "line": {
                        "color": f"--c{names.index(name) % PALETTE}",
                        "width": 2,
                        "dash": dash,
                    },
                    "hovertemplate": escaped(name) + ": %{y:.2f}<extra></extra>",
                }
            )
    if not traces:
        return None
    # Lines far apart need a logarithm, which has no place for zero.
    most = [max(trace["y"]) for trace in traces]
    is_wide = max(most) > 20 * min(most)
    scale = {"type": "log", "dtick": 1} if is_wide else {"rangemode": "tozero"}
    return framed(
        traces,
        height=340,
        showlegend=len(names) <= PALETTE,
        legend={"orientation": "h", "y": 1.15},
        xaxis={"title": {"text": f"units, {first} first, %"}},
        yaxis={"title": {"text": title}, **scale},
    )


def _classes(found: Analysis) -> Figure | None:
    """Points that each class loses without each community."""
    if not found.removed:
        return None
    return framed(
        [
            {
                "type": "heatmap",
                "z": [list(each.by_class) for each in found.removed],
                "x": list(range(len(found.removed[0].by_class))),
                "y": [f"community {each.community}" for each in found.removed],
                "colorscale": "--scale",
                "colorbar": {"thickness": 8, "outlinewidth": 0},
                "hovertemplate": "%{y}, class %{x}: %{z:.1f} points lost<extra></extra>",
            }
        ],
        title=titled("points lost, by class"),
        height=120 + 26 * len(found.removed),
        xaxis={
            "title": {"text": "class"},
            "dtick": 1 if len(found.removed[0].by_class) < 30 else 10,
        },
    )
