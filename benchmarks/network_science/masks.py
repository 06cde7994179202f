"""What block models know about the masks of pruned networks, in bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reticule.codec import About, dumps, load
from reticule.forms import Dense, Packed, Quantised, Sparse
from reticule.graph import Graph
from reticule.methods import Context, RemoveDeadUnits
from reticule.science import BlockModel, description_length
from reticule.science.blocks.counting import log2_binomial

MODELS = (
    "independent", "degrees as labels", "degrees", "blocks", "blocks and degrees", "weighted",
    "coder",
)  # fmt: skip


def masks(path: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Layers of a compressed network without dead units: name, mask and weights as matrices."""
    packed = load(path).packed
    packed = RemoveDeadUnits().apply(packed, Context(packed.network())).packed
    for node, name in packed.graph.weights():
        weights = packed.forms[name].dense()
        weights = weights.reshape(len(weights), -1)
        weights = weights[weights.any(1)][:, weights.any(0)]
        yield node.name, weights != 0, weights


def shuffled(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A mask of the same row and column degrees, by many random swaps of two edges' ends."""
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(mask)
    taken = mask.copy()
    for _ in range(20):
        partner = rng.permutation(rows.size)
        for a, b in zip(range(rows.size), partner.tolist(), strict=True):
            r, s, c, d = rows[a], rows[b], columns[a], columns[b]
            if r != s and c != d and not taken[r, d] and not taken[s, c]:
                taken[r, c] = taken[s, d] = False
                taken[r, d] = taken[s, c] = True
                columns[a], columns[b] = d, c
    return taken


def bits(mask: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    """Bits for the mask under each model, labels and degrees included."""
    one = np.zeros(mask.shape[0]), np.zeros(mask.shape[1])
    found = {
        "independent": description_length(mask, *one),
        "degrees as labels": degrees_as_labels(mask),
        "degrees": description_length(mask, *one, "degree-corrected"),
        "blocks": BlockModel().fit(mask).description_length_,
        "blocks and degrees": BlockModel("degree-corrected").fit(mask).description_length_,
        "coder": 8.0 * coded(mask),
    }
    if weights is not None:  # the labels that suit the weights best, judged by the mask alone
        model = BlockModel("laplace").fit(np.where(mask, weights, 0))
        labels = model.row_labels_, model.column_labels_
        found["weighted"] = description_length(mask, *labels)
    return found


def degrees_as_labels(mask: np.ndarray) -> float:
    """Bits for the degrees and what they leave open, each degree paid for as labels of blocks are.

    That is, the histogram of the degrees and then each of them by its entropy, and not by the
    priors of :mod:`reticule.science.blocks.degrees`, which tell the same degrees for less.
    """
    edges = float(mask.sum())
    told = log2_binomial(mask.size, edges) + np.log2(mask.size + 1)
    for degrees, width in ((mask.sum(1), mask.shape[1]), (mask.sum(0), mask.shape[0])):
        _, counts = np.unique(degrees, return_counts=True)
        told += log2_binomial(degrees.size + width, width)
        told -= (counts * np.log2(counts / degrees.size)).sum()
        told += log2_binomial(width, degrees.astype(float)).sum()
        told -= log2_binomial(mask.size, edges)
    return float(told)


def coded(mask: np.ndarray) -> int:
    """Bytes that the preset "small" takes for a mask, all of its weights being one."""
    ones = Quantised(np.ones(int(mask.sum()), np.int64), 1.0)
    graph = Graph({"x": (1,)}, ("x",), (), {"w": mask.shape})
    empty = Packed(graph, {"w": Sparse.at(np.zeros_like(mask), Dense(np.zeros(0, "f4")))})
    whole = Packed(graph, {"w": Sparse.at(mask, ones)})
    return len(dumps(whole, About())) - len(dumps(empty, About()))
