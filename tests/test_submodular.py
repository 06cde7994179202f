"""Set functions and greedy selection, against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.errors import ReticuleError
from reticule.science.submodular import (
    FacilityLocation,
    LogDeterminant,
    Reconstruction,
    maximise,
    sample_k_dpp,
    violations,
)


def covered(similarity: np.ndarray, items) -> float:
    return float(similarity[:, list(items)].max(1).sum()) if len(items) else 0.0


similarities = st.builds(
    lambda seed, n, k: (np.random.default_rng(seed).random((n, n)) ** 3, k),
    st.integers(0, 10**6), st.integers(5, 12), st.integers(1, 4),
)  # fmt: skip


@given(similarities)
@settings(max_examples=60, deadline=None)
def test_greedy_is_within_its_bound_of_the_best(case) -> None:
    similarity, k = case
    n = similarity.shape[1]
    best = max(covered(similarity, items) for items in combinations(range(n), k))
    plain = maximise(FacilityLocation(similarity), k)
    assert covered(similarity, plain) >= (1 - 1 / np.e) * best
    lazy = maximise(FacilityLocation(similarity), k, "lazy")
    np.testing.assert_array_equal(plain, lazy)


def test_stochastic_greedy_is_nearly_as_good() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.random((60, 60)) ** 4
    plain = covered(similarity, maximise(FacilityLocation(similarity), 10))
    found = [
        covered(similarity, maximise(FacilityLocation(similarity), 10, "stochastic", rng))
        for _ in range(10)
    ]
    assert np.mean(found) > 0.9 * plain
    assert max(found) <= plain * (1 + 1e-9) or max(found) < 1.05 * plain


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_reconstruction_is_what_least_squares_explains(seed: int, with_base: bool) -> None:
    """Units of several columns, two layers that read them, columns that are always there."""
    rng = np.random.default_rng(seed)
    sizes = [1, 3]
    objective = Reconstruction(5, ridge=0.0)
    layers = []
    for taps, weight in zip(sizes, (1.0, 0.4), strict=True):
        units = np.repeat(np.arange(5), taps)
        if with_base:
            units = np.append(units, -1)
        x = rng.normal(size=(200, units.size)) @ rng.normal(size=(units.size, units.size))
        t = rng.normal(size=(200, 4)) + x @ rng.normal(size=(units.size, 4))
        objective.layer(x.T @ x / 200, x.T @ t / 200, units, weight)
        layers.append((x, t, units, weight))

    def explained(items) -> float:
        total = 0.0
        for x, t, units, weight in layers:
            own = x[:, np.isin(units, [*items, -1])]
            base = x[:, units == -1]
            fit = [b @ np.linalg.lstsq(b, t, rcond=None)[0] if b.size else 0 for b in (own, base)]
            left = [float(((t - f) ** 2).sum()) for f in fit]
            total += weight * (left[1] - left[0]) / 200
        return total

    taken: list[int] = []
    for _ in range(4):
        rest = np.setdiff1d(np.arange(5), taken)
        gains = objective.gains(rest)
        exact = [explained([*taken, i]) - explained(taken) for i in rest.tolist()]
        np.testing.assert_allclose(gains, exact, rtol=1e-4, atol=1e-6 * explained(range(5)))
        taken.append(int(rest[np.argmax(gains)]))
        objective.add(taken[-1])


def test_a_unit_that_no_layer_reads_adds_nothing() -> None:
    objective = Reconstruction(3)
    objective.layer(np.eye(2), np.ones((2, 1)), np.array([0, 2]))
    assert objective.gains(np.arange(3))[1] == 0


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_log_determinants_by_increments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(8, 6))
    kernel = root @ root.T + 0.1 * np.eye(8)
    taken: list[int] = []
    for item in maximise(LogDeterminant(kernel), 5).tolist():
        best = max(
            np.linalg.slogdet(kernel[np.ix_(s, s)])[1]
            for i in range(8)
            if i not in taken and (s := [*taken, i])
        )
        taken.append(item)
        assert np.linalg.slogdet(kernel[np.ix_(taken, taken)])[1] == pytest.approx(best)


def test_a_dpp_draws_sets_by_their_determinants() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(5, 5))
    kernel = root @ root.T
    sets = list(combinations(range(5), 2))
    chance = np.array([np.linalg.det(kernel[np.ix_(s, s)]) for s in sets])
    chance /= chance.sum()
    count = dict.fromkeys(sets, 0)
    for _ in range(3000):
        count[tuple(sample_k_dpp(kernel, 2, rng).tolist())] += 1
    found = np.array(list(count.values())) / 3000
    assert np.abs(found - chance).max() < 0.04
    assert sample_k_dpp(kernel, 0, rng).size == 0
    assert sample_k_dpp(kernel, 5, rng).tolist() == [0, 1, 2, 3, 4]


def test_reconstruction_is_not_submodular() -> None:
    """Two inputs that only together say what is wanted: the second is worth more than the first."""
    rng = np.random.default_rng(0)
    noise, wanted = rng.normal(size=(2, 500))
    x = np.stack([noise + 0.1 * wanted, noise], 1)
    objective = Reconstruction(2, ridge=0.0)
    objective.layer(x.T @ x / 500, x.T @ wanted[:, None] / 500, np.arange(2))
    alone, behind = violations(objective, [], [1], 0)
    assert behind > 10 * alone


def test_bad_input_is_one_clear_line() -> None:
    with pytest.raises(ReticuleError, match="none negative"):
        FacilityLocation(-np.eye(3))
    with pytest.raises(ReticuleError, match="cannot take 4 of 3"):
        maximise(FacilityLocation(np.eye(3)), 4)
    with pytest.raises(ReticuleError, match="cannot draw 4 of 3"):
        sample_k_dpp(np.eye(3), 4, np.random.default_rng(0))
