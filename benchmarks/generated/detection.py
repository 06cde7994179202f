"""A detector's answers: what trains them, boxes from them, and their mean average precision."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from generated.sets import BOXED
from generated.shapes import Floats

CELLS = 8
"""Cells along each side of an image: scores are (n, kinds, 8, 8), boxes (n, 4, 8, 8)."""

LEAST_SCORE, OVERLAP, MOST = 0.05, 0.5, 20


def loss(answer: tuple[Tensor, Tensor], wanted: Tensor) -> Tensor:
    """The cell of a box's centre has its kind, and its place in the cell, width and height."""
    scores, boxes = answer
    kinds, (left, top, right, bottom) = wanted[..., 0].long(), wanted[..., 1:].unbind(-1)
    image, number = torch.nonzero(kinds >= 0, as_tuple=True)
    x, y = ((a + b)[image, number] / 2 * CELLS for a, b in ((left, right), (top, bottom)))
    column, row = (v.long().clamp(0, CELLS - 1) for v in (x, y))
    goal = torch.zeros_like(scores)
    goal[image, kinds[image, number], row, column] = 1
    weight = 1 + 4 * goal
    said = F.binary_cross_entropy_with_logits(scores, goal, weight=weight, reduction="sum")
    sizes = (right - left)[image, number], (bottom - top)[image, number]
    place = torch.stack([x - column, y - row, *sizes], 1)
    off = F.l1_loss(boxes[image, :, row, column], place, reduction="none").sum()
    return (said + 2 * off) / max(len(image), 1)


def average_precision(answer: tuple[Floats, ...], wanted: Floats) -> float:
    """Mean over kinds of the area under precision over recall, in percent; matches overlap by half.

    ``answer`` is scores and boxes as above, ``wanted`` (n, most, 5) as drawn.
    """
    found = [_found(scores, boxes) for scores, boxes in zip(*answer, strict=True)]
    return 100 * float(np.mean([_of_kind(found, wanted, kind) for kind in range(BOXED)]))


def _found(scores: Floats, boxes: Floats) -> Floats:
    """Boxes of one image, best first and none over another: (m, 6) as kind, score, sides."""
    probability = 1 / (1 + np.exp(-scores.astype(np.float64)))
    kinds, rows, columns = np.nonzero(probability > LEAST_SCORE)
    x, y, width, height = boxes[:, rows, columns]
    x, y = (columns + x) / CELLS, (rows + y) / CELLS
    sides = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    every = np.stack([kinds, probability[kinds, rows, columns], *sides], 1)
    every = every[np.argsort(-every[:, 1], kind="stable")][: 4 * MOST]
    over = overlaps(every[:, 2:], every[:, 2:]) > OVERLAP
    over &= every[:, :1] == every[:, 0]
    kept: list[int] = []
    for number in range(len(every)):
        if not over[number, kept].any():
            kept.append(number)
    return every[kept[:MOST]]


def overlaps(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> NDArray[np.floating]:
    """Area of the intersection over that of the union, for each pair: (m, 4), (k, 4) -> (m, k).

    >>> overlaps(np.array([[0, 0, 2, 1.0]]), np.array([[1, 0, 3, 1.0]])).round(3)
    array([[0.333]])
    """
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(b[:, 2:] - b[:, :2], 0, None).prod(1) for b in (ours, theirs)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)


def _of_kind(found: list[Floats], wanted: Floats, kind: int) -> float:
    scores, right = [], []
    total = 0
    for boxes, truth in zip(found, wanted, strict=True):
        own, theirs = boxes[boxes[:, 0] == kind], truth[truth[:, 0] == kind, 1:]
        total += len(theirs)
        scores.append(own[:, 1])
        right.append(_matched(own[:, 2:], theirs))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(right)[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(hits, prepend=0)
    return float((best_after * steps).sum() / max(total, 1))


def _matched(ours: Floats, theirs: Floats) -> NDArray[np.bool_]:
    """Whether each box, best first, is the first to find one that is there."""
    out = np.zeros(len(ours), bool)
    if not len(theirs):
        return out
    overlap = overlaps(ours, theirs)
    for number, row in enumerate(overlap):
        best = int(row.argmax())
        out[number] = row[best] >= OVERLAP
        if out[number]:
            overlap[:, best] = -1
    return out
