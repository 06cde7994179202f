"""Network measures against networkx, brute force and networks made to have an answer."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.science import LayerGraph, NetworkGraph, to_networkx
from reticule.science.measures import (
    Compared,
    Whole,
    butterflies,
    communities,
    compared,
    core_numbers,
    inequality,
    modularity,
    normalised_cut,
    path_shares,
    rewired,
    rich_club,
)

networkx = pytest.importorskip("networkx")


def layered(seed: int, sizes=(12, 15, 9), density: float = 0.3) -> NetworkGraph:
    """A chain of random sparse layers."""
    rng = np.random.default_rng(seed)
    names = [f"g{i}" for i in range(len(sizes))]
    layers = []
    for i in range(1, len(sizes)):
        weights = rng.normal(size=(sizes[i], sizes[i - 1]))
        weights *= rng.random(weights.shape) < density
        matrix = scipy.sparse.csr_matrix(weights.astype("f4"))
        layers.append(LayerGraph(f"l{i}", names[i], names[i - 1], matrix))
    return NetworkGraph(dict(zip(names, sizes, strict=True)), tuple(layers))


def planted(seed: int = 0, inside: float = 0.6, outside: float = 0.02) -> NetworkGraph:
    """Three layers of units, two communities that go through all of them."""
    rng = np.random.default_rng(seed)
    halves = [np.repeat([0, 1], 20) for _ in range(3)]
    layers = []
    for i in (1, 2):
        chance = np.where(halves[i][:, None] == halves[i - 1], inside, outside)
        matrix = scipy.sparse.csr_matrix((rng.random((40, 40)) < chance).astype("f4"))
        layers.append(LayerGraph(f"l{i}", f"g{i}", f"g{i - 1}", matrix))
    return NetworkGraph({f"g{i}": 40 for i in range(3)}, tuple(layers))


def nodes(graph: NetworkGraph) -> list:
    return [(name, unit) for name, size in graph.groups.items() for unit in range(size)]


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_measures_are_networkxs(seed: int) -> None:
    graph = layered(seed)
    whole = Whole.of(graph)
    other = networkx.Graph()
    other.add_nodes_from(nodes(graph))
    for a, b, data in to_networkx(graph).edges(data=True):
        other.add_edge(a, b, weight=abs(data["weight"]))
    order = nodes(graph)
    np.testing.assert_array_equal(whole.degrees, [other.degree[n] for n in order])
    expected = [other.degree(weight="weight")[n] for n in order]
    np.testing.assert_allclose(whole.strengths, expected, rtol=1e-5)
    cores = networkx.core_number(other)
    np.testing.assert_array_equal(core_numbers(whole), [cores[n] for n in order])
    labels = np.random.default_rng(seed).integers(0, 3, whole.units)
    sets = [{order[i] for i in np.flatnonzero(labels == k)} for k in range(3)]
    q = networkx.community.modularity(other, sets, weight="weight")
    assert modularity(whole, labels) == pytest.approx(q, abs=1e-6)


@given(st.integers(0, 1000), st.floats(0.05, 1.0))
@settings(max_examples=20, deadline=None)
def test_the_null_model_keeps_degrees_and_weights(seed: int, density: float) -> None:
    graph = layered(seed, density=density)
    null = rewired(graph, np.random.default_rng(seed))
    for a, b in zip(graph.layers, null.layers, strict=True):
        assert a.matrix.nnz == b.matrix.nnz
        for axis in (0, 1):
            np.testing.assert_array_equal((a.matrix != 0).sum(axis), (b.matrix != 0).sum(axis))
        np.testing.assert_allclose(np.sort(a.matrix.data), np.sort(b.matrix.data))


def test_the_null_model_moves_edges() -> None:
    graph = planted()
    null = rewired(graph, np.random.default_rng(1))
    kept = graph.layers[0].matrix.multiply(null.layers[0].matrix).nnz
    assert kept < 0.6 * graph.layers[0].matrix.nnz


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_butterflies_are_counted(seed: int) -> None:
    layer = layered(seed, (7, 9), 0.4).layers[0]
    mask = layer.matrix.toarray() != 0
    expected = sum(
        int(mask[np.ix_(rows, columns)].all())
        for rows in combinations(range(mask.shape[0]), 2)
        for columns in combinations(range(mask.shape[1]), 2)
    )
    assert butterflies(layer) == expected


def test_communities_that_are_there_are_found_and_significant() -> None:
    graph = planted()
    whole = Whole.of(graph)
    labels = communities(whole)
    halves = np.tile(np.repeat([0, 1], 20), 3)
    live = labels >= 0
    assert len(set(labels[live].tolist())) == 2
    agree = np.mean(labels[live] == halves[live])
    assert max(agree, 1 - agree) > 0.97

    def best(g: NetworkGraph) -> float:
        w = Whole.of(g)
        return modularity(w, communities(w))

    found = compared(graph, best, times=20)
    assert found.z > 5
    assert found.p == pytest.approx(1 / 21)
    assert compared(graph, lambda g: -normalised_cut(Whole.of(g), 2), times=20).z > 5
    chance = rewired(graph, np.random.default_rng(3))
    assert abs(compared(chance, best, times=20).z) < 4


def test_hubs_that_prefer_hubs_are_a_rich_club() -> None:
    rng = np.random.default_rng(0)
    degree = np.where(np.arange(60) < 8, 0.5, 0.06)
    mask = rng.random((60, 60)) < np.sqrt(np.outer(degree, degree)) * 0.7
    mask[:8, :8] = True
    graph = NetworkGraph(
        {"x": 60, "y": 60}, (LayerGraph("l", "y", "x", scipy.sparse.csr_matrix(mask.astype("f4"))),)
    )
    club = compared(graph, lambda g: rich_club(Whole.of(g)), times=20)
    assert club.value > 0.9
    assert club.z > 2


def test_paths_of_a_chain_are_shared_out() -> None:
    """Every layer that all paths cross has a share of 1 in all; the only bridge has it alone."""
    graph = layered(4, (6, 8, 5), 1.0)
    whole, shares = Whole.of(graph), path_shares(graph)
    for number in range(3):
        assert shares[whole.group == number].sum() == pytest.approx(1.0)
    one = scipy.sparse.csr_matrix(np.ones((1, 4), "f4"))
    bridge = NetworkGraph(
        {"x": 4, "b": 1, "y": 3},
        (
            LayerGraph("in", "b", "x", one),
            LayerGraph("out", "y", "b", scipy.sparse.csr_matrix(np.ones((3, 1), "f4"))),
        ),
    )
    assert path_shares(bridge)[4] == pytest.approx(1.0)


def test_units_without_edges_are_in_no_community() -> None:
    empty = NetworkGraph(
        {"x": 3, "y": 2}, (LayerGraph("l", "y", "x", scipy.sparse.csr_matrix((2, 3), dtype="f4")),)
    )
    whole = Whole.of(empty)
    assert (communities(whole) == -1).all()
    assert modularity(whole, communities(whole)) == 0
    assert normalised_cut(whole) == 0
    assert core_numbers(whole).tolist() == [0] * 5
    assert inequality(whole.degrees) == 0
    assert rewired(empty, np.random.default_rng(0)).layers[0].matrix.nnz == 0


def test_a_p_value_is_never_zero() -> None:
    assert Compared.of(5.0, np.zeros(99)).p == pytest.approx(0.01)
    assert Compared.of(-1.0, np.zeros(99)).p == 1.0
