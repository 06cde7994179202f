"""Quantisation: the search against exhaustive search, second order, and what it must refuse."""

import threading
import weakref
from itertools import product

import numpy as np
import pytest

from reticule import _native
from reticule.codec import quantiser, rates
from reticule.codec.quantiser import Factor, exchange, factor, quantise_tensor
from reticule.codec.second_order import definite
from reticule.forms.spectral import inverse_dct
from reticule.methods.quantise.layers import CoderRates

TRELLISES = [8, 32, 64]
ALL = [0, *TRELLISES]


def laplacian(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).laplace(scale=0.1, size=shape).astype(np.float32)


def spd(columns: int, seed: int = 0) -> np.ndarray:
    """A random covariance with strong correlations."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(3 * columns, columns)) @ rng.normal(size=(columns, columns))
    return samples.T @ samples / len(samples) + 0.01 * np.eye(columns)


def cost_of(weights, levels, step, lam, states, table, hessian=None, importance=None) -> float:
    """Distortion + lam * bits of levels, from the definition."""
    rows = levels.reshape(len(weights), -1)
    errors = weights.reshape(rows.shape).astype(np.float64) - rows * step
    h = np.eye(rows.shape[1]) if hessian is None else hessian
    distortion = np.einsum("ri,ij,rj->r", errors, h, errors)
    distortion = distortion @ (np.ones(len(rows)) if importance is None else importance)
    indices, quantisers = rates.indices_and_quantisers(levels, states)
    at = np.arange(indices.size) if table.classes is None else table.classes
    outside = np.abs(indices) - rates.REACH
    clipped = np.clip(indices, -rates.REACH, rates.REACH)
    bits = table.tables[at, quantisers, clipped + rates.REACH].astype(np.float64)
    inner = table.tables[at, quantisers, 2 * np.sign(clipped) + rates.REACH]
    bits += np.where(outside > 0, outside * np.maximum((bits - inner) / 4, 1), 0)
    return float(distortion + lam * bits.sum() / 256)


@pytest.mark.parametrize("states", TRELLISES)
def test_levels_survive_the_way_through_indices(states):
    indices = np.random.default_rng(states).integers(-9, 10, 200_000).astype(np.int32)
    levels, again = np.empty_like(indices), np.empty_like(indices)
    _native.trellis_levels(indices, 100, states, levels)
    _native.trellis_indices(levels, 100, states, again)
    assert (again == indices).all()
    group = 656 * 100  # 656 rows are the first that hold 65,536 weights
    _native.trellis_levels(indices[group:].copy(), 100, states, again[group:])
    assert (again[group:] == levels[group:]).all(), "a group depends on the one before"


@pytest.mark.parametrize("states", TRELLISES)
def test_paths_that_do_not_exist_are_refused(states):
    out = np.empty(4, np.int32)
    with pytest.raises(ValueError, match="follow the trellis"):  # state 0 has even levels
        _native.trellis_indices(np.array([1, 0, 0, 0], np.int32), 4, states, out)
    for index in (1 << 24, -(1 << 24), -(2**31)):
        with pytest.raises(ValueError, match="too large"):
            _native.trellis_levels(np.array([index, 0, 0, 0], np.int32), 4, states, out)
        with pytest.raises(ValueError):
            _native.trellis_indices(np.array([index, 0, 0, 0], np.int32) * 2, 4, states, out[:3])


def test_unknown_trellises_are_refused():
    values = np.zeros(4, np.int32)
    for states in (1, 4, 16, 65):
        with pytest.raises(ValueError, match="states"):
            _native.trellis_levels(values, 4, states, values.copy())
        with pytest.raises(ValueError, match="states"):
            quantise_tensor(np.zeros((2, 2)), 1.0, lam=0, states=states)


def paths(states: int, reach: int, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (indices, quantisers, levels) with |index| <= reach, each (paths, columns).

    The trellis once more, from its polynomials.
    """
    indices = np.array(list(product(range(-reach, reach + 1), repeat=columns)))
    if states == 0:
        return indices, np.zeros_like(indices), indices
    check = {8: (0o13, 0o04), 32: (0o45, 0o10), 64: (0o103, 0o024)}[states]
    state, quantisers, levels = np.zeros(len(indices), int), [], []
    for k in indices.T:
        q = state & 1
        level = 2 * k - q * np.sign(k)
        branch = np.where(q == 0, level % 4 == 2, level % 4 == 1)
        state = (state >> 1) ^ (q * (check[0] >> 1)) ^ (branch * (check[1] >> 1))
        quantisers.append(q)
        levels.append(level)
    return indices, np.stack(quantisers, 1), np.stack(levels, 1)


