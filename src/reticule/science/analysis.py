"""A network looked at as a complex network: everything that ``reticule analyze`` tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from reticule.data import Data
from reticule.forms import Packed
from reticule.progress import Progress, Silent
from reticule.science import removal
from reticule.science.graphs import NetworkGraph, network_graph
from reticule.science.measures import (
    Compared,
    Whole,
    butterflies,
    communities,
    core_numbers,
    inequality,
    modularity,
    normalised_cut,
    path_shares,
    rewired,
    rich_club,
)
from reticule.science.units import wired

SAME = 0.99  # cosine from which two units count as duplicates
LEAST_NULLS = 20  # so that p can be below 0.05
LARGEST_DUPLICATES = 4096  # units of a group that are compared pair by pair

MEASURES: Mapping[str, tuple[str, Callable[[NetworkGraph], float]]] = {
    "modularity": (
        "weight inside of communities beyond what strengths explain",
        lambda graph: modularity(Whole.of(graph), communities(Whole.of(graph))),
    ),
    "clusterability": (
        "12 less the normalised cut into 12 clusters",
        lambda graph: 12 - normalised_cut(Whole.of(graph)),
    ),
    "rich club": (
        "density among the tenth of units with the most edges",
        lambda graph: rich_club(Whole.of(graph)),
    ),
    "deepest core": (
        "largest k with units that have k edges among themselves",
        lambda graph: float(core_numbers(Whole.of(graph)).max(initial=0)),
    ),
    "butterflies": (
        "pairs of units of one layer that share pairs of inputs, in thousands",
        lambda graph: sum(butterflies(layer) for layer in graph.layers) / 1000,
    ),
    "inequality of paths": (
        "Gini's coefficient of the shares of weighted paths through units",
        lambda graph: inequality(path_shares(graph)),
    ),
}


@dataclass(frozen=True)
class GroupFigures:
    """Units that layers share: degrees and strengths, dead and duplicate ones."""

    name: str
    units: int
    mean_degree: float
    largest_degree: int
    inequality_of_degrees: float
    inequality_of_strengths: float
    dead: int  # without edges
    duplicates: int  # whose weights have a cosine of 0.99 with those of an earlier unit
    communities: int


@dataclass(frozen=True)
class Removed:
    """What became of the accuracy without a community's hidden units, and without others."""

    community: int
    units: int
    accuracy: float  # percent
    chance: float  # mean without as many others of the same groups and strengths
    p: float  # of losing as much or more
    by_class: tuple[float, ...]  # points lost of each class
    p_of_unevenness: float  # that classes suffer so unevenly


@dataclass(frozen=True)
class Analysis:
    """All figures of a network; ``to_json`` gives them as plain data.

    ``curves`` are accuracies (share removed, percent) by order of removal; ``information`` is
    the normalised mutual information between a unit's community and its favourite class.
    """

    units: int
    edges: int
    groups: tuple[GroupFigures, ...]
    measures: Mapping[str, Compared]
    labels: np.ndarray
    whole: Whole
    sizes: tuple[int, ...]  # of communities
    curves: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    removed: tuple[Removed, ...] = ()
    information: Compared | None = None
    accuracy: float | None = None
    images: int = 0
    before: Analysis | None = None  # structure alone, of the network that this one was pruned from

    @property
    def groups_before(self) -> Mapping[str, GroupFigures]:
        """Units as they were before pruning, by the name of their group."""
        return {group.name: group for group in self.before.groups} if self.before else {}

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {
            "units": self.units,
            "edges": self.edges,
            "groups": [asdict(group) for group in self.groups],
            "measures": {name: asdict(found) for name, found in self.measures.items()},
            "communities": list(self.sizes),
            "curves": {name: [list(point) for point in c] for name, c in self.curves.items()},
            "removed": [asdict(each) for each in self.removed],
            "information": asdict(self.information) if self.information else None,
            "accuracy": self.accuracy,
            "images": self.images,
            "groups_before": [asdict(group) for group in self.groups_before.values()],
        }
        return plain


