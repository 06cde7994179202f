"""Methods: pruning, sharing, half precision; what they promise about the forms they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from test_tuning import small_problem

from reticule.errors import RecipeError
from reticule.forms import Codebook, Dense, Packed, Sparse
from reticule.graph import Graph, Network, Node
from reticule.methods import (
    Context,
    GradualPruning,
    HalfPrecision,
    MatchMoments,
    Outcome,
    Retrain,
    ThresholdPruning,
    WeightSharing,
)
from reticule.methods.prune.scores import lamp, masks_at
from reticule.methods.share.kmeans import kmeans, nearest
from reticule.tuning.problem import Problem
from reticule.tuning.train import Training

RNG = np.random.default_rng(0)


def two_layers(sizes: tuple[int, int, int] = (20, 30, 10)) -> Packed:
    """A small perceptron with random weights."""
    a, b, c = sizes
    graph = Graph(
        {"x": (a,)},
        ("y",),
        (
            Node("Gemm", "one", ("x", "one.weight", "one.bias"), ("h",)),
            Node("Relu", "relu", ("h",), ("r",)),
            Node("Gemm", "two", ("r", "two.weight"), ("y",)),
        ),
        {"one.weight": (b, a), "one.bias": (b,), "two.weight": (c, b)},
    )
    rng = np.random.default_rng(1)
    tensors = {n: rng.normal(size=s).astype("f4") for n, s in graph.tensors.items()}
    return Packed.of(Network(graph, tensors))


def context_of(packed: Packed, **settings: object) -> Context:
    return Context(packed.network(), **settings)  # type: ignore[arg-type]


@given(
    st.floats(0, 1), st.sampled_from(["global", "layer"]), st.sampled_from(["lamp", "magnitude"])
)
@settings(max_examples=50, deadline=None)
def test_masks_keep_the_best_and_about_as_many_as_asked(
    density: float, scope: str, score: str
) -> None:
    weights = {"a": RNG.normal(size=(30, 40)), "b": RNG.normal(size=(20, 25)) * 0.1}
    masks = masks_at(weights, density, scope=scope, score=score, floor=0.0)  # type: ignore[arg-type]
    for name, mask in masks.items():
        kept, cut = np.abs(weights[name][mask]), np.abs(weights[name][~mask])
        assert mask.sum() >= 2 * mask.shape[0]  # two for each output channel
        if kept.size and cut.size:
            assert kept.min() >= cut.max()
    total = sum(w.size for w in weights.values())
    kept = sum(int(m.sum()) for m in masks.values())
    assert kept <= density * total + 2 * 50 + 2
    assert kept >= density * total - 2


def test_masks_never_keep_a_zero() -> None:
    weights = {"a": np.array([[0.0, 1.0], [0.0, 0.0]])}
    assert masks_at(weights, 1.0)["a"].tolist() == [[False, True], [False, False]]


def test_lamp_by_its_definition() -> None:
    weights = RNG.normal(size=50)
    expected = [w * w / sum(v * v for v in weights if abs(v) >= abs(w)) for w in weights]
    assert np.allclose(lamp(weights), expected)


def test_threshold_pruning_cuts_at_the_quality_times_the_deviation() -> None:
    packed = two_layers()
    outcome = ThresholdPruning(quality=0.8).apply(packed, context_of(packed))
    for name in ("one.weight", "two.weight"):
        before, after = packed.forms[name].dense(), outcome.packed.forms[name]
        assert isinstance(after, Sparse)
        assert np.array_equal(after.mask(), np.abs(before) > 0.8 * before.std())
        assert np.array_equal(after.dense()[after.mask()], before[after.mask()])
    assert outcome.packed.forms["one.bias"] is packed.forms["one.bias"]
    assert "not the weight" in outcome.skipped["one.bias"]


def test_what_is_skipped_is_named_with_a_reason() -> None:
    packed = two_layers()
    shared = WeightSharing(smallest=1).apply(packed, context_of(packed)).packed
    outcome = ThresholdPruning(skip=["two.*"]).apply(shared, context_of(packed))
    assert outcome.skipped["two.weight"] == "named in 'skip'"
    assert outcome.skipped["one.weight"].startswith("already in the form codebook")
    assert outcome.packed.forms == shared.forms
    small = ThresholdPruning(smallest=500).apply(packed, context_of(packed))
    assert small.skipped["two.weight"] == "only 300 weights"


def test_everything_may_be_pruned_away() -> None:
    packed = two_layers()
    pruned = ThresholdPruning(quality=1e9).apply(packed, context_of(packed)).packed
    assert pruned.forms["one.weight"].nonzero == 0
    shared = WeightSharing().apply(pruned, context_of(packed)).packed
    assert not shared.forms["one.weight"].dense().any()


def exact_kmeans_cost(data: np.ndarray, k: int) -> float:
    """Least sum of squares of a division of sorted data into k runs (dynamic programming)."""
    data = np.sort(data)
    ones, twos = np.cumsum([0.0, *data]), np.cumsum([0.0, *data**2])

    def cost(i: int, j: int) -> float:
        return twos[j] - twos[i] - (ones[j] - ones[i]) ** 2 / (j - i)

    best = [cost(0, j) if j else 0.0 for j in range(len(data) + 1)]
    for _ in range(k - 1):
        best = [0.0] + [
            min(best[j], *(best[i] + cost(i, j) for i in range(j))) for j in range(1, len(data) + 1)
        ]
    return best[-1]


@pytest.mark.parametrize("init", ["linear", "density", "random"])
def test_kmeans_converges_to_a_local_optimum_near_the_exact_one(init: str) -> None:
    data = np.concatenate([RNG.normal(-2, 0.3, 40), RNG.normal(1, 0.5, 60)])
    centroids = kmeans(data, 4, init, 200, np.random.default_rng(0))  # type: ignore[arg-type]
    assert (np.diff(centroids) > 0).all() and len(centroids) <= 4
    codes = nearest(data, centroids)
    means = [data[codes == k].mean() for k in range(len(centroids))]
    assert np.allclose(means, centroids)  # a fixed point of Lloyd's algorithm
    cost = np.square(data - centroids[codes]).sum()
    assert exact_kmeans_cost(data, 4) <= cost + 1e-9 <= 1.6 * exact_kmeans_cost(data, 4)


def test_nearest_is_nearest() -> None:
    centroids = np.array([-1.0, 0.2, 3.0], "f4")
    data = RNG.normal(size=200).astype("f4") * 2
    expected = np.abs(data[:, None] - centroids[None]).argmin(1)
    assert np.array_equal(nearest(data, centroids), expected)


def test_sharing_keeps_the_mask_and_shares_survivors_only() -> None:
    packed = two_layers((40, 60, 10))
    pruned = ThresholdPruning(quality=1.0).apply(packed, context_of(packed)).packed
    shared = WeightSharing(linear_bits=3).apply(pruned, context_of(packed)).packed
    for name in ("one.weight", "two.weight"):
        before, after = pruned.forms[name], shared.forms[name]
        assert isinstance(before, Sparse) and isinstance(after, Sparse)
        assert isinstance(after.values, Codebook)
        assert np.array_equal(after.mask(), before.mask())
        assert len(np.unique(after.values.dense())) <= 8
        error = np.abs(after.dense() - before.dense())[before.mask()].max()
        assert error < np.ptp(before.values.dense()) / 4


def test_small_layers_get_small_tables() -> None:
    packed = two_layers((10, 10, 10))
    shared = WeightSharing(linear_bits=8, table_share=0.25).apply(packed, context_of(packed)).packed
    form = shared.forms["two.weight"]
    assert isinstance(form, Codebook)
    k = form.centroids.shape[0]
    assert 16 * k <= 0.25 * form.size * max(1, (k - 1).bit_length()) or k <= 2


def test_half_precision_leaves_what_does_not_fit() -> None:
    packed = two_layers()
    large = packed.with_forms(
        {
            "one.bias": Dense(np.full(30, 1e6, "f4")),
            "two.weight": Dense(np.full((10, 30), 1e-9, "f4")),
        }
    )
    outcome = HalfPrecision().apply(large, context_of(packed))
    assert outcome.packed.forms["one.bias"].dense()[0] == 1e6
    assert outcome.packed.forms["two.weight"].dense()[0, 0] == np.float32(1e-9)
    assert outcome.packed.forms["one.weight"].name == "dense(float16)"
    assert set(outcome.skipped) == {"one.bias", "two.weight"}


def test_retraining_needs_data() -> None:
    packed = two_layers()
    with pytest.raises(RecipeError, match="--train"):
        Retrain().apply(packed, context_of(packed))


def trained_problem(images: int) -> Problem:
    """A small problem whose original network has learnt its task."""
    problem = small_problem(images)
    settings = Training(epochs=6, learning_rate=0.01, batch=16, distil=0.0)
    context = Context(problem.original, problem=problem)
    trained = Retrain(training=settings).apply(Packed.of(problem.original), context).packed
    return replace(problem, original=trained.network())


def gradual(problem: Problem, **settings: object) -> Outcome:
    """Gradual pruning of the problem's network with a quick training."""
    quick = Training(epochs=10, learning_rate=0.005, batch=16)
    method = GradualPruning(**{"smallest": 30, "training": quick, **settings})  # type: ignore[arg-type]
    context = Context(problem.original, problem=problem)
    return method.apply(Packed.of(problem.original), context)


