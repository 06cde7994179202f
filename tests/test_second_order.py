"""Second-order statistics as they come: singular, constant, dependent, of any scale."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reticule.codec.second_order import ROUNDING, definite, factor, positive, whiten

KINDS = ("plain", "twins", "constant", "dead", "few", "spread", "flat", "zero")
seeds = st.integers(0, 10_000)


def inputs_of(kind: str, columns: int, seed: int) -> np.ndarray:
    """Inputs (samples, columns) float32 of a layer that is degenerate in one way."""
    rng = np.random.default_rng(seed)
    samples = max(columns // 3, 1) if kind == "few" else 4 * columns
    x = rng.normal(size=(samples, columns))
    half = columns // 2
    if kind == "twins":
        x[:, half:] = x[:, : columns - half]
    elif kind == "constant":
        x[:, half:] = 3.0
    elif kind == "dead":
        x[:, half:] = 0.0
    elif kind == "spread":
        x *= np.geomspace(1e-6, 1e6, columns)
    elif kind == "flat":
        x = 7.0 + 1e-7 * x
    elif kind == "zero":
        x *= 0.0
    return x.astype(np.float32)


def hessian_of(x: np.ndarray, centre: bool) -> np.ndarray:
    """E[x x^T] as float32 gives it, about the means or not."""
    mean = x.mean(0, dtype=np.float64)
    square = (x.T @ x).astype(np.float64) / len(x)
    return square - np.outer(mean, mean) if centre else square


def energy(error: np.ndarray, matrix: np.ndarray) -> float:
    return float(error @ matrix @ error)


@pytest.mark.parametrize("kind", KINDS)
@given(columns=st.integers(1, 24), seed=seeds, centre=st.booleans(), block=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_every_hessian_has_a_factor(kind, columns, seed, centre, block):
    hessian = hessian_of(inputs_of(kind, columns, seed), centre)
    for damping in (0.0, 0.03):
        second = factor(hessian, damping, block)
        assert np.isfinite(second.pivots).all() and (second.pivots > 0).all()
        assert second.spread is not None and np.isfinite(second.spread).all()
    made = definite(hessian)
    assert np.linalg.eigvalsh(made / np.sqrt(np.outer(made.diagonal(), made.diagonal())))[0] > 0
    error = np.random.default_rng(seed).normal(size=(1, columns))
    second = factor(hessian, 0.03)
    exact = hessian + 0.03 * max(np.trace(hessian), 0) / columns * np.eye(columns)
    found = float(np.square(whiten(error, second)).sum())
    assert found == pytest.approx(energy(error[0], definite(exact)), rel=1e-3)


@given(columns=st.integers(1, 12), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_scales_of_columns_do_not_matter(columns, seed):
    hessian = hessian_of(inputs_of("plain", columns, seed), True)
    scale = 2.0 ** np.random.default_rng(seed).integers(-9, 9, columns)
    scaled = definite(hessian * np.outer(scale, scale))
    assert np.allclose(scaled / np.outer(scale, scale), definite(hessian), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["twins", "constant", "few", "flat"])
@given(columns=st.integers(2, 16), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_rounding_and_the_order_of_sums_do_not_matter(kind, columns, seed):
    x, rng = inputs_of(kind, columns, seed), np.random.default_rng(seed + 1)
    error = rng.normal(size=(1, columns))
    noisy = (x * (1 + 1e-7 * rng.normal(size=x.shape))).astype(np.float32)
    found = [
        float(np.square(whiten(error, factor(hessian_of(values, False), 0.03))).sum())
        for values in (x, x[::-1], noisy)
    ]
    assert found == pytest.approx(found[:1] * 3, rel=1e-4)


def exact_pivots(hessian: np.ndarray) -> list[Fraction]:
    """Of H = U D U^T, in rational numbers."""
    left = [[Fraction(float(v)) for v in row] for row in hessian]
    pivots = []
    for last in reversed(range(len(left))):
        pivot = left[last][last]
        pivots.append(pivot)
        for i in range(last):
            for j in range(last):
                left[i][j] -= left[i][last] * left[last][j] / pivot
    return pivots[::-1]


@given(columns=st.integers(1, 6), seed=seeds)
@settings(max_examples=20, deadline=None)
def test_pivots_are_those_of_exact_arithmetic(columns, seed):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(columns, columns)) * np.geomspace(1, 1e-2, columns)
    hessian = definite(mixed @ mixed.T)
    noise = ROUNDING * columns**0.5
    hessian[np.diag_indices(columns)] /= 1 + noise
    exact = hessian + noise * np.diag(hessian.diagonal())
    wanted = [float(p) for p in exact_pivots(exact)]
    assert factor(hessian, 0.0).pivots[0] == pytest.approx(wanted, rel=1e-6)


def test_groups_are_settled_one_by_one():
    healthy = hessian_of(inputs_of("plain", 5, 0), True)
    both = factor(np.stack([healthy, np.zeros((5, 5))]), 0.03)
    alone = factor(healthy, 0.03)
    assert np.allclose(both.pivots[0], alone.pivots[0]) and (both.pivots[1] > 0).all()
    indefinite = np.stack([healthy, -healthy])
    assert np.allclose(definite(indefinite)[0], definite(healthy), rtol=1e-6)


def test_what_is_not_finite_is_refused():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            factor(np.full(3, bad))
        with pytest.raises(ValueError, match="not finite"):
            definite(np.full((3, 3), bad))
    off = np.eye(3)
    off[0, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        definite(off)
    assert positive(np.array([-1.0, 0.0])).tolist() == [1e-12, 1e-12]
