"""Local response normalisation: PyTorch writes it out, the network has an operator for it."""

from __future__ import annotations

from typing import Any

from reticule.graph.torch_in.builder import operator_name

# From the division's second argument back to the square of the input.
_CHAIN = ("pow", "add", "mul", "view", "squeeze", "avg_pool3d", "pad", "view", "mul")


def find_lrn(nodes: list[Any]) -> tuple[dict[Any, dict[str, Any]], set[Any]]:
    """Divisions that end a written-out normalisation, and the nodes inside of it.

    The first maps such a node to its input ``self`` and the attributes of an LRN; the nodes
    of the second are used for nothing else.  Windows of even size are left alone: PyTorch
    centres them elsewhere than the operator does.
    """
    found: dict[Any, dict[str, Any]] = {}
    inner: set[Any] = set()
    for node in nodes:
        chain = _chain(node)
        if not chain:
            continue
        power, add, scaled, pool, padding, square = (chain[i] for i in (0, 1, 2, 5, 6, 8))
        size, half = int(pool.args[1][0]), int(pool.args[1][0]) // 2
        if (
            size % 2 == 1
            and square.args == (node.args[0], node.args[0])
            and list(pool.args[1]) == [size, 1, 1]
            and list(padding.args[1]) == [0, 0, 0, 0, half, half]
        ):
            found[node] = {
                "self": node.args[0],
                "size": size,
                "alpha": float(scaled.args[1]),
                "beta": float(power.args[1]),
                "bias": float(add.args[1]),
            }
            inner.update(chain)
    return found, inner


def _chain(node: Any) -> list[Any]:
    """The nodes of the pattern, from the power back to the square; empty if it is not there."""
    if operator_name(node) != "div" or len(node.args) < 2:
        return []
    chain: list[Any] = []
    for wanted in _CHAIN:
        node = node.args[1] if not chain else node.args[0]
        name = "pad" if operator_name(node) == "constant_pad_nd" else operator_name(node)
        if name != wanted or len(node.users) != 1:
            return []
        chain.append(node)
    return chain
