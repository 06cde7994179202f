"""Embeddings of units, and the methods that factor layers by them and by blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.errors import RecipeError, ReticuleError  # noqa: E402
from reticule.forms import Factored, Packed, Sparse  # noqa: E402
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.methods import METHODS, Context, Outcome  # noqa: E402
from reticule.methods.factor.lowrank import chosen_pieces  # noqa: E402
from reticule.methods.factor.means import by_blocks, cocluster  # noqa: E402
from reticule.methods.factor.ranks import by_ratio, numbers  # noqa: E402
from reticule.science.embeddings import KINDS, UnitEmbedding, leading, proximities  # noqa: E402

GRAPHS = [kind for kind in KINDS if kind not in ("svd", "random")]


def weights(rows: int = 40, columns: int = 60, seed: int = 0, rank: int = 12) -> np.ndarray:
    """Something of low rank, and noise."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    return (low / rank + 0.1 * rng.normal(size=(rows, columns))).astype("f4")


def network(seed: int = 0, groups: int = 1) -> Network:
    """A convolution, one with groups, one by 1 x 1, and two linear layers behind a flatten."""
    rng = np.random.default_rng(seed)
    pads: Mapping[str, Any] = {"pads": (1, 1, 1, 1)}
    nodes = (
        Node("Conv", "c1", ("x", "w1"), ("a",), pads),
        Node("Conv", "c2", ("a", "w2"), ("b",), {**pads, "group": groups}),
        Node("Conv", "c3", ("b", "w3"), ("c",)),
        Node("Flatten", "flat", ("c",), ("f",)),
        Node("Gemm", "g1", ("f", "v1"), ("h",)),
        Node("Gemm", "g2", ("h", "v2"), ("y",)),
    )
    shapes = {
        "w1": (16, 2, 3, 3),
        "w2": (16, 16 // groups, 3, 3),
        "w3": (12, 16, 1, 1),
        "v1": (24, 12 * 25),
        "v2": (20, 24),
    }
    tensors = {n: rng.normal(size=s).astype("f4") / s[1] ** 0.5 for n, s in shapes.items()}
    return Network(Graph({"x": (2, 5, 5)}, ("y",), nodes, shapes).check(), tensors)


def applied(method: str, given: Network, **parameters: object) -> Outcome:
    return METHODS[method](**parameters).apply(Packed.of(given), Context(given))


def error_of(outcome: Outcome, given: Network) -> float:
    squares = [
        np.square(outcome.packed.forms[name].dense() - tensor).sum()
        for name, tensor in given.tensors.items()
    ]
    return float(sum(squares))


# Embeddings -----------------------------------------------------------------------------------


def test_netmf_is_the_closed_form_of_the_source() -> None:
    """M = vol / (b T) (P + P^2 + ... + P^T) D^-1, computed for the whole graph."""
    graph = np.abs(weights(5, 7))
    whole = np.block([[np.zeros((5, 5)), graph], [graph.T, np.zeros((7, 7))]])
    degrees = whole.sum(1)
    walk = whole / degrees[:, None]
    powers = [np.linalg.matrix_power(walk, r) for r in range(1, 5)]
    mean = whole.sum() / (2.0 * 4) * sum(powers) / degrees
    (found,) = proximities("netmf", graph, 4, 2.0)
    np.testing.assert_allclose(found, np.log(np.maximum(mean, 1))[:5, 5:], atol=1e-9)


def test_grarep_compares_each_power_with_its_mean() -> None:
    graph = np.abs(weights(5, 7))
    one, three = proximities("grarep", graph, 4, 1.0)
    walk = graph / graph.sum(1, keepdims=True)
    np.testing.assert_allclose(one, np.maximum(np.log(walk / walk.mean(0)), 0))
    back = graph.T / graph.sum(0)[:, None]
    longer = walk @ back @ walk
    np.testing.assert_allclose(three, np.maximum(np.log(longer / longer.mean(0)), 0), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (8, 5, 3, 3), (6, 1)])
def test_embeddings_of_all_dimensions_lose_nothing(kind: str, shape: tuple[int, ...]) -> None:
    tensor = np.random.default_rng(1).normal(size=shape)
    found = UnitEmbedding(kind, max(shape)).fit(tensor)
    assert found.row_embedding_.shape == (shape[0], shape[0])
    assert found.column_embedding_.shape == (shape[1], shape[1])
    assert found.error_ < 1e-6


