"""Densities by layer: measures of what a layer needs, and how a density is given out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from test_methods import context_of, gradual, trained_problem, two_layers

from reticule.errors import RecipeError
from reticule.forms import Dense, Packed
from reticule.methods import Context, GradualPruning, ThresholdPruning
from reticule.methods.prune.allocation import curvature, scope_of, sensitivity
from reticule.methods.prune.scores import masks_at, shared_out
from reticule.science.redundancy import (
    SHARES,
    by_cores,
    by_rank,
    effective_rank,
    likeness,
)

MEASURES = sorted(SHARES)


@st.composite
def layers(draw):
    """Shares, sizes, least and most of some layers."""
    count = draw(st.integers(1, 6))
    names = [f"layer{i}" for i in range(count)]
    some = st.floats(0, 50)
    share = {name: draw(some) for name in names}
    size = {name: draw(st.integers(50, 5000)) for name in names}
    least = {name: draw(st.floats(0, 0.3)) for name in names}
    most = {name: draw(st.floats(0.3, 1)) for name in names}
    return share, size, least, most


@given(layers(), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_the_density_is_met_wherever_the_limits_allow(case, density: float) -> None:
    share, size, least, most = case
    found = shared_out(share, size, density, least, most)
    assert all(least[n] - 1e-9 <= d <= most[n] + 1e-9 for n, d in found.items())
    total = sum(size.values())
    low, high = (sum(size[n] * limit[n] for n in size) / total for limit in (least, most))
    kept = sum(size[n] * d for n, d in found.items()) / total
    assert kept == pytest.approx(np.clip(density, low, high), abs=1e-6)


@given(layers(), st.floats(0.01, 1), st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_only_the_proportions_of_shares_matter(case, density: float, factor: float) -> None:
    share, size, least, most = case
    one = shared_out(share, size, density, least, most)
    other = shared_out({n: factor * s for n, s in share.items()}, size, density, least, most)
    assert list(one.values()) == pytest.approx(list(other.values()), abs=1e-6)


@given(layers(), st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_who_needs_more_gets_no_less(case, density: float) -> None:
    share, size, _, _ = case
    found = shared_out(share, size, density, dict.fromkeys(size, 0.0), dict.fromkeys(size, 1.0))
    order = sorted(size, key=lambda n: share[n])
    densities = [found[n] for n in order]
    assert all(a <= b + 1e-9 for a, b in pairwise(densities))


def test_nothing_needed_is_the_same_for_all() -> None:
    limits = dict.fromkeys("ab", 0.0), dict.fromkeys("ab", 1.0)
    found = shared_out({"a": 0.0, "b": 0.0}, {"a": 10, "b": 90}, 0.25, *limits)
    assert found == pytest.approx({"a": 0.25, "b": 0.25})


@given(st.floats(0.05, 1), st.floats(0, 10), st.floats(0.1, 10))
@settings(max_examples=50, deadline=None)
def test_masks_meet_the_density_and_the_floor(density: float, one: float, two: float) -> None:
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(30, 40)), "b": rng.normal(size=(20, 25))}
    weights["b"][rng.random((20, 25)) < 0.2] = 0.0
    masks = masks_at(weights, density, scope={"a": one, "b": two}, floor=0.05)
    assert not masks["b"][weights["b"] == 0].any()
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert kept["a"] >= 60 and kept["b"] >= 40  # 5 %, and two for each output channel
    nonzero = 1200 + np.count_nonzero(weights["b"])
    wanted = np.clip(density * 1700, 100, nonzero)
    assert abs(sum(kept.values()) - wanted) <= 2


def copies(units: int, times: int, inputs: int = 60, seed: int = 0) -> np.ndarray:
    """Each unit several times over, in some sizes and signs, and hardly any two alike."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.linalg.qr(rng.normal(size=(inputs, units)))[0].T, times, axis=0)
    size = rng.uniform(0.5, 2, (units * times, 1)) * rng.choice([-1, 1], (units * times, 1))
    return (rows * size + 0.001 * rng.normal(size=rows.shape)).astype("f4")


@pytest.mark.parametrize("name", MEASURES)
def test_copies_are_not_needed_and_sizes_do_not_matter(name: str) -> None:
    measure = SHARES[name]
    alone, thrice = measure(copies(20, 1)), measure(copies(20, 3))
    assert alone > 0.9
    assert thrice < 0.45
    assert measure(1e-3 * copies(20, 3)) == pytest.approx(thrice, rel=1e-3)
    noise = measure(np.random.default_rng(1).normal(size=(20, 3, 7, 7)))
    assert noise > 0.75


@pytest.mark.parametrize("name", MEASURES)
def test_shares_are_shares_whatever_the_weights(name: str) -> None:
    for weights in (
        np.zeros((4, 5)),
        np.ones((1, 3)),
        np.ones((3, 1)),
        np.eye(3)[:, :, None, None],
    ):
        assert 0 <= SHARES[name](weights.astype("f4")) <= 1
    assert SHARES[name](np.zeros((4, 5), "f4")) == 0