@pytest.mark.parametrize("states", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_what_exhaustive_search_finds(states, seed):
    weights, step = laplacian((1, 5), seed) * 2, 0.3 if states == 0 else 0.15
    lam, importance = exchange(step, states), np.array([1.7])
    pivots = np.array([[1, 0.4, 2, 0.1, 1]])
    bits = np.abs(np.arange(-6, 7))[None, None] * [[1.0], [0.8]] + [[1.0], [1.5]]
    table = (256 * (bits + np.random.default_rng(seed).uniform(0, 0.5, (5, 2, 13)))).astype("u2")
    levels = quantise_tensor(
        weights,
        step,
        lam=lam,
        states=states,
        hessian=Factor(pivots),
        rows_importance=importance,
        rates=table,
    )
    reach = min(int(np.abs(weights).max() / step / (2 if states else 1)) + 2, 4)
    indices, quantisers, candidates = paths(states, reach, 5)
    errors = (weights - candidates * step) ** 2 @ (pivots[0] * importance[0])
    costs = errors + lam * table[np.arange(5), quantisers, indices + 6].sum(1) / 256
    known = rates.Rates(table)
    args = (step, lam, states, known, np.diag(pivots[0]), importance)
    assert cost_of(weights, levels, *args) == pytest.approx(costs.min(), rel=1e-6)


@pytest.mark.parametrize("states", TRELLISES)
@pytest.mark.parametrize("seed", range(3))
def test_feedback_comes_close_to_exhaustive_search(states, seed):
    weights, step, hessian = laplacian((1, 5), seed) * 2, 0.15, spd(5, seed)
    _, _, candidates = paths(states, 4, 5)
    errors = weights - candidates * step
    best = np.einsum("ri,ij,rj->r", errors, hessian, errors).min()
    found = []
    for second in (None, factor(hessian, damping=0)):
        e = weights - step * quantise_tensor(weights, step, lam=0, states=states, hessian=second)
        found.append(float(e[0] @ hessian @ e[0]))
    assert best * (1 - 1e-6) <= found[1] <= found[0]


@pytest.mark.parametrize("states", ALL)
@pytest.mark.parametrize("shape", [(3, 40), (1, 7000), (40, 2, 3, 3)])
@pytest.mark.parametrize("coupled", [False, True])
def test_the_cost_is_that_of_the_levels(states, shape, coupled):
    weights, step = laplacian(shape), 0.1
    columns = rates.columns_of(shape)
    if coupled and columns > 1000:
        columns = 600  # long enough for decisions that are forced
        weights = weights.reshape(-1)[: 5 * columns].reshape(5, columns)
    hessian = spd(columns) if coupled else None
    second = None if hessian is None else factor(hessian, damping=0)
    hessian = None if hessian is None else definite(hessian)
    table, lam = rates.estimate(weights, step, states), exchange(step, states)
    search = quantiser._Search.of(weights, step, lam, states, second, None, None)
    levels, cost = search.levels(table)
    assert cost == pytest.approx(
        cost_of(weights, levels, step, lam, states, table, hessian), rel=1e-4 if coupled else 1e-9
    )


@pytest.mark.parametrize("states", ALL)
def test_feedback_lowers_the_weighted_error(states):
    weights, step, hessian = laplacian((8, 64)), 0.05, spd(64)
    plain = quantise_tensor(weights, step, lam=0, states=states)
    diagonal = quantise_tensor(weights, step, lam=0, states=states, hessian=np.diagonal(hessian))
    full = quantise_tensor(weights, step, lam=0, states=states, hessian=hessian)
    errors = [weights - levels * step for levels in (plain, diagonal, full)]
    weighted = [float(np.einsum("ri,ij,rj", e, hessian, e)) for e in errors]
    assert weighted[2] < 0.7 * min(weighted[:2])


def test_a_scalar_quantiser_without_lambda_rounds():
    weights = laplacian((8, 64))
    levels = quantise_tensor(weights, 0.05, lam=0, states=0)
    assert (levels == np.rint(weights / 0.05)).all()


def test_more_states_mean_less_error():
    weights, step = laplacian((64, 576)), 0.02
    errors = [
        np.mean((weights - quantise_tensor(weights, step, lam=0, states=n) * step) ** 2)
        for n in TRELLISES
    ]
    assert errors == sorted(errors, reverse=True)
    # Half the levels of a uniform quantiser, at the least 0.9 dB better than one of step 2.
    assert errors[0] < 4 * step**2 / 12 * 10**-0.09


def test_groups_of_rows_have_their_own_second_order():
    weights, step = laplacian((6, 16)), 0.1
    groups = np.stack([spd(16, seed) for seed in range(3)])
    whole = quantise_tensor(weights, step, lam=0, states=0, hessian=groups)
    for g in range(3):
        rows = slice(2 * g, 2 * g + 2)
        alone = quantise_tensor(weights[rows], step, lam=0, states=0, hessian=groups[g])
        assert (whole[rows] == alone).all()


@pytest.mark.parametrize("block", [None, 1, 5, 8, 100])
def test_factors_restore_the_hessian(block):
    hessian = spd(12)
    second = factor(hessian, damping=0, block=block)
    width = second.block
    upper = np.zeros((12, 12))
    for j in range(12):
        for k in range(j + 1, min(12, (j // width + 1) * width)):
            upper[j, k] = second.spread[0, j, k % width]
    upper += np.eye(12)
    at = np.arange(12) // width
    expected = np.where(at[:, None] == at, hessian, 0)
    found = upper @ np.diag(second.pivots[0]) @ upper.T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("states", [0, 8])
def test_columns_of_different_blocks_do_not_couple(states):
    weights, step, hessian = laplacian((4, 24)), 0.1, spd(24)
    at = np.arange(24) // 10
    cut = np.where(at[:, None] == at, hessian, 0)
    levels = [
        quantise_tensor(weights, step, lam=0, states=states, hessian=second)
        for second in (factor(hessian, damping=0, block=10), factor(cut, damping=0))
    ]
    args = (step, 0.0, states, rates.estimate(weights, step, states), cut)
    costs = [cost_of(weights, chosen, *args) for chosen in levels]
    assert costs[0] == pytest.approx(costs[1], rel=0.02)


def test_passes_bring_levels_and_rates_together():
    weights, step = laplacian((64, 16, 3, 3)), 0.15
    lam = exchange(step, 8)
    _, first = quantiser.rate_distortion(weights, step, lam=lam, passes=1)
    _, third = quantiser.rate_distortion(weights, step, lam=lam, passes=3)
    assert third < first
    seen = []

    def coder(levels):
        seen.append(levels.shape)
        return rates.Rates(np.full((levels.size, 2, 13), 512, np.uint16))

    quantiser.rate_distortion(weights, step, lam=lam, passes=3, coder=coder)
    assert seen == [weights.shape] * 2


def test_lambda_buys_bytes_with_error():
    weights, step = laplacian((32, 90)), 0.1
    balances = (0.25, 0.5, 1, 2)
    levels = [quantise_tensor(weights, step, lam=exchange(step, 8, c)) for c in balances]
    errors = [float(np.sum((weights - n * step) ** 2)) for n in levels]
    sizes = [np.abs(n).sum() for n in levels]
    assert errors == sorted(errors) and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("states", [0, 8])
def test_a_step_for_an_error(states):
    weights = laplacian((32, 16, 3, 3))
    step = quantiser.choose_step(weights, 1e-3, states=states)
    levels, _ = quantiser.rate_distortion(
        weights, step, lam=exchange(step, states), states=states, passes=2
    )
    assert np.mean((weights - levels * step) ** 2) == pytest.approx(1e-3, rel=0.02)
    with pytest.raises(ValueError, match="error"):
        quantiser.choose_step(weights, 1.0)


@pytest.mark.parametrize("block", [None, 5])
def test_a_fitted_step_is_the_best(block):
    weights, hessian, importance = laplacian((6, 12)), spd(12), np.arange(1.0, 7)
    second = factor(hessian, damping=0, block=block)
    levels = quantise_tensor(weights, 0.1, lam=0, states=8, hessian=second)
    at = np.arange(12) // (block or 12)
    cut = np.where(at[:, None] == at, hessian, 0)

    def distortion(step):
        errors = weights - levels * step
        return importance @ np.einsum("ri,ij,rj->r", errors, cut, errors)

    step = quantiser.fit_step(weights, levels, hessian=second, rows_importance=importance)
    assert distortion(step) < min(distortion(step * f) for f in (0.99, 1.01, 0.1 / step))
    plain = quantiser.fit_step(weights, levels)
    assert plain == pytest.approx(np.sum(weights * levels) / np.sum(levels**2))
    with pytest.raises(ValueError, match="zero"):
        quantiser.fit_step(weights, np.zeros_like(levels))


@pytest.mark.parametrize("shape", [(4, 5, 3, 3), (2, 1, 5, 5), (3, 2, 7, 7), (2, 2, 2, 4)])
def test_dct_and_its_hessian(shape):
    weights = laplacian(shape)
    coefficients = quantiser.forward_dct(weights)
    np.testing.assert_allclose(inverse_dct(coefficients), weights, atol=1e-6)
    hessian = spd(rates.columns_of(shape))
    there = quantiser.dct_hessian(hessian, *shape[-2:])
    e, f = weights.reshape(shape[0], -1), coefficients.reshape(shape[0], -1)
    np.testing.assert_allclose(
        np.einsum("ri,ij,rj->r", e, hessian, e), np.einsum("ri,ij,rj->r", f, there, f), rtol=1e-6
    )
    with pytest.raises(ValueError, match="kernels"):
        quantiser.dct_hessian(np.eye(10), 3, 3)


@pytest.mark.parametrize("states", ALL)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,), (1,), (7,), (3, 1), (1, 1, 1, 1)])
def test_odd_shapes(states, shape):
    weights = laplacian(shape)
    levels = quantise_tensor(weights, 0.01, lam=0, states=states)
    assert levels.shape == shape and levels.dtype == np.int32
    assert (np.abs(weights - levels * 0.01) <= 0.02 + 1e-6).all()
    again, _ = quantiser.rate_distortion(weights, 0.01, lam=0, states=states)
    assert again.shape == shape


@pytest.mark.parametrize("states", [0, 8])
def test_what_does_not_fit_is_refused(states):
    weights = laplacian((4, 6))

    def refused(match, *, of=weights, step=0.1, lam=0.0, **more):
        with pytest.raises(ValueError, match=match):
            quantise_tensor(of, step, lam=lam, states=states, **more)
        if "rates" not in more:
            with pytest.raises(ValueError, match=match):
                quantiser.rate_distortion(of, step, lam=lam, states=states, **more)

    for bad in (np.nan, np.inf, 1e30):
        refused("finite", of=np.array([[0.1, bad], [0, 0]], np.float32))
    for step in (0.0, -1.0, np.nan, np.inf):
        refused("step", step=step)
    refused("lambda", lam=-1.0)
    refused("lambda", lam=np.nan)
    refused("second-order", hessian=np.eye(5))
    refused("second-order", hessian=np.stack([np.eye(6)] * 3))
    refused("finite", hessian=np.full((6, 6), np.nan))
    refused("square", hessian=np.zeros((2, 3, 4)))
    refused("importances", rows_importance=np.ones(3))
    refused("rates", rates=np.zeros((5, 2, 13), np.uint16))


def test_the_same_call_gives_the_same_levels():
    weights, hessian = laplacian((16, 54)), spd(54)
    runs = [quantise_tensor(weights, 0.1, lam=1e-4, states=8, hessian=hessian) for _ in "ab"]
    assert (runs[0] == runs[1]).all()


@pytest.mark.parametrize("states", ALL)
@pytest.mark.parametrize("second", [False, True])
def test_levels_do_not_tell_how_many_threads_there_were(states, second):
    weights = laplacian((700, 288))  # four row groups
    lam = exchange(0.1, states)
    hessian = factor(spd(288), block=32) if second else None
    importance = np.random.default_rng(1).uniform(0.5, 2, 700)

    def run(threads):
        return quantiser.rate_distortion(
            weights,
            0.1,
            lam=lam,
            states=states,
            hessian=hessian,
            rows_importance=importance,
            coder=lambda levels: CoderRates(levels, states),
            passes=2,
            threads=threads,
        )

    assert len(rates.row_groups(weights.shape)) == 4
    levels, cost = run(1)
    for threads in (2, 3, 16):
        again, same = run(threads)
        assert (again == levels).all() and same == cost


def test_rates_are_asked_for_in_order_and_not_far_ahead():
    weights = laplacian((4000, 288))
    asked, most = [], 0
    lock = threading.Lock()
    held = set()

    class Source:
        def part(self, first, last):
            nonlocal most
            asked.append(first)
            tables = np.full((last - first, 2, 13), 512, np.uint16)
            with lock:
                held.add(first)
                most = max(most, len(held))
            weakref.finalize(tables, held.discard, first)
            return rates.Rates(tables)

    quantise_tensor(weights, 0.1, lam=1e-4, rates=Source(), threads=2)
    assert asked == sorted(asked) and len(asked) == 18
    assert most <= 2 + 2, "rates of more row groups than threads need"