@pytest.mark.parametrize("kind", GRAPHS)
def test_no_embedding_is_nearer_than_the_decomposition_nor_as_far_as_chance(kind: str) -> None:
    for seed in range(3):
        matrix = weights(seed=seed)
        errors = {k: UnitEmbedding(k, 8).fit(matrix).error_ for k in ("svd", kind, "random")}
        assert errors["svd"] <= errors[kind] + 1e-9
        assert errors[kind] < 0.95 * errors["random"]
        values = np.linalg.svd(matrix.astype("f8"), compute_uv=False)
        bound = np.sqrt(np.square(values[8:]).sum() / np.square(values).sum())
        assert errors["svd"] == pytest.approx(bound)


def test_signs_are_half_of_what_a_layer_knows() -> None:
    matrix = weights()
    errors = [
        UnitEmbedding("netmf", 8, signs=signs).fit(matrix).error_
        for signs in ("difference", "concatenated", "none")
    ]
    assert errors[0] < errors[1] < errors[2]


def test_the_same_seed_gives_the_same_embedding() -> None:
    one, other = (UnitEmbedding("random", 3, seed=5).fit(weights()) for _ in range(2))
    np.testing.assert_array_equal(one.row_embedding_, other.row_embedding_)


def test_units_without_weights_have_coordinates_too() -> None:
    matrix = weights()
    matrix[3], matrix[:, 5] = 0, 0
    for kind in KINDS:
        found = UnitEmbedding(kind, 4).fit(matrix)
        assert np.isfinite(found.row_embedding_).all() and np.isfinite(found.error_)
        assert UnitEmbedding(kind, 4).fit(np.zeros((5, 6))).error_ == 0


def test_large_matrices_are_searched_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = weights(200, 150).astype("f8")
    exact = leading(matrix, 5, np.random.default_rng(0))
    monkeypatch.setattr("reticule.science.embeddings._WHOLE", 20)
    np.testing.assert_allclose(leading(matrix, 5, np.random.default_rng(0)), exact, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "matrix", "problem"),
    [
        ({"kind": "node2vec"}, np.eye(3), "kind='node2vec'"),
        ({"signs": "both"}, np.eye(3), "signs='both'"),
        ({"window": 0}, np.eye(3), "window"),
        ({"dimensions": 0}, np.eye(3), "at least one dimension"),
        ({}, np.ones(3), "two axes"),
        ({}, np.full((2, 2), np.nan), "finite"),
        ({}, np.zeros((0, 4)), "finite"),
    ],
)
def test_bad_settings_and_weights_say_so(settings: Any, matrix: np.ndarray, problem: str) -> None:
    with pytest.raises(ReticuleError, match=problem):
        UnitEmbedding(**settings).fit(matrix)


# Ranks ----------------------------------------------------------------------------------------


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40))
    | st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3), st.just(3)),
    ratio=st.floats(0.01, 1),
)
def test_a_ratio_is_the_share_that_factors_take_at_most(shape: Any, ratio: float) -> None:
    left, right = by_ratio(shape, ratio)
    assert 1 <= left <= shape[0] and 1 <= right <= shape[1]
    most = ratio * np.prod(shape)
    assert numbers(shape, (left, right)) <= most or min(left, right) == 1


# The method embedding -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_factored_networks_answer_like_their_weights(kind: str) -> None:
    given = network()
    outcome = applied("embedding", given, kind=kind, ratio=0.4, floor=1)
    forms = outcome.packed.forms
    for name in ("w1", "w2", "w3", "v1", "v2"):
        assert isinstance(forms[name], Factored), outcome.skipped
    x = np.random.default_rng(2).normal(size=(3, 2, 5, 5)).astype("f4")
    expected = Model(Packed.of(outcome.packed.network()))(x)
    np.testing.assert_allclose(Model(outcome.packed)(x), expected, atol=1e-4)
    loaded = loads(dumps(outcome.packed, About())).packed
    np.testing.assert_array_equal(Model(loaded)(x), Model(outcome.packed)(x))
    found = outcome.notes
    assert found["numbers"] == sum(form.macs for form in forms.values())
    assert found["numbers"] <= 0.4 * found["weights"]


def test_all_energy_is_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a layer's rank is full it does not pay, so that the check is told it does."""
    monkeypatch.setattr("reticule.methods.factor.embedding.numbers", lambda *_, **__: 0)
    for kind in KINDS:
        given = network()
        outcome = applied("embedding", given, kind=kind, rank=1000)
        assert isinstance(outcome.packed.forms["w2"], Factored)
        for name, tensor in given.tensors.items():
            np.testing.assert_allclose(outcome.packed.forms[name].dense(), tensor, atol=1e-5)
    exact = applied("embedding", network(), kind="svd", energy=1.0)
    assert max(exact.notes["errors"].values()) < 1e-5