def test_gradual_pruning_reaches_its_density_and_keeps_the_accuracy() -> None:
    problem = trained_problem(200)
    outcome = gradual(problem, density=0.3)
    assert abs(outcome.notes["density"] - 0.3) < 0.02  # type: ignore[operator]
    assert problem.accuracy(outcome.packed) >= 95.0
    kinds = [form.name for form in outcome.packed.forms.values()]
    assert kinds.count("sparse") == 2


def test_the_automatic_density_goes_beyond_what_a_cut_allows() -> None:
    problem = trained_problem(100)
    outcome = gradual(problem, conv_reach=1.5, linear_reach=1.5)
    free, tried = outcome.notes["free_density"], outcome.notes["tried"]
    assert tried[0]["density"] == pytest.approx(free**1.5)  # type: ignore[index, operator]
    tensors = problem.original.tensors
    weights = {name: tensors[name] for _, name in problem.original.graph.weights()}
    masks = masks_at(weights, free, floor=GradualPruning().floor)  # type: ignore[arg-type]
    cut = problem.original.with_tensors({name: weights[name] * masks[name] for name in masks})
    seen = replace(problem, held_out=problem.train)
    lost = seen.accuracy(Packed.of(problem.original)) - seen.accuracy(Packed.of(cut))
    assert lost <= GradualPruning().free


def test_pruning_goes_back_where_an_unseen_budget_is_broken() -> None:
    """With a budget and unseen images, a density that loses too much is tried again, denser."""
    problem = trained_problem(100)
    trained = Packed.of(problem.original)
    still = Training(epochs=0.1, learning_rate=0.0, batch=16)
    method = GradualPruning(
        free=60.0, conv_reach=2.0, linear_reach=2.0, smallest=30, training=still
    )
    outcome = method.apply(
        trained, Context(problem.original, problem=problem, max_drop=0.0, unseen=True)
    )
    densities = [attempt["density"] for attempt in outcome.notes["tried"]]  # type: ignore[union-attr]
    assert len(densities) > 1 and densities == sorted(densities)


def test_moments_are_kept_only_if_they_help() -> None:
    problem = small_problem()
    packed = Packed.of(problem.original)
    outcome = MatchMoments(images=16).apply(packed, Context(problem.original, problem=problem))
    before, after = problem.accuracy(packed), problem.accuracy(outcome.packed)
    assert after >= before
    assert outcome.notes["kept"] == (after > before)