def analyze(
    packed: Packed,
    data: Data | None = None,
    *,
    before: Packed | None = None,
    images: int = 200,
    times: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Analysis:
    """Look at a network; with images also at what its communities are for.

    Measures are compared with ``times`` / 5 rewired networks (at least 20), removals with
    ``times`` random ones.  ``before`` is the network that this one was pruned from: degrees and
    strengths are told of both.  Raises MissingExtra without the extra ``graph``.
    """
    progress = progress or Silent()
    graph = network_graph(packed, join_columns=True)
    found = replace(
        _structure(packed, graph, seed),
        measures=_measures(graph, max(LEAST_NULLS, times // 5), seed, progress),
    )
    if before is not None:
        earlier = network_graph(before, join_columns=True)
        found = replace(found, before=_structure(before, earlier, seed))
    if data is None or not len(data):
        return found
    data = fitting(data, packed)
    whole, labels = found.whole, found.labels
    patient = removal.Patient.of(packed.network(), whole, data, images, seed)
    rng = np.random.default_rng(seed)
    return replace(
        found,
        curves=_curves(patient, graph, rng, progress),
        removed=_removed(patient, labels, times, rng, progress),
        information=_information(patient, labels, times, rng),
        accuracy=patient.accuracy(np.zeros(0, np.int64)),
        images=len(patient.labels),
    )


def fitting(data: Data, packed: Packed, labels: Sequence[str] = ()) -> Data:
    """Labelled images that the network takes; ``labels`` name its classes.  DataError if not."""
    shapes = packed.graph.shapes()
    classes = math.prod(shapes[packed.graph.outputs[0]][1:])
    fitted = data.fitted(packed.graph.inputs, classes, labels)
    _ = fitted.labels  # raises where there are none
    return fitted


def _structure(packed: Packed, graph: NetworkGraph, seed: int) -> Analysis:
    """Units, edges and communities, not compared with anything."""
    whole = Whole.of(graph)
    labels = communities(whole, seed=seed)
    edges = sum(layer.matrix.nnz for layer in graph.layers)
    sizes = tuple(np.bincount(labels[labels >= 0]).tolist())
    return Analysis(whole.units, edges, _groups(packed, whole, labels), {}, labels, whole, sizes)


def _measures(
    graph: NetworkGraph, times: int, seed: int, progress: Progress
) -> dict[str, Compared]:
    rng = np.random.default_rng(seed)
    null: dict[str, list[float]] = {name: [] for name in MEASURES}
    with progress.bar("comparing", times) as bar:
        for _ in range(times):
            other = rewired(graph, rng)
            for name, (_, measure) in MEASURES.items():
                null[name].append(measure(other))
            bar.advance()
    return {
        name: Compared.of(measure(graph), np.array(null[name]))
        for name, (_, measure) in MEASURES.items()
    }


def _groups(packed: Packed, whole: Whole, labels: np.ndarray) -> tuple[GroupFigures, ...]:
    figures, copies = [], _duplicates(packed)
    for number, name in enumerate(whole.groups):
        own = np.flatnonzero(whole.group == number)
        degrees, strengths = whole.degrees[own], whole.strengths[own]
        figures.append(
            GroupFigures(
                name,
                own.size,
                float(degrees.mean()) if own.size else 0.0,
                int(degrees.max(initial=0)),
                inequality(degrees),
                inequality(strengths),
                int(np.count_nonzero(degrees == 0)),
                copies.get(name, 0),
                len(set(labels[own][labels[own] >= 0].tolist())),
            )
        )
    return tuple(figures)


def _duplicates(packed: Packed) -> dict[str, int]:
    """Units of each group whose weights are those of an earlier unit, up to their size."""
    units, copies = wired(packed.graph), dict[str, set[int]]()
    for node, name in packed.graph.weights():
        rows = packed.forms[name].dense().reshape(packed.graph.tensors[name][0], -1)
        if len(rows) > LARGEST_DUPLICATES:
            continue
        size = np.linalg.norm(rows, axis=1)
        live = np.flatnonzero(size > 0)
        rows = rows[live] / size[live, None]
        close = np.tril(rows @ rows.T > SAME, -1).any(1)
        wiring = units.layers[node.name]
        copies.setdefault(wiring.rows, set()).update(wiring.row_units[live[close]].tolist())
    return {group: len(found) for group, found in copies.items()}


def _curves(
    patient: removal.Patient, graph: NetworkGraph, rng: np.random.Generator, progress: Progress
) -> dict[str, list[tuple[float, float]]]:
    """Robustness: hidden units go at random, the best connected first, or those of most paths."""
    hidden = patient.hidden
    strength, paths = patient.whole.strengths[hidden], path_shares(graph)[hidden]
    orders = {
        "strongest first": hidden[np.argsort(-strength, kind="stable")],
        "most paths first": hidden[np.argsort(-paths, kind="stable")],
        "weakest first": hidden[np.argsort(strength, kind="stable")],
    }
    with progress.bar("removing", len(orders) + 3) as bar:
        curves = {}
        for name, order in orders.items():
            curves[name] = removal.curve(patient, order)
            bar.advance()
        tries = []
        for _ in range(3):
            tries.append(removal.curve(patient, rng.permutation(hidden)))
            bar.advance()
    curves["at random"] = [
        (points[0][0], float(np.mean([p[1] for p in points])))
        for points in zip(*tries, strict=True)
    ]
    return curves


def _removed(
    patient: removal.Patient,
    labels: np.ndarray,
    times: int,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Removed, ...]:
    """Each community with some hidden units, against random sets like it."""
    hidden = patient.hidden
    before = patient.by_class(np.zeros(0, np.int64))
    found = []
    wanted = [k for k in range(labels.max(initial=-1) + 1) if (labels[hidden] == k).sum() > 1]
    with progress.bar("communities", len(wanted) * (times + 1)) as bar:
        for community in wanted:
            units = hidden[labels[hidden] == community]
            lost = before - patient.by_class(units)
            accuracy = patient.accuracy(units)
            bar.advance()
            others, uneven = [], []
            for _ in range(times):
                other = removal.alike(patient.whole, units, hidden, rng)
                each = patient.by_class(other)
                others.append(_mean(each, patient.labels))
                uneven.append(float(np.nanstd(before - each)))
                bar.advance()
            below = np.count_nonzero(np.array(others) <= accuracy + 1e-9)
            above = np.count_nonzero(np.array(uneven) >= float(np.nanstd(lost)) - 1e-9)
            found.append(
                Removed(
                    community,
                    units.size,
                    accuracy,
                    float(np.mean(others)),
                    float(below + 1) / (times + 1),
                    tuple(np.nan_to_num(lost).round(2).tolist()),
                    float(above + 1) / (times + 1),
                )
            )
    return tuple(found)


def _mean(by_class: np.ndarray, labels: np.ndarray) -> float:
    """Percent right of all images, from those of each class."""
    counts = np.bincount(labels, minlength=by_class.size)
    return float(np.nansum(by_class * counts) / max(counts.sum(), 1))


def _information(
    patient: removal.Patient, labels: np.ndarray, times: int, rng: np.random.Generator
) -> Compared:
    """Does a unit's community tell its favourite class?  Against labels shuffled in each group."""
    hidden = patient.hidden[labels[patient.hidden] >= 0]
    favourite = patient.selectivity()[hidden].argmax(1)
    own, groups = labels[hidden], patient.whole.group[hidden]
    null = []
    for _ in range(max(times, 100)):
        shuffled = own.copy()
        for number in np.unique(groups):
            place = np.flatnonzero(groups == number)
            shuffled[place] = own[rng.permutation(place)]
        null.append(removal.information(shuffled, favourite))
    return Compared.of(removal.information(own, favourite), np.array(null))


def summary(found: Analysis) -> Sequence[str]:
    """What the figures say, in sentences."""
    lines = []
    q = found.measures["modularity"]
    verdict = "more than" if q.p <= 0.05 else "no more than"
    lines.append(
        f"{len(found.sizes)} communities hold together {verdict} by chance: modularity "
        f"{q.value:.3f}, {q.mean:.3f} in rewired networks."
    )
    if found.removed:
        telling = [each for each in found.removed if each.p <= 0.05]
        lines.append(
            f"{len(telling)} of {len(found.removed)} communities matter more to the accuracy than "
            "random units like theirs."
        )
        uneven = [each for each in found.removed if each.p_of_unevenness <= 0.05]
        lines.append(
            f"{len(uneven)} of {len(found.removed)} hurt some classes more than others, beyond "
            "chance."
        )
    if found.information is not None:
        told = "tells" if found.information.p <= 0.05 else "does not tell"
        lines.append(
            f"A unit's community {told} its favourite class: normalised mutual information "
            f"{found.information.value:.3f}, {found.information.mean:.3f} by chance."
        )
    dead, copies = (sum(getattr(g, what) for g in found.groups) for what in ("dead", "duplicates"))
    lines.append(f"{dead} units have no edges, {copies} are duplicates of others.")
    if found.before is not None:
        gone = found.before.units - found.units
        lines.append(
            f"Pruning left {found.edges:,} of {found.before.edges:,} edges and took {gone:,} of "
            f"{found.before.units:,} units out."
        )
    return lines
