"""What predicts how far a layer can be compressed: measures of the original network's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import kurtosis, rankdata, spearmanr

import reticule
from reticule.codec import load
from reticule.forms import Packed
from reticule.methods import Context, FoldBatchNorm
from reticule.science import network_graph
from reticule.science.measures import Whole, communities, inequality, modularity
from reticule.science.redundancy import by_communities, by_cores, by_rank

NETWORKS = ("lenet300100", "lenet5", "resnet20")
SMALLEST = 64  # weights; smaller layers are not pruned


def _modularity(matrix: np.ndarray) -> float:
    """Of the layer's own graph, by the communities that Louvain's method finds."""
    from scipy.sparse import csr_matrix

    from reticule.science import LayerGraph, NetworkGraph

    layer = LayerGraph("layer", "rows", "columns", csr_matrix(matrix.astype(np.float32)))
    whole = Whole.of(NetworkGraph({"columns": matrix.shape[1], "rows": matrix.shape[0]}, (layer,)))
    return modularity(whole, communities(whole))


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "weights": lambda weights, _: float(weights.size),
    "sides over product": lambda weights, _: sum(weights.shape) / weights.size,
    "kurtosis of the weights": lambda weights, _: float(kurtosis(weights.ravel())),
    "inequality of the units' strengths": lambda _, matrix: inequality(matrix.sum(1)),
    "modularity": lambda _, matrix: _modularity(matrix),
    "needed by communities": lambda weights, _: by_communities(weights),
    "needed by k-core": lambda weights, _: by_cores(weights),
    "needed by effective rank": lambda weights, _: by_rank(weights),
}
"""By name, of the weights and of the matrix of norms between units."""


def layers(
    shared: Path, files: Path
) -> Iterator[tuple[str, str, dict[str, float], dict[str, float]]]:
    """All layers of the networks whose compressed files are there."""
    for network in NETWORKS:
        original = reticule.from_onnx(shared / "models" / f"{network}.onnx")
        folded = FoldBatchNorm().apply(Packed.of(original), Context(original)).packed
        graph = network_graph(folded)
        pruned = load(files / f"{network}-deep-compression.ret")
        quantised = load(files / f"{network}-post-training.ret")
        for node, name in folded.graph.weights():
            weights = folded.forms[name].dense()
            if weights.size < SMALLEST or name not in pruned.packed.forms:
                continue
            matrix = np.abs(graph[node.name].matrix.toarray())
            found = {title: measure(weights, matrix) for title, measure in MEASURES.items()}
            # A layer may have lost units; what is left counts against what it had.
            kept = pruned.packed.forms[name].nonzero
            bits = 8 * quantised.tensor_bytes[name]
            made = {"density": kept / weights.size, "bits": bits / weights.size}
            yield network, node.name, found, made


def correlations(
    rows: list[tuple[str, str, dict[str, float], dict[str, float]]],
) -> Iterator[tuple[str, str, dict[str, float]]]:
    """For each measure and outcome Spearman's rank correlation, plain and with the layer's number
    of weights held fixed (partial), each with its p-value, over all layers."""
    size = rankdata([found["weights"] for _, _, found, _ in rows])
    for outcome in ("density", "bits"):
        reached = [made[outcome] for _, _, _, made in rows]
        for title in MEASURES:
            measured = [found[title] for _, _, found, _ in rows]
            plain = spearmanr(measured, reached)
            row = {"rho": float(plain.statistic), "p": float(plain.pvalue)}
            if title != "weights":
                partial = spearmanr(_without(measured, size), _without(reached, size))
                row |= {"partial_rho": float(partial.statistic), "partial_p": float(partial.pvalue)}
            yield title, outcome, {**row, "layers": float(len(rows))}


def _without(values: list[float], size: np.ndarray) -> np.ndarray:
    """Ranks, less what the ranks of the sizes explain."""
    ranks = rankdata(values)
    slope, constant = np.polyfit(size, ranks, 1)
    return ranks - slope * size - constant