def test_the_order_of_errors_is_that_of_the_theory() -> None:
    given = network()
    tensors = {**given.tensors, "v1": weights(24, 300, 1), "v2": weights(20, 24, 2)}
    given = Network(given.graph, tensors)
    settings = {"rank": 5, "skip": ["w*"]}
    errors = {
        kind: error_of(applied("embedding", given, kind=kind, **settings), given) for kind in KINDS
    }
    for kind in GRAPHS:
        assert errors["svd"] <= errors[kind] < errors["random"]


def test_ranks_may_be_named_for_each_layer() -> None:
    outcome = applied("embedding", network(), rank={"g?": 3, "w2": 4})
    forms = outcome.packed.forms
    assert (forms["v1"].name, forms["w2"].name) == ("factored3", "factored4x4")
    assert outcome.skipped["w3"] == "not named in 'rank'"
    with pytest.raises(RecipeError, match=r"embedding: no layer 'conv9' to factor; w1, .*"):
        applied("embedding", network(), rank={"conv9": 3})


def test_layers_that_would_grow_and_groups_are_left_alone() -> None:
    outcome = applied("embedding", network(groups=4), rank=12)
    assert "4 groups" in outcome.skipped["w2"]
    assert "numbers, the layer has" in outcome.skipped["w3"]
    assert isinstance(outcome.packed.forms["v1"], Factored)


def test_shares_leave_classes_apart() -> None:
    given = linear(weights(10, 100))
    assert "ranks of (10, 10) take 1100" in applied("embedding", given).skipped["w"]
    assert applied("embedding", given, floor=2).packed.forms["w"].name == "factored2"
    form = applied("block-low-rank", given).packed.forms["w"]
    assert not isinstance(form, Factored) or form.rows.shape[1] >= 10


def test_shared_coordinates_count_once() -> None:
    given = network()
    outcome = applied("embedding", given, rank=4, shared=True)
    forms = outcome.packed.forms
    notes = outcome.notes
    assert all(form.columns is not None for form in forms.values())
    # c1 makes what c2 reads, c2 what c3 reads, g1 what g2 reads; v1 has columns of its own.
    again = 16 * 4 + 16 * 4 + 24 * 4
    assert notes["numbers"] - notes["numbers_shared"] == again
    for maker, reader in (("w1", "w2"), ("w2", "w3"), ("v1", "v2")):
        made, read = forms[maker].rows.dense(), forms[reader].columns.dense()
        np.testing.assert_allclose(
            made / np.linalg.norm(made), read / np.linalg.norm(read), atol=1e-6
        )
    apart = applied("embedding", given, rank=4)
    assert error_of(apart, given) <= error_of(outcome, given)


