"""Block models: planted blocks are found, chance is not taken for blocks, bits are honest."""

from __future__ import annotations

from math import comb, log2

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from reticule.errors import ReticuleError
from reticule.graph import Graph, Network, Node
from reticule.science import (
    FAMILIES,
    BlockModel,
    CoClustering,
    CoupledBlockModel,
    description_length,
    network_graph,
)
from reticule.science.blocks.counting import log2_integer_partitions


def planted(kind: str, seed: int, rows: int = 200, columns: int = 300, blocks: int = 4):
    """A matrix with its row and column labels."""
    rng = np.random.default_rng(seed)
    z, w = rng.integers(0, blocks, rows), rng.integers(0, blocks, columns)
    inside = z[:, None] == w[None]
    if kind == "mask":
        return (rng.random((rows, columns)) < np.where(inside, 0.3, 0.05)).astype(float), z, w
    if kind == "means":
        means = rng.normal(0, 1.5, (blocks, blocks))
        return rng.normal(means[z][:, w], 1.0), z, w
    draw = rng.normal if kind == "variances" else rng.laplace
    return draw(0, np.where(inside, 2.0, 1.0)), z, w


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("mask", "bernoulli"), ("mask", "degree-corrected"), ("means", "normal"),
        ("variances", "normal-variance"), ("scales", "laplace"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_blocks_are_found(kind: str, family: str, seed: int) -> None:
    matrix, z, w = planted(kind, seed)
    model = BlockModel(family).fit(matrix)
    assert model.n_blocks_ == (4, 4)
    assert adjusted_rand_score(z, model.row_labels_) >= 0.95
    assert adjusted_rand_score(w, model.column_labels_) >= 0.95


def test_blocks_that_only_degrees_make_are_no_blocks() -> None:
    """A mask of independent row and column densities, and its degree-preserving shuffle."""
    rng = np.random.default_rng(5)
    chance = np.outer(rng.uniform(0.05, 0.9, 120), rng.uniform(0.05, 0.9, 160))
    mask = (rng.random((120, 160)) < chance).astype(float)
    one = description_length(mask, np.zeros(120), np.zeros(160), "degree-corrected")
    assert BlockModel("degree-corrected").fit(mask).description_length_ >= 0.99 * one
    plain = BlockModel("bernoulli").fit(mask)
    assert plain.n_blocks_ != (1, 1)
    assert plain.description_length_ >= 0.99 * one


masks = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(0, 10**6), st.floats(0, 1))


@given(masks, st.sampled_from(list(FAMILIES)))
@settings(max_examples=40, deadline=None)
def test_blocks_are_never_longer_than_one(shape, family: str) -> None:
    rows, columns, seed, density = shape
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < density)
    model = BlockModel(family, restarts=2).fit(matrix)
    assert model.description_length_ <= model.one_block_length_ + 1e-6
    again = description_length(matrix, model.row_labels_, model.column_labels_, family)
    assert again == pytest.approx(model.description_length_, rel=1e-9, abs=1e-6)


@given(masks)
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_and_columns_does_not_matter(shape) -> None:
    rows, columns, seed, density = shape
    rng = np.random.default_rng(seed)
    mask = (rng.random((rows, columns)) < density).astype(float)
    z, w = rng.integers(0, 3, rows), rng.integers(0, 3, columns)
    p, q = rng.permutation(rows), rng.permutation(columns)
    for family in ("bernoulli", "degree-corrected"):
        there = description_length(mask, z, w, family)
        back = description_length(mask[p][:, q], z[p], w[q], family)
        assert there == pytest.approx(back, rel=1e-9, abs=1e-6)


def test_the_length_is_that_of_the_formula() -> None:
    """Counted by hand: two row blocks, one column block."""
    mask = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1]])
    z, w = np.array([0, 0, 1, 1]), np.zeros(3)
    labels = log2(4) + log2(comb(3, 1)) + log2(comb(4, 2)) + log2(3)
    blocks = log2(7) + log2(comb(6, 4)) + log2(7) + log2(comb(6, 1))
    assert description_length(mask, z, w) == pytest.approx(labels + blocks)


def test_integer_partitions_against_exact_counts() -> None:
    exact = [[0] * 61 for _ in range(61)]  # ways to write n as at most m parts
    for m in range(61):
        exact[0][m] = 1
    for n in range(1, 61):
        for m in range(1, 61):
            exact[n][m] = exact[n][m - 1] + (exact[n - m][m] if n >= m else 0)
    for n in range(1, 61):
        for m in range(1, 61):
            got = float(log2_integer_partitions(n, m))
            assert got == pytest.approx(log2(exact[n][m]), abs=0.6), (n, m)


def test_sparse_and_dense_masks_are_the_same() -> None:
    mask, _, _ = planted("mask", 3, 60, 80, 2)
    dense = BlockModel().fit(mask)
    sparse = BlockModel().fit(scipy.sparse.csr_matrix(mask))
    assert dense.description_length_ == pytest.approx(sparse.description_length_)
    np.testing.assert_array_equal(dense.row_labels_, sparse.row_labels_)


