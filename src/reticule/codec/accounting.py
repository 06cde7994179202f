"""Where the bytes of a file went: by tensor, and by what they are good for."""

from __future__ import annotations

from typing import TypeAlias

from reticule.codec.arrays import Role
from reticule.graph import Graph

HEADER, BIAS = "header", "bias"
PARTS = (*(role.value for role in Role), BIAS, HEADER)
"""Weights' values, index (which weights are stored), codebook, bias (all of every tensor that is
not the weight of a convolution or linear layer), and header: all that is not coded."""

Costs: TypeAlias = dict[tuple[str, str], int]  # bytes by tensor and role, or HEADER


def shared_out(
    graph: Graph, costs: Costs, bytes_weights: int, bytes_file: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of each tensor, which add up to the section, and of each part of the file."""
    tensors = dict.fromkeys(graph.tensors, 0)
    parts = dict.fromkeys(PARTS, 0)
    weights = {name for _, name in graph.weights()}
    for (name, role), size in _whole(costs, bytes_weights).items():
        tensors[name] += size
        parts[role if name in weights or role == HEADER else BIAS] += size
    parts[HEADER] += bytes_file - sum(parts.values())
    return tensors, parts


def _whole(costs: Costs, total: int) -> Costs:
    """Whole numbers near the costs that add up to the total: largest remainders first."""
    known = sum(costs.values())
    if not known:
        return dict.fromkeys(costs, 0) | dict.fromkeys(list(costs)[:1], total)
    exact = {name: cost * total / known for name, cost in costs.items()}
    shares = {name: int(share) for name, share in exact.items()}
    missing = total - sum(shares.values())
    for name in sorted(costs, key=lambda name: shares[name] - exact[name])[:missing]:
        shares[name] += 1
    return shares
