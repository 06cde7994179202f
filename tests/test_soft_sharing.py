"""Soft weight-sharing: the prior against brute force, merging, assignment, and the stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from scipy import integrate, special, stats
from test_tuning import small_problem

from reticule.data import Data
from reticule.forms import Codebook, Dense, Packed, Sparse
from reticule.graph import Graph, Network, Node
from reticule.methods import Context, Outcome, Retrain, SoftWeightSharing, ThresholdPruning
from reticule.methods.share import mixture
from reticule.methods.share.mixture import Components, HyperPrior, Mixture, complexity
from reticule.methods.share.soft import shared
from reticule.tuning.problem import Problem
from reticule.tuning.train import Training

TOY = Training(epochs=60, learning_rate=0.01, batch=16, distil=0.5, bfloat16="off")


def random_components(seed: int, count: int) -> Components:
    rng = np.random.default_rng(seed)
    means = np.concatenate([[0.0], rng.normal(0, 2, count - 1)])
    return Components(rng.dirichlet(np.ones(count)), means, np.exp(rng.normal(1, 2, count)))


def joint(values: np.ndarray, components: Components) -> np.ndarray:
    """log(share * density) of each value under each component, (n, k)."""
    spreads = components.precisions**-0.5
    densities = stats.norm.logpdf(values[:, None], components.means, spreads)
    return np.log(components.shares) + densities


def leaves(components: Components, dtype: torch.dtype) -> list[torch.Tensor]:
    parts = (components.means, np.log(components.precisions), np.log(components.shares))
    return [torch.tensor(part, dtype=dtype, requires_grad=True) for part in parts]


# The prior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 17])
@pytest.mark.parametrize("chunk", [3, 1 << 13])
def test_complexity_is_the_negative_log_density(
    count: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "CHUNK", chunk)
    components = random_components(count, count)
    values = np.random.default_rng(0).normal(0, 3, 50)
    expected = -special.logsumexp(joint(values, components), axis=1).sum()
    found = complexity(torch.tensor(values), *leaves(components, torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [4, 1 << 13])
def test_complexity_has_the_gradients_of_finite_differences(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "CHUNK", chunk)
    values = torch.randn(9, dtype=torch.float64, requires_grad=True)
    inputs = (values, *leaves(random_components(3, 5), torch.float64))
    assert torch.autograd.gradcheck(complexity, inputs)


def test_complexity_of_many_weights_is_interpolated_closely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    components = replace(random_components(1, 9), precisions=np.geomspace(400, 4, 9))
    rng = np.random.default_rng(0)
    weights = rng.normal(0, np.where(rng.random(40_000) < 0.9, 0.05, 1.0))
    found = []
    for table in (mixture.TABLE, len(weights)):
        monkeypatch.setattr(mixture, "TABLE", table)
        values = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
        parts = leaves(components, torch.float32)
        value = complexity(values, *parts)
        value.backward()
        found.append([value.detach(), values.grad, *(part.grad for part in parts)])
    assert found[0][0].item() == pytest.approx(found[1][0].item(), rel=1e-5)
    for quick, exact in zip(*found, strict=True):
        assert (quick - exact).abs().max() <= 1e-2 * exact.abs().max()


def test_complexity_of_equal_weights_beyond_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "TABLE", 8)
    components = random_components(2, 3)
    values = torch.full((20,), 0.7, requires_grad=True)
    value = complexity(values, *leaves(components, torch.float32))
    value.backward()
    expected = -special.logsumexp(joint(np.array([0.7]), components), axis=1).sum() * 20
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert torch.isfinite(values.grad).all()


def test_weights_far_from_every_component_keep_finite_gradients() -> None:
    narrow = Components(np.array([0.999, 0.001]), np.array([0.0, 1.0]), np.array([1e4, 1e4]))
    values = torch.tensor([1e3, -1e3, 0.0], requires_grad=True)
    parts = leaves(narrow, torch.float32)
    complexity(values, *parts).backward()
    for part in (values, *parts):
        assert torch.isfinite(part.grad).all()
    # The force on a weight is lambda (w - mu) of the component that is responsible.
    assert values.grad.tolist() == pytest.approx([1e4 * 999, -1e4 * 1e3, 0.0], rel=1e-5)


def test_the_hyper_priors_have_their_modes_where_they_say() -> None:
    prior = HyperPrior(0.9, zero_spread=0.2, spread=0.5, strength=2.0, zero_strength=3.0)
    start = Mixture(np.linspace(-2, 2, 100), 4, prior)
    groups = start.groups(1.0, 1.0, 1.0)
    _, precisions, _, zero = (p for group in groups for p in group.parameters)
    with torch.no_grad():
        precisions.copy_(torch.tensor([25.0, 4, 4, 4, 4]).log())
    start._hyper_complexity().backward()
    assert precisions.grad.abs().max() < 1e-4 and zero.grad.abs() < 1e-4
    # As a Gamma density: the same up to a constant.
    strength, mode = 2.0 * 100, 25.0
    gamma = stats.gamma(1 + strength / 2, scale=2 * mode / strength)
    rates = np.array([5.0, 25.0, 60.0])
    ours = []
    for rate in rates:
        with torch.no_grad():
            precisions[0] = float(np.log(rate))
        ours.append(start._hyper_complexity().item())
    assert np.diff(ours) == pytest.approx(-np.diff(gamma.logpdf(rates)), rel=1e-4)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 0.5), (1.0, (0.9 + 0.5) / 2)])
def test_a_learnt_share_of_zero_goes_where_weights_and_prior_say(
    strength: float, expected: float
) -> None:
    weights = torch.tensor([0.0] * 90 + [1.0] * 10)
    start = Mixture(weights.numpy(), 1, HyperPrior(0.5, 0.01, 0.01, 1.0, strength))
    _, precisions, shares = start.groups(1.0, 1.0, 1.0)
    with torch.no_grad():
        precisions.parameters[0].fill_(9.0)
        start.groups(1.0, 1.0, 1.0)[0].parameters[0].fill_(1.0)
    optimiser = torch.optim.Adam(shares.parameters, lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        start.complexity(weights).backward()
        optimiser.step()
    assert start.components().shares[0] == pytest.approx(expected, abs=1e-3)


def test_a_mixture_starts_evenly_and_its_shares_are_a_distribution() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    parts = Mixture(values, 16, HyperPrior(0.99, 0.1, 0.1, 1.0)).components()
    assert len(parts) == 17 and parts.means[0] == 0.0
    assert parts.shares.sum() == pytest.approx(1.0) and parts.shares[0] == pytest.approx(0.99)
    assert values.min() < parts.means[1] and parts.means[-1] < values.max()
    assert np.ptp(np.diff(parts.means[1:])) < 1e-5


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros(5), np.full(3, 1e-9)])
def test_a_mixture_of_nothing_or_zeros_is_sound(values: np.ndarray) -> None:
    start = Mixture(values.astype("f4"), 3, HyperPrior(0.9, 0.1, 0.1, 1.0))
    weights = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    start.complexity(weights).backward()
    assert torch.isfinite(weights.grad).all()
    assert np.isfinite(start.components().precisions).all()


def test_variances_are_kept_from_collapse() -> None:
    start = Mixture(np.linspace(-1, 1, 50), 2, HyperPrior(0.9, 0.1, 0.1, 0.0))
    (log_precisions,) = start.groups(1, 1, 1)[1].parameters
    with torch.no_grad():
        log_precisions.copy_(torch.tensor([50.0, -50.0, 0.0]))
    start.clamp()
    spreads = start.components().precisions ** -0.5
    assert spreads == pytest.approx([mixture.NARROWEST, mixture.WIDEST, 1.0], rel=1e-4)


# Merging and assignment -----------------------------------------------------------------------


def test_divergences_are_those_of_the_integral() -> None:
    components = random_components(5, 4)
    spreads = components.precisions**-0.5
    found = components.divergences()
    for i in range(4):
        for j in range(4):
            here = stats.norm(components.means[i], spreads[i])
            there = stats.norm(components.means[j], spreads[j])
            expected, _ = integrate.quad(
                lambda x, a=here, b=there: a.pdf(x) * (a.logpdf(x) - b.logpdf(x)),
                components.means[i] - 12 * spreads[i],
                components.means[i] + 12 * spreads[i],
            )
            assert found[i, j] == pytest.approx(expected, abs=1e-6, rel=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0, 5))
@settings(max_examples=60, deadline=None)
def test_merging_keeps_the_mass_and_puts_one_mean_at_zero(
    seed: int, count: int, threshold: float
) -> None:
    before = random_components(seed, count)
    after = before.merged(threshold)
    assert 1 <= len(after) <= len(before)
    assert after.shares.sum() == pytest.approx(before.shares.sum())
    assert (after.means == 0).any()
    assert (after.precisions <= before.precisions.max() * (1 + 1e-9)).all()
    assert (after.precisions >= before.precisions.min() * (1 - 1e-9)).all()
    divergences = before.divergences()
    alike = np.maximum(divergences, divergences.T) < threshold
    if not (alike & ~np.eye(count, dtype=bool)).any():
        assert len(after) == len(before)


def test_merging_follows_chains_and_weighs_by_shares() -> None:
    before = Components(
        np.array([0.4, 0.1, 0.2, 0.3]), np.array([0.0, 5.0, 5.6, 6.2]), np.array([1.0, 1, 2, 1])
    )
    after = before.merged(0.6)  # 5.0 and 6.2 are not alike, but both are like 5.6
    assert after.shares == pytest.approx([0.4, 0.6])
    assert after.means == pytest.approx([0.0, (0.5 + 1.12 + 1.86) / 0.6])
    assert 1 / after.precisions == pytest.approx([1.0, (0.1 + 0.1 + 0.3) / 0.6])
    assert len(before.merged(0.0)) == 4


def test_a_component_that_drifted_to_zero_joins_the_one_that_prunes() -> None:
    before = Components(np.array([0.9, 0.1]), np.array([0.0, 0.01]), np.array([100.0, 90.0]))
    assert before.merged(0.1).means.tolist() == [0.0]


@pytest.mark.parametrize("seed", range(5))
def test_each_weight_goes_to_the_component_most_responsible(seed: int) -> None:
    components = random_components(seed, 6)
    values = np.random.default_rng(seed).normal(0, 2, (13, 7))
    expected = joint(values.ravel(), components).argmax(axis=1).reshape(values.shape)
    assert np.array_equal(components.labels(values), expected)


THREE = Components(np.full(3, 1 / 3), np.array([-1.0, 0.0, 1.0]), np.full(3, 9.0))


@pytest.mark.parametrize(
    "shape", [(8, 1, 3, 3), (6, 2, 3, 5), (1, 17), (17, 1), (1, 1), (0, 5), (64,)]
)
def test_shared_weights_are_means_in_the_units_of_their_tensor(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(0, 0.5, shape).astype("f4")
    form = shared(Dense(weights), THREE, 0.5)
    assert form.shape == shape
    expected = 0.5 * THREE.means[THREE.labels(weights / 0.5)]
    assert np.array_equal(form.dense(), expected.astype("f2").astype("f4"))


def test_what_sharing_leaves_of_zeros_and_of_pruned_weights() -> None:
    zeros = shared(Dense(np.zeros((3, 4), "f4")), THREE, 1.0)
    assert zeros.nonzero == 0 and not zeros.dense().any()
    full = shared(Dense(np.ones((3, 4), "f4")), THREE, 1.0)
    assert isinstance(full, Codebook) and (full.dense() == 1).all()
    weights = np.array([[0.9, -1.2], [1.1, 0.05]], "f4")
    pruned = shared(Sparse.keep(weights, np.array([[1, 0], [1, 1]])), THREE, 1.0)
    assert isinstance(pruned, Sparse)
    assert pruned.dense().tolist() == [[1.0, 0.0], [1.0, 0.0]] and pruned.nonzero == 2


# The stage ------------------------------------------------------------------------------------


def fitted(problem: Problem) -> Packed:
    """The toy network, trained so that it has something to lose."""
    context = Context(problem.original, problem=problem)
    settings = replace(TOY, distil=0.0)
    return Retrain(training=settings).apply(Packed.of(problem.original), context).packed


def run(method: SoftWeightSharing, packed: Packed, problem: Problem, seed: int = 0) -> Outcome:
    problem = replace(problem, original=packed.network())
    return method.apply(packed, Context(packed.network(), problem=problem, seed=seed))


def distinct(packed: Packed, names: tuple[str, ...]) -> int:
    values = np.concatenate([packed.forms[name].dense().ravel() for name in names])
    return len(np.unique(values))


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_the_stage_prunes_and_shares_and_the_answers_stay(scope: str) -> None:
    problem = small_problem(400)
    start = fitted(problem)
    method = SoftWeightSharing(tau=0.03, scope=scope, smallest=8, training=TOY)
    done = run(method, start, problem)
    names = tuple(weight for _, weight in start.graph.weights())
    for name in names:
        assert len(np.unique(done.packed.forms[name].dense())) <= 17
    assert 0 < done.notes["density"] < 0.5
    assert done.notes["accuracy_before_sharing"] == 100.0
    assert done.notes["accuracy"] == 100.0  # replacing weights by means cost nothing
    assert set(done.skipped) == set(start.forms) - set(names)
    for name in done.skipped:
        assert done.packed.forms[name].name == start.forms[name].name


def test_one_unit_for_all_layers_leaves_17_values_in_the_network() -> None:
    problem = small_problem()
    start = fitted(problem)
    done = run(SoftWeightSharing(unit="network", smallest=8, training=TOY), start, problem)
    assert distinct(done.packed, tuple(w for _, w in start.graph.weights())) <= 17


def test_more_pressure_leaves_fewer_weights_and_none_leaves_most() -> None:
    problem = small_problem()
    start = fitted(problem)
    densities = [
        run(method, start, problem).notes["density"]
        for method in (
            SoftWeightSharing(tau=tau, dead_units=False, smallest=8, training=TOY)
            for tau in (0.0, 0.02, 0.5)
        )
    ]
    assert densities[0] > densities[1] > densities[2]


def test_the_stage_repeats_and_knows_its_seed() -> None:
    problem = small_problem()
    start = fitted(problem)
    method = SoftWeightSharing(smallest=8, training=replace(TOY, epochs=3))
    first, again, other = (run(method, start, problem, seed) for seed in (0, 0, 1))
    pairs = [(first.packed.forms[n].dense(), again.packed.forms[n].dense()) for n in start.forms]
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert any(
        not np.array_equal(a, other.packed.forms[n].dense())
        for n, (a, _) in zip(start.forms, pairs, strict=True)
    )


def test_a_pruned_network_stays_pruned_and_a_shared_one_is_left_alone() -> None:
    problem = small_problem()
    context = Context(problem.original, problem=problem)
    pruned = ThresholdPruning(density=0.5, smallest=8).apply(fitted(problem), context).packed
    method = SoftWeightSharing(smallest=8, training=replace(TOY, epochs=5))
    done = run(method, pruned, problem)
    for _, name in pruned.graph.weights():
        assert not done.packed.forms[name].dense()[pruned.forms[name].dense() == 0].any()
    again = run(method, done.packed, problem)
    assert again.packed is done.packed
    assert all("already in the form" in again.skipped[n] for _, n in pruned.graph.weights())


def test_grouped_and_depthwise_convolutions_and_narrow_layers() -> None:
    nodes = (
        Node("Conv", "deep", ("x", "deep.weight"), ("a",), {"group": 4, "pads": (1, 1, 1, 1)}),
        Node("Conv", "pairs", ("a", "pairs.weight"), ("b",), {"group": 2}),
        Node("Flatten", "flat", ("b",), ("c",)),
        Node("Gemm", "thin", ("c", "thin.weight"), ("d",)),
        Node("Gemm", "out", ("d", "out.weight"), ("y",)),
    )
    shapes = {
        "deep.weight": (4, 1, 3, 3),
        "pairs.weight": (6, 2, 3, 3),
        "thin.weight": (1, 96),
        "out.weight": (2, 1),
    }
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    tensors["pairs.weight"][:] = 0  # a layer without anything in it
    network = Network(Graph({"x": (4, 6, 6)}, ("y",), nodes, shapes), tensors).check()
    pixels = rng.integers(0, 256, (40, 4, 6, 6), dtype=np.uint8)
    data = Data((pixels, np.arange(40) % 2))
    problem = replace(small_problem(), original=network, train=data, held_out=data)
    method = SoftWeightSharing(smallest=1, training=replace(TOY, epochs=2))
    done = run(method, Packed.of(network), problem)
    assert not done.skipped
    for name, shape in shapes.items():
        assert done.packed.forms[name].shape == shape
        assert np.isfinite(done.packed.forms[name].dense()).all()


def test_nothing_to_work_on_is_said_and_changes_nothing() -> None:
    problem = small_problem()
    start = Packed.of(problem.original)
    done = run(SoftWeightSharing(skip=["*"], training=TOY), start, problem)
    assert done.packed is start and "named in 'skip'" in done.skipped.values()


@pytest.mark.parametrize("epochs", [0.0, 0.1, 1.0])
def test_very_short_training_gives_a_sound_network(epochs: float) -> None:
    problem = small_problem()
    start = fitted(problem)
    method = SoftWeightSharing(smallest=8, training=replace(TOY, epochs=epochs))
    done = run(method, start, problem)
    for _, name in start.graph.weights():
        values = done.packed.forms[name].dense()
        assert np.isfinite(values).all() and len(np.unique(values)) <= 17