def test_blocks_lie_side_by_side_in_the_orders() -> None:
    mask, _, _ = planted("mask", 4, 60, 80, 2)
    model = BlockModel().fit(mask)
    rows, columns = model.orders()
    assert (np.diff(model.row_labels_[rows]) >= 0).all()
    assert (np.diff(model.column_labels_[columns]) >= 0).all()
    density = mask[rows][:, columns][: np.sum(model.row_labels_ == 0)]
    assert density[:, : np.sum(model.column_labels_ == 0)].mean() == pytest.approx(
        model.densities_[0, 0]
    )


def test_limits_of_blocks_hold() -> None:
    mask, _, _ = planted("mask", 1)
    assert BlockModel(blocks=2).fit(mask).n_blocks_ == (2, 2)
    limited = BlockModel(blocks=(3, 1)).fit(mask).n_blocks_
    assert limited[0] <= 3
    assert limited[1] == 1


def chained(seed: int, blocks: int = 3) -> tuple[Network, np.ndarray]:
    """Two layers whose shared units have planted blocks that either layer only hints at."""
    rng = np.random.default_rng(seed)
    hidden, ins, outs = (rng.integers(0, blocks, n) for n in (90, 60, 60))
    p = np.where(np.eye(blocks), 0.45, 0.1)
    wa = (rng.random((90, 60)) < p[hidden][:, ins]).astype("f4")
    wb = (rng.random((60, 90)) < p[outs][:, hidden]).astype("f4")
    nodes = (Node("Gemm", "a", ("x", "wa"), ("h",)), Node("Gemm", "b", ("h", "wb"), ("y",)))
    graph = Graph({"x": (60,)}, ("y",), nodes, {"wa": wa.shape, "wb": wb.shape})
    return Network(graph, {"wa": wa, "wb": wb}), hidden


def test_layers_that_share_units_help_each_other() -> None:
    network, hidden = chained(2)
    model = CoupledBlockModel().fit(network_graph(network))
    together = adjusted_rand_score(hidden, model.labels_["a"])
    alone = [
        adjusted_rand_score(hidden, BlockModel().fit(network.tensors["wa"]).row_labels_),
        adjusted_rand_score(hidden, BlockModel().fit(network.tensors["wb"]).column_labels_),
    ]
    assert together >= max(*alone, 0.9) - 1e-9
    assert model.description_length_ < model.one_block_length_
    assert set(model.layer_lengths_) == {"a", "b"}
    assert sum(model.layer_lengths_.values()) < model.description_length_


@pytest.mark.parametrize("method", ["coclustering", "checkerboard", "louvain", "leiden"])
def test_other_partitions_are_scored_alike(method: str) -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((60, 80)) < np.kron(np.eye(2) * 0.6 + 0.02, np.ones((30, 40)))).astype(float)
    mask[7] = 0  # a row without edges, which none of them can place
    model = CoClustering(method, blocks=2).fit(mask)
    assert model.row_labels_.shape == (60,)
    assert model.description_length_ == pytest.approx(
        description_length(mask, model.row_labels_, model.column_labels_)
    )
    assert model.description_length_ < model.one_block_length_


@pytest.mark.parametrize("method", ["louvain", "leiden"])
def test_communities_are_the_same_every_time(method: str) -> None:
    """Where there is nothing to find, so that chance decides."""
    mask = np.random.default_rng(4).random((60, 90)) < 0.1
    first, *others = (CoClustering(method).fit(mask).row_labels_ for _ in range(5))
    assert all(np.array_equal(first, other) for other in others)


def test_settings_are_scikit_learns() -> None:
    model = BlockModel().set_params(blocks=3)
    assert model.get_params() == {"family": "bernoulli", "blocks": 3, "restarts": 4, "seed": 0}
    assert repr(model) == "BlockModel(family='bernoulli', blocks=3, restarts=4, seed=0)"
    with pytest.raises(ReticuleError, match="no setting 'k'"):
        model.set_params(k=3)


def test_the_same_seed_gives_the_same_answer() -> None:
    mask, _, _ = planted("mask", 9, 80, 90, 3)
    one, other = (BlockModel(seed=4).fit(mask) for _ in range(2))
    np.testing.assert_array_equal(one.row_labels_, other.row_labels_)


@pytest.mark.parametrize(
    ("settings_", "matrix", "message"),
    [
        ({"family": "poisson"}, np.eye(3), "take bernoulli"),
        ({"blocks": 0}, np.eye(3), "give 'auto'"),
        ({"blocks": (2, 2, 2)}, np.eye(3), "one for each side"),
        ({"restarts": 0}, np.eye(3), "positive number"),
        ({}, np.array([[1.0, np.nan]]), "NaN or infinities"),
        ({}, np.zeros(4), "shape"),
        ({}, np.zeros((0, 3)), "at least one row"),
    ],
)
def test_bad_input_is_one_clear_line(settings_, matrix, message: str) -> None:
    with pytest.raises(ReticuleError, match=message):
        BlockModel(**settings_).fit(matrix)