def test_measures_by_their_definitions() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 40))
    values = np.linalg.svd(weights, compute_uv=False)
    p = values / values.sum()
    assert effective_rank(weights) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert by_rank(weights) == pytest.approx(effective_rank(weights) / 6)
    weights[1] = weights[0] * -2
    weights[2] = weights[0] * 3
    graph = likeness(weights).matrix.toarray()
    assert graph[0, 1] == pytest.approx(1) and graph[0, 2] == pytest.approx(1)
    assert (graph == graph.T).all() and not graph.diagonal().any()
    edges = np.abs(graph) > 0
    if edges.sum() == 6:  # the three alike, and nobody else by chance
        assert by_cores(weights) == pytest.approx((3 / 3 + 3) / 6)


@pytest.mark.parametrize("scope", MEASURES)
def test_a_planted_redundant_layer_gets_less(scope: str) -> None:
    packed = two_layers((60, 40, 40))
    rng = np.random.default_rng(0)
    packed = packed.with_forms({
        "one.weight": Dense(copies(10, 4)),
        "two.weight": Dense(rng.normal(size=(40, 40)).astype("f4")),
    })  # fmt: skip
    outcome = ThresholdPruning(density=0.3, scope=scope).apply(packed, context_of(packed))  # type: ignore[arg-type]
    one, two = (
        outcome.packed.forms[n].nonzero / packed.forms[n].size for n in ("one.weight", "two.weight")
    )
    assert one < 0.7 * two
    assert outcome.notes["density"] == pytest.approx(0.3, abs=0.001)
    assert outcome.notes["shares"]["two.weight"] == 1.0  # type: ignore[index]


def watched(problem) -> tuple[Packed, list[str], Context]:
    packed = Packed.of(problem.original)
    names = [name for _, name in packed.graph.weights()]
    return packed, names, Context(problem.original, problem=problem)


def test_curvature_is_the_mean_of_squared_gradients_times_weights() -> None:
    problem = trained_problem(60)
    packed, names, context = watched(problem)
    shares = curvature(packed, names, context)
    assert set(shares) == set(names) and all(share > 0 for share in shares.values())
    assert curvature(packed, names, context) == shares
    last = names[-1]
    silent = packed.with_forms({last: Dense(np.zeros(packed.forms[last].shape, "f4"))})
    assert curvature(silent, names, context)[last] == 0


def test_sensitivity_is_how_far_a_layer_can_be_cut() -> None:
    problem = trained_problem(100)
    packed, names, context = watched(problem)
    shares = sensitivity(packed, names, context)
    assert all(0.01 <= share <= 1 for share in shares.values())
    for name in names:
        mask = masks_at({name: packed.forms[name].dense()}, shares[name], scope="layer", floor=0.0)
        cut = packed.with_forms({name: Dense(packed.forms[name].dense() * mask[name])})
        seen = replace(problem, held_out=problem.train)
        assert seen.accuracy(packed) - seen.accuracy(cut) <= 2.0


@pytest.mark.parametrize("scope", ["curvature", "sensitivity"])
def test_measures_that_look_at_images_say_so(scope: str) -> None:
    packed = two_layers()
    with pytest.raises(RecipeError, match=f"^scope '{scope}' looks at training images.*--train"):
        ThresholdPruning(density=0.2, scope=scope).apply(packed, context_of(packed))  # type: ignore[arg-type]


def test_a_measure_without_a_density_is_an_error() -> None:
    packed = two_layers()
    with pytest.raises(RecipeError, match=r"^scope .k-core. gives out a density: set one$"):
        ThresholdPruning(scope="k-core").apply(packed, context_of(packed))


@pytest.mark.parametrize("scope", ["effective-rank", "sensitivity", "curvature"])
def test_gradual_pruning_gives_its_density_out_by_a_measure(scope: str) -> None:
    problem = trained_problem(100)
    outcome = gradual(problem, density=0.3, scope=scope)
    assert abs(outcome.notes["density"] - 0.3) < 0.02  # type: ignore[operator]
    packed, names, context = watched(problem)
    shares = scope_of(scope, packed, names, context)  # type: ignore[arg-type]
    weights = {name: packed.forms[name].dense() for name in names if packed.forms[name].size >= 30}
    wanted = masks_at(weights, 0.3, scope=shares, floor=GradualPruning().floor)
    for name, mask in wanted.items():
        assert outcome.packed.forms[name].nonzero == pytest.approx(int(mask.sum()), abs=2)


def test_the_automatic_density_is_measured_with_the_same_shares() -> None:
    problem = trained_problem(100)
    outcome = gradual(problem, scope="effective-rank", conv_reach=1.5, linear_reach=1.5)
    free, shares = outcome.notes["free_density"], outcome.notes["shares"]
    weights = {name: problem.original.tensors[name] for name in shares}  # type: ignore[attr-defined]
    masks = masks_at(weights, free, scope=shares, floor=GradualPruning().floor)  # type: ignore[arg-type]
    cut = problem.original.with_tensors({name: weights[name] * masks[name] for name in masks})
    seen = replace(problem, held_out=problem.train)
    lost = seen.accuracy(Packed.of(problem.original)) - seen.accuracy(Packed.of(cut))
    assert lost <= GradualPruning().free