@pytest.mark.parametrize(
    ("method", "settings", "problem"),
    [
        ("embedding", {"rank": 3, "ratio": 0.1}, "give one of rank, energy and ratio"),
        ("embedding", {"shared": True}, "'shared' needs a 'rank'"),
        ("embedding", {"shared": True, "rank": {"*": 3}}, "'shared' needs a 'rank'"),
        ("block-low-rank", {"energy": 0.5, "ratio": 0.1}, "give energy or ratio"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    method: str, settings: Any, problem: str, tmp_path: Any
) -> None:
    from reticule.recipes.loader import load_recipe

    with pytest.raises(ValueError, match=problem):
        METHODS[method](**settings)
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: bad\nstages: [{{method: {method}, {str(settings)[1:-1]}}}]")
    path.write_text(path.read_text().replace("True", "true"))
    with pytest.raises(RecipeError, match=problem) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


# Blocks ---------------------------------------------------------------------------------------


def planted() -> np.ndarray:
    """Four blocks of low rank, which differ in spread."""
    rng = np.random.default_rng(4)
    spread = np.kron(np.array([[3.0, 0.2], [0.2, 2.0]]), np.ones((30, 40)))
    low = [[rng.normal(size=(30, 2)) @ rng.normal(size=(2, 40)) for _ in (0, 1)] for _ in (0, 1)]
    return (np.block(low) * spread).astype("f4")


def linear(matrix: np.ndarray) -> Network:
    node = Node("Gemm", "g", ("x", "w"), ("y",))
    graph = Graph({"x": matrix.shape[1:]}, ("y",), (node,), {"w": matrix.shape})
    return Network(graph, {"w": matrix})


def test_blocks_of_low_rank_are_found_and_kept() -> None:
    outcome = applied("block-low-rank", linear(planted()), energy=0.999, family="normal-variance")
    form = outcome.packed.forms["w"]
    assert isinstance(form, Factored) and isinstance(form.rows, Sparse)
    assert min(outcome.notes["blocks"]["w"]) >= 2
    assert outcome.notes["errors"]["w"] ** 2 < 0.0011
    loaded = loads(dumps(outcome.packed, About())).packed.forms["w"]
    np.testing.assert_array_equal(loaded.dense(), form.dense())
    x = np.random.default_rng(1).normal(size=(5, 80)).astype("f4")
    np.testing.assert_allclose(Model(outcome.packed)(x), x @ form.dense().T, rtol=1e-4, atol=1e-3)


def test_blocks_of_kernels_are_of_channels() -> None:
    given = network()
    outcome = applied("block-low-rank", given, ratio=0.4, floor=1)
    form = outcome.packed.forms["w2"]
    assert isinstance(form, Factored) and form.shape == (16, 16, 3, 3)
    assert form.rows.macs + form.core.macs <= 0.4 * form.size


def test_pieces_of_all_blocks_are_the_matrix() -> None:
    matrix = weights(12, 9).astype("f8")
    labels = np.arange(12) % 3, np.arange(9) % 2
    pieces = chosen_pieces(matrix, labels, 1.0, 1.0)
    np.testing.assert_allclose(sum(np.outer(u, v) for u, v in pieces), matrix, atol=1e-9)
    few = chosen_pieces(matrix, labels, None, 0.3)
    assert sum(np.count_nonzero(u) + np.count_nonzero(v) for u, v in few) <= 0.3 * 108
    whole = chosen_pieces(matrix, (np.zeros(12, int), np.zeros(9, int)), None, 0.4)
    u, values, v = np.linalg.svd(matrix)
    best = (u[:, : len(whole)] * values[: len(whole)]) @ v[: len(whole)]
    np.testing.assert_allclose(sum(np.outer(a, b) for a, b in whole), best, atol=1e-9)


def test_means_of_blocks_are_exact_for_copies_and_say_so_for_others() -> None:
    class Heard:
        def __init__(self) -> None:
            self.said: list[str] = []

        def bar(self, title: str, total: int) -> Any: ...

        def say(self, text: str) -> None:
            self.said.append(text)

    rng = np.random.default_rng(0)
    copies = rng.normal(size=(4, 5))[np.arange(40) % 4][:, np.arange(60) % 5].astype("f4")
    given = linear(copies)
    heard = Heard()
    context = Context(given, progress=heard)  # type: ignore[arg-type]
    outcome = METHODS["block-means"](blocks=8).apply(Packed.of(given), context)
    form = outcome.packed.forms["w"]
    np.testing.assert_allclose(form.dense(), copies, atol=1e-6)
    assert outcome.notes["explained"] == {"w": 1.0} and not heard.said
    assert form.core.shape[0] <= 8 and form.rows.bits < 40 * 12
    given = linear(rng.normal(size=(40, 60)).astype("f4"))
    outcome = METHODS["block-means"](blocks=8).apply(Packed.of(given), context)
    (said,) = heard.said
    assert "practically never" in said and said.endswith(str(outcome.notes["warning"]))
    assert outcome.notes["explained"]["w"] < 0.5
    loaded = loads(dumps(outcome.packed, About())).packed.forms["w"]
    np.testing.assert_array_equal(loaded.dense(), outcome.packed.forms["w"].dense())


def test_coclusters_of_kernels_are_of_channels() -> None:
    kernels = np.random.default_rng(0).normal(size=(3, 2, 3, 3))[np.arange(12) % 3]
    rows, columns = cocluster(kernels, 3, np.random.default_rng(1))
    np.testing.assert_allclose(by_blocks(kernels, rows, columns).dense(), kernels, atol=1e-6)
    assert cocluster(np.zeros((4, 3)), 9, np.random.default_rng(0))[0].tolist() == [0] * 4


# Recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["embedding", "block-low-rank", "block-means"])
def test_recipes_keep_their_form_through_training(recipe: str) -> None:
    import reticule
    from reticule.recipes.loader import load_recipe

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 2, 5, 5), dtype=np.uint8)
    data = reticule.Data((images, rng.integers(0, 20, 80)))
    given = network()
    result = reticule.compress(given, train=data, recipe=recipe, minutes=0.05)
    forms = [f for f in result.packed.forms.values() if isinstance(f, Factored)]
    assert forms, recipe
    assert all("quantised" in form.core.name for form in forms)
    assert load_recipe(recipe).stages[-1].name == "retrain"
