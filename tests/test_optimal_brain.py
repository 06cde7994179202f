"""Optimal brain compression: what it promises about removal, least squares, prices and files."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_post_training import answers, grouped_network, node
from test_tuning import small_problem

from reticule import compress
from reticule.codec import About, dumps, loads
from reticule.forms import Dense, Packed, Quantised, Sparse
from reticule.graph import Graph, Network
from reticule.methods import Context
from reticule.methods.layerwise.evidence import target_of
from reticule.methods.layerwise.layer import LARGEST_HESSIAN, Layer
from reticule.methods.layerwise.walk import walk
from reticule.methods.obs.optimal_brain import OptimalBrain
from reticule.methods.obs.probing import LOSS, Probe, factors, probe_of
from reticule.methods.obs.pruning import damped, masks_at, price_for, prices_of, rebuilt
from reticule.methods.obs.reconstruct import reconstruct
from reticule.methods.obs.removal import removal
from reticule.methods.obs.survivors import quantise_survivors
from reticule.methods.quantise.calibration import fisher, importances, seen_by, seen_on_average
from reticule.progress import Silent
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import constant_tensors

RNG = np.random.default_rng(0)
sizes = st.integers(1, 7)
seeds = st.integers(0, 10_000)


def problem_of(rows: int, columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights, and an H in which columns are correlated."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(columns, columns)) * np.geomspace(1, 0.1, columns)
    return rng.normal(size=(rows, columns)), mixed @ mixed.T + 0.01 * np.eye(columns)


def loss(errors: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """1/2 e^T H e of each row."""
    return 0.5 * np.sum((errors @ hessian) * errors, axis=-1)


def best_without(row: np.ndarray, hessian: np.ndarray, kept: list[int]) -> np.ndarray:
    """Least squares on the columns that are kept, from the definition."""
    out = np.zeros(len(row))
    if kept:
        out[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], (hessian @ row)[kept])
    return out


@given(sizes, sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_greedy_removal_is_that_of_solving_anew_for_every_candidate(rows, columns, seed) -> None:
    weights, hessian = problem_of(rows, columns, seed)
    trace = removal(weights, hessian)
    for row, order, losses in zip(weights, trace.order, trace.losses, strict=True):
        kept, before = list(range(columns)), 0.0
        for gone, added in zip(order, losses, strict=True):
            tried = {
                p: loss(best_without(row, hessian, [k for k in kept if k != p]) - row, hessian)
                for p in kept
            }
            assert np.isclose(tried[gone], min(tried.values()), rtol=1e-6, atol=1e-9)
            assert np.isclose(tried[gone] - before, added, rtol=1e-6, atol=1e-9)
            kept.remove(gone)
            before = tried[gone]


def test_many_rows_and_columns_shrink_on_the_way_without_a_change() -> None:
    weights, hessian = problem_of(5, 90)
    trace = removal(weights, hessian)
    for count in (10, 40, 70, 89):
        mask = np.ones(weights.shape, bool)
        np.put_along_axis(mask, trace.order[:, :count], False, axis=1)
        exact = loss(reconstruct(weights, hessian, mask) - weights, hessian)
        assert np.allclose(trace.losses[:, :count].sum(axis=1), exact, rtol=1e-6)


def test_what_is_gone_already_goes_first_and_helps_nobody() -> None:
    weights, hessian = problem_of(4, 8)
    free = RNG.random(weights.shape) < 0.6
    weights *= free
    trace = removal(weights, hessian, free=free)
    for row, kept, order, losses in zip(weights, free, trace.order, trace.losses, strict=True):
        count = int((~kept).sum())
        assert not kept[order[:count]].any() and not losses[:count].any()
        left = sorted(order[count + 1 :].tolist())
        if count < 8:
            exact = loss(best_without_others(row, hessian, kept, left) - row, hessian)
            assert np.isclose(losses[count], exact)


def best_without_others(row, hessian, free, kept) -> np.ndarray:
    """Least squares where only free columns count."""
    confined = hessian * np.outer(free, free) + np.diag((~free).astype(float))
    return best_without(row, confined, kept)


@given(sizes, sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_what_is_left_is_the_optimum_for_its_mask(rows, columns, seed) -> None:
    weights, hessian = problem_of(rows, columns, seed)
    mask = np.random.default_rng(seed).random(weights.shape) < 0.5
    solved = reconstruct(weights, hessian, mask)
    assert not solved[~mask].any()
    for row, kept, found in zip(weights, mask, solved, strict=True):
        expected = best_without(row, hessian, np.flatnonzero(kept).tolist())
        assert np.allclose(found, expected, atol=1e-8)


def test_a_wide_layer_is_solved_in_blocks_that_come_close() -> None:
    weights, hessian = problem_of(6, 48)
    hessian += 0.5 * np.eye(48)
    mask = RNG.random(weights.shape) < 0.5
    exact, found = (
        loss(reconstruct(weights, hessian, mask, widest) - weights, hessian).sum()
        for widest in (48, 16)
    )
    merely_masked = loss(weights * mask - weights, hessian).sum()
    assert exact <= found < exact + 0.05 * (merely_masked - exact)


def test_the_cheapest_pair_of_a_small_row_costs_no_less_than_the_bound_of_all_pairs() -> None:
    weights, hessian = problem_of(1, 6, 3)
    trace = removal(weights, hessian)
    pairs = [
        loss(best_without(weights[0], hessian, [k for k in range(6) if k not in pair]) - weights[0],
             hessian)
        for pair in combinations(range(6), 2)
    ]  # fmt: skip
    greedy = trace.losses[0, :2].sum()
    assert min(pairs) - 1e-12 <= greedy <= np.median(pairs)


@given(seeds, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_higher_price_removes_more_and_keeps_nothing_that_was_gone(seed, low, high) -> None:
    low, high = sorted((low, high))
    rng = np.random.default_rng(seed)
    prices = {}
    for name, groups, columns in (("a", 1, 9), ("b", 2, 4)):
        parts = [problem_of(4, columns, seed + g)[1] for g in range(groups)]
        weights = rng.normal(size=(4, columns))
        prices[name] = prices_of(weights, np.stack(parts), rng.uniform(0.1, 2, 4))
    dense, sparse = (masks_at(prices, price_for(prices, d)) for d in (high, low))
    for name in prices:
        assert not (sparse[name] & ~dense[name]).any()
    size = sum(p.size for p in prices.values())
    for masks, density in ((dense, high), (sparse, low)):
        assert sum(int(m.sum()) for m in masks.values()) == size - round((1 - density) * size)


def test_rows_whose_channel_matters_more_keep_more() -> None:
    weights, hessian = problem_of(2, 30)
    weights[1] = weights[0]
    prices = prices_of(weights, hessian[None], np.array([1.0, 5.0]))
    assert np.allclose(prices[1], 5 * prices[0])
    kept = masks_at({"w": prices}, price_for({"w": prices}, 0.5))["w"].sum(axis=1)
    assert kept[1] > kept[0]


def test_a_diagonal_prices_each_weight_by_itself() -> None:
    weights, diagonal = RNG.normal(size=(3, 5)), RNG.uniform(0.1, 1, 5)
    full = prices_of(weights, np.diag(diagonal)[None], np.ones(3))
    order = np.argsort(full.ravel())
    assert (np.argsort(prices_of(weights, diagonal, np.ones(3)).ravel()) == order).all()
    mask = weights > 0
    assert (rebuilt(weights, diagonal, mask) == weights * mask).all()


def test_a_very_wide_layer_allocates_nothing_square() -> None:
    columns = LARGEST_HESSIAN + 1000
    graph = Graph(
        {"x": (columns,)}, ("y",), (node("Gemm", "g", ("x", "w"), "y"),), {"w": (3, columns)}
    )
    network = Network(graph, {"w": RNG.normal(size=(3, columns)).astype("f4")})
    images = RNG.normal(size=(20, columns)).astype("f4")

    def treat(layer: Layer):
        hessian, _ = layer.statistics(layer.weights, False, True)
        prices = {"w": prices_of(layer.weights, damped(hessian), np.ones(3))}
        mask = masks_at(prices, price_for(prices, 0.25))["w"]
        solved = rebuilt(layer.weights, damped(hessian), mask)
        return {"w": quantise_survivors(solved, mask, damped(hessian), np.ones(3), 1e-4)[0]}

    tracemalloc.start()
    made = walk(Packed.of(network), ["w"], (images,), treat, Silent(), title="")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < columns**2
    assert 0 < made.forms["w"].nonzero <= round(0.25 * 3 * columns)


def test_the_target_makes_up_for_what_is_lost_beside_the_layer() -> None:
    x = RNG.normal(size=(200, 6))
    weights, error = RNG.normal(size=(4, 6)), x @ RNG.normal(size=(6, 4))
    hessian = (x.T @ x / len(x))[None]
    found = target_of(weights, hessian, hessian, (error.T @ x / len(x))[None], 0.0)
    assert np.allclose(x @ found.T, x @ weights.T + error, atol=1e-4)


IMAGES = RNG.normal(size=(48, 3, 10, 10)).cumsum(2).cumsum(3).astype("f4") / 5  # smooth


def pruned(network: Network, density: float, *, sums: bool = True, solve: bool = True) -> Packed:
    """A walk with masks of this density."""
    packed = Packed.of(network)
    names = [weight for _, weight in network.graph.weights()]
    matter = importances(
        network.graph, constant_tensors(network), (IMAGES,), Likelihood(None), 0, Silent()
    )
    prices = {}

    def priced(layer: Layer):
        weights = layer.weights.reshape(len(layer.weights), -1)
        hessian = damped(layer.statistics(layer.weights, bool(layer.bias), False)[0])
        prices[layer.name] = prices_of(weights, hessian, matter[layer.name])
        return {}

    walk(packed, names, (IMAGES,), priced, Silent(), title="")
    masks = masks_at(prices, price_for(prices, density))

    def treat(layer: Layer):
        hessian, target = layer.statistics(layer.weights, bool(layer.bias), solve)
        mask, shape = masks[layer.name], layer.weights.shape
        if solve:
            target = rebuilt(target.reshape(mask.shape), damped(hessian), mask)
        return {layer.name: Sparse.keep(target.reshape(shape), mask.reshape(shape))}

    full = lambda bias: Dense(bias.astype("f4"))  # noqa: E731
    return walk(packed, names, (IMAGES,), treat, Silent(), title="", bias_form=full, sums=sums)


def distance(network: Network, packed: Packed) -> float:
    exact = answers(Packed.of(network), IMAGES)
    return float((answers(packed, IMAGES) - exact).square().mean() / exact.var())


def test_solving_for_the_mask_and_for_sums_keeps_the_answers_closer() -> None:
    network = grouped_network()
    cut, solved = (pruned(network, 0.5, solve=solve) for solve in (False, True))
    assert distance(network, solved) < 0.5 * distance(network, cut)
    assert distance(network, pruned(network, 0.5)) < distance(network, pruned(network, 0.25))
    assert distance(network, pruned(network, 1.0)) < 1e-6
    alone = distance(network, pruned(network, 0.5, sums=False))
    assert distance(network, solved) < 1.05 * alone


def test_survivors_stay_under_their_mask_and_a_finer_lambda_is_closer() -> None:
    weights, hessian = problem_of(16, 36)
    mask = RNG.random(weights.shape) < 0.4
    errors = []
    for lam in (1e-1, 1e-3, 1e-5):
        form, ratio = quantise_survivors(
            weights.reshape(16, 4, 3, 3), mask, hessian[None], np.ones(16), lam
        )
        assert isinstance(form, Sparse) and isinstance(form.values, Quantised) and ratio > 0
        assert form.values.states == 0 and form.values.levels.all()
        assert not (form.mask().reshape(mask.shape) & ~mask).any()
        dense = form.dense().reshape(weights.shape)
        errors.append(float(loss(dense - weights * mask, hessian).sum()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_error_feedback_under_a_mask_beats_rounding_at_the_same_step() -> None:
    weights, hessian = problem_of(24, 27)
    mask = RNG.random(weights.shape) < 0.5
    solved = reconstruct(weights, hessian, mask)
    form, _ = quantise_survivors(solved, mask, hessian[None], np.ones(24), 1e-3)
    assert isinstance(form, Sparse) and isinstance(form.values, Quantised)
    step = form.values.step
    rounded = np.rint(solved / step) * step
    fed_back = loss(form.dense() - solved, hessian).sum()
    assert fed_back < loss(rounded - solved, hessian).sum()


def test_a_row_without_weights_and_a_tensor_of_zeros() -> None:
    hessian = np.eye(9)[None]
    weights, mask = RNG.normal(size=(3, 9)), np.ones((3, 9), bool)
    mask[1] = False
    form, _ = quantise_survivors(weights, mask, hessian, np.ones(3), 1e-4)
    assert not form.dense()[1].any() and form.dense()[0].any()
    empty, _ = quantise_survivors(weights * 0, mask, hessian, np.ones(3), 1e-4)
    assert empty.nonzero == 0 and empty.shape == (3, 9)


def apply(problem, packed: Packed | None = None, **parameters):
    context = {k: parameters.pop(k) for k in ("max_drop", "max_bytes", "seed") if k in parameters}
    method = OptimalBrain(images=64, smallest=1, **parameters)
    start = packed or Packed.of(problem.original)
    return method.apply(start, Context(problem.original, problem=problem, **context))


@pytest.mark.parametrize("quantise", [True, False])
def test_the_density_is_what_was_asked_for_and_the_file_keeps_it(quantise: bool) -> None:
    problem = small_problem()
    outcome = apply(problem, density=0.5, quality=30.0, quantise=quantise)
    density = outcome.notes["density"]
    assert density <= 0.5 + 1e-3 and (quantise or density > 0.49)
    restored = loads(dumps(outcome.packed, About())).packed
    for name, form in outcome.packed.forms.items():
        assert (restored.forms[name].dense() == form.dense()).all()
    again = apply(problem, density=0.5, quality=30.0, quantise=quantise)
    assert dumps(again.packed, About()) == dumps(outcome.packed, About())


def test_labels_are_not_looked_at() -> None:
    problem = small_problem()
    unlabelled = replace(problem)
    labels = np.array(problem.train.labels)
    object.__setattr__(unlabelled, "train", problem.train.subset(np.arange(len(labels))))
    unlabelled.train.labels[:] = 0
    made = [apply(p, density=0.4, quality=20.0).packed for p in (problem, unlabelled)]
    problem.train.labels[:] = labels
    assert dumps(made[0], About()) == dumps(made[1], About())


def test_what_was_pruned_before_stays_pruned() -> None:
    problem = small_problem()
    forms = {}
    for name, form in Packed.of(problem.original).forms.items():
        weights = form.dense()
        forms[name] = form
        if weights.ndim > 1:
            forms[name] = Sparse.keep(weights, RNG.random(weights.shape) < 0.7)
    start = Packed(problem.original.graph, forms)
    made = apply(problem, start, density=0.5, quality=30.0).packed
    for name, form in forms.items():
        if isinstance(form, Sparse):
            assert not made.forms[name].dense()[~form.mask()].any()


def test_less_quality_removes_more() -> None:
    problem = small_problem()
    kept = [apply(problem, quality=q).notes["density"] for q in (60.0, 45.0, 30.0)]
    assert kept[0] > kept[1] > kept[2]


def test_a_layer_of_zeros_and_one_that_sees_nothing() -> None:
    network = grouped_network()
    tensors = {**network.tensors, "a.weight": np.zeros((8, 3, 3, 3), "f4")}
    tensors["a.bias"] = np.full(8, -1.0, "f4")  # nothing passes the activation
    packed = pruned(Network(network.graph, tensors), 0.5)
    assert not packed.forms["a.weight"].dense().any()
    assert np.isfinite(answers(packed, IMAGES).numpy()).all()


def test_what_it_does_not_work_on_is_named() -> None:
    problem = small_problem()
    first = next(name for _, name in problem.original.graph.weights())
    outcome = apply(problem, skip=[first], density=0.5, quality=20.0)
    assert outcome.skipped[first] == "named in 'skip'"
    assert outcome.packed.forms[first].dense().shape == problem.original.tensors[first].shape
    levels = np.rint(problem.original.tensors[first] * 100).astype(int)
    shared = Packed.of(problem.original).with_forms({first: Quantised(levels, 0.01)})
    assert "already in the form" in apply(problem, shared, density=0.5).skipped[first]


def test_a_budget_of_bytes_is_met_by_the_recipe() -> None:
    problem = small_problem()
    result = compress(problem.original, train=problem.train, recipe="optimal-brain", max_bytes=1500)
    assert result.bytes_file <= 1500 and result.budget_met


@pytest.mark.parametrize("layer", ["a", "b", "c"])
def test_the_mean_of_what_a_layer_sees_is_that_over_its_positions(layer: str) -> None:
    network = grouped_network()
    (conv,) = (n for n in network.graph.nodes if n.name == layer)
    shape = network.tensors[conv.inputs[1]].shape
    x = torch.randn(3, {"a": 3}.get(layer, 8), 9, 10)
    every = seen_by(conv, x, shape).rows
    expected = every.reshape(len(every), 3, -1, every.shape[2]).mean(2)
    assert torch.allclose(seen_on_average(conv, x, shape).rows, expected, atol=1e-5)


def test_gradients_are_common_to_all_positions_behind_an_average_over_them() -> None:
    shapes = {"a.weight": (4, 3, 3, 3), "fc.weight": (3, 4)}
    nodes = (
        node("Conv", "a", ("x", "a.weight"), "a"),
        node("GlobalAveragePool", "p", ("a",), "p"),
        node("Flatten", "f", ("p",), "f"),
        node("Gemm", "fc", ("f", "fc.weight"), "y"),
    )
    tensors = {name: RNG.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    network = Network(Graph({"x": (3, 10, 10)}, ("y",), nodes, shapes), tensors)
    found = fisher(
        network.graph, constant_tensors(network), (IMAGES,), Likelihood(None), 0, Silent()
    )
    assert np.isclose(found["a.weight"].common, 1.0)
    assert np.isclose(found["fc.weight"].common, 1.0)
    other = grouped_network()
    mixed = fisher(other.graph, constant_tensors(other), (IMAGES,), Likelihood(None), 0, Silent())
    assert 0 < mixed["a.weight"].common < 1


def test_behind_an_average_only_the_mean_output_counts() -> None:
    network = grouped_network()
    found = {}

    def treat(layer: Layer):
        for common in (0.0, 0.5, 1.0):
            shape = layer.weights.shape
            found[common] = layer.averages(shape, False, False, common).square[0]
        return {}

    walk(Packed.of(network), ["a.weight"], (IMAGES,), treat, Silent(), title="")
    conv = network.graph.nodes[0]
    mean = seen_on_average(conv, torch.from_numpy(IMAGES), (8, 3, 3, 3)).rows[0].double().numpy()
    assert np.allclose(found[1.0], 100 * mean.T @ mean / len(mean), rtol=1e-3, atol=1e-3)
    assert np.allclose(found[0.5], (found[0.0] + found[1.0]) / 2, rtol=1e-6, atol=1e-6)


def test_a_trial_stays_within_its_share_and_is_compared_with_what_it_really_costs() -> None:
    network = grouped_network()
    tensors = constant_tensors(network)
    weights = network.tensors["fc.weight"].astype("f8")
    hessian, importance = np.eye(8)[None], np.full(4, 0.5)
    prices = prices_of(weights, hessian, importance)
    probe = probe_of(weights, hessian, importance, prices, share=4.0)
    assert 0 < probe.predicted <= 4.0 * LOSS
    assert 0 < np.count_nonzero(probe.weights) < weights.size
    exact = answers(Packed.of(network), IMAGES).log_softmax(1)
    changed = {**network.tensors, "fc.weight": probe.weights.astype("f4")}
    found = answers(Packed.of(Network(network.graph, changed)), IMAGES).log_softmax(1)
    lost = float((exact.exp() * (exact - found)).sum(1).mean())
    probes = {"fc.weight": probe, "a.weight": Probe(network.tensors["a.weight"], 0.0)}
    ratios = factors(network.graph, tensors, probes, (IMAGES,), Likelihood(None), Silent())
    assert ratios["a.weight"] == 1.0
    assert np.isclose(ratios["fc.weight"], np.clip(lost / probe.predicted, 1 / 32, 32), rtol=1e-3)
