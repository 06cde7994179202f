"""How far from submodular: functions whose answer is known, and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.errors import ReticuleError
from reticule.science.curvature import diminishing, wilson
from reticule.science.submodular import Reconstruction


def facility(seed: int, size: int):
    similarity = np.random.default_rng(seed).random((size, size)) ** 3
    return lambda s: float(similarity[:, s].max(1).sum()) if s.size else 0.0


@given(st.integers(0, 10**6), st.integers(3, 9))
@settings(max_examples=25, deadline=None)
def test_a_submodular_function_has_no_violation(seed: int, size: int) -> None:
    found = diminishing(facility(seed, size), size, 60, 30)
    assert (found.violations, found.worst, found.negative) == (0, 0.0, 0.0)
    assert found.ratio >= 1 - 1e-9
    assert 0 <= found.generalised <= 1 + 1e-9
    assert found.low == 0 and found.high < 0.1


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_what_random_sets_say_stays_within_what_all_sets_say(seed: int) -> None:
    """Against brute force over all S, T and L of five items."""
    size = 5
    table = np.random.default_rng(seed).random(1 << size).cumsum()

    def value(items) -> float:
        return float(table[sum(1 << int(i) for i in items)])

    def gain(items, more) -> float:
        return value([*items, *more]) - value(items)

    sets = [list(s) for k in range(size) for s in combinations(range(size), k)]
    ratios, alphas = [], []
    for s in sets:
        rest = [i for i in range(size) if i not in s]
        for k in range(1, len(rest) + 1):
            for more in combinations(rest, k):
                ratios.append(sum(gain(s, [j]) for j in more) / gain(s, more))
        for t in sets:
            if set(s) <= set(t):
                alphas += [1 - gain(t, [i]) / gain(s, [i]) for i in range(size) if i not in t]
    found = diminishing(value, size, 400, 400)
    assert min(ratios) - 1e-9 <= found.ratio <= found.usual_ratio
    assert found.generalised <= max(alphas) + 1e-9
    singles = [1 - gain([j for j in range(size) if j != i], [i]) / gain([], [i]) for i in range(5)]
    assert found.curvature == pytest.approx(max(singles))
    assert found.span <= np.ptp(table) + 1e-12


def test_sums_are_neither_shrinking_nor_growing() -> None:
    weights = np.arange(1.0, 8.0)
    found = diminishing(lambda s: float(weights[s].sum()), 7, 100)
    assert (found.violations, found.shrunk) == (0, 0.0)
    assert found.ratio == pytest.approx(1) and abs(found.curvature) < 1e-9


def test_sizes_do_not_depend_on_the_unit_and_the_seed_repeats() -> None:
    def value(s):
        return float(len(s) ** 2 - 3 * len(s))

    one, two = diminishing(value, 9, 80), diminishing(lambda s: 1000 * value(s), 9, 80)
    assert one.worst == pytest.approx(two.worst) and one.mean == pytest.approx(two.mean)
    assert one.rate == 1 and 0 < one.negative < 1
    assert repr(diminishing(value, 9, 80)) == repr(one)
    assert diminishing(value, 9, 80, seed=1).usual_ratio != one.usual_ratio


def test_sets_that_are_asked_for_do_not_depend_on_the_function() -> None:
    asked: list[list] = [[], []]
    for seen, sign in zip(asked, (1.0, -1.0), strict=True):
        diminishing(lambda s, o=seen, g=sign: o.append(s.tolist()) or g * len(s), 6, 30)  # type: ignore[func-returns-value]
    assert asked[0] == asked[1]
    assert all(items == sorted(set(items)) for items in asked[0])


@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_rate(count: int, data) -> None:
    hits = data.draw(st.integers(0, count))
    low, high = wilson(hits, count)
    assert 0 <= low <= hits / count + 1e-12 and hits / count - 1e-12 <= high <= 1
    assert high > low


def test_joint_gains_are_those_of_taking_one_by_one() -> None:
    rng = np.random.default_rng(0)
    objective = Reconstruction(4)
    for taps in (1, 3):
        units = np.append(np.repeat(np.arange(4), taps), -1)
        x = rng.normal(size=(100, units.size))
        t = rng.normal(size=(100, 2)) + x[:, :2]
        objective.layer(x.T @ x / 100, x.T @ t / 100, units, 0.5)
    together, total = objective.joint(np.array([0, 2, 3])), 0.0
    for item in (2, 0, 3):
        total += float(objective.gains(np.array([item]))[0])
        objective.add(item)
    assert total == pytest.approx(together, rel=1e-6)
    assert objective.joint(np.array([1])) == pytest.approx(objective.gains(np.array([1]))[0])
    assert objective.joint(np.zeros(0, np.int64)) == 0


@pytest.mark.parametrize(("size", "triples"), [(1, 5), (5, 0)])
def test_too_little_is_one_clear_line(size: int, triples: int) -> None:
    with pytest.raises(ReticuleError, match="at least"):
        diminishing(lambda s: 0.0, size, triples)
