"""Dynamic surgery: masks that are decided anew, weights that come back, units that are dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from test_methods import trained_problem, two_layers  # noqa: E402

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.compression import compress  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.forms import Codebook, Dense, Packed, Sparse  # noqa: E402
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.methods import (  # noqa: E402
    Context,
    DynamicSurgery,
    HalfPrecision,
    MatchMoments,
    Outcome,
    Retrain,
    ThresholdPruning,
    WeightSharing,
)
from reticule.methods.prune.dead import without_dead_units  # noqa: E402
from reticule.methods.prune.scores import position_prices  # noqa: E402
from reticule.methods.prune.twins import SplicingTwin  # noqa: E402
from reticule.tuning.moments import match_moments  # noqa: E402
from reticule.tuning.problem import Problem  # noqa: E402
from reticule.tuning.train import Training  # noqa: E402

QUICK = Training(epochs=10, learning_rate=0.005, batch=16)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.01, 2), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_masks_follow_the_rule_with_two_thresholds(seed: int, thresholds: Sequence[float]) -> None:
    """Against the rule written out for one weight after the other."""
    rng = np.random.default_rng(seed)
    allowed = rng.random((5, 7)) < 0.8
    twin = SplicingTwin(rng.normal(size=(5, 7)).astype("f4") * allowed, allowed)
    expected = allowed.copy()
    for threshold in thresholds:
        values = rng.normal(size=(5, 7)).astype("f4")
        with torch.no_grad():
            twin.parameters()[0].copy_(torch.from_numpy(values))
        back = twin.operate(threshold)
        came = 0
        for at in np.ndindex(5, 7):
            size = abs(float(values[at]))
            if expected[at] and size <= 0.9 * threshold:
                expected[at] = False
            elif not expected[at] and allowed[at] and size > 1.1 * threshold:
                expected[at], came = True, came + 1
        assert np.array_equal(twin.mask(), expected)
        assert back == came
        assert np.array_equal(twin.tensor().detach().numpy(), values * expected)
        assert np.array_equal(twin.form().dense(), values * expected)


def test_the_gradient_reaches_masked_weights_only_while_the_mask_is_open() -> None:
    """It is that of the masked network, by finite differences, for every entry."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 4)).astype("f4")
    twin = SplicingTwin(values, np.ones((3, 4), bool))
    twin.operate(0.7)
    masked = (values * twin.mask()).astype("f8")
    assert 0 < np.count_nonzero(masked) < masked.size

    def loss(weights: np.ndarray) -> float:
        return float(np.sum(np.sin(weights) + weights**2 * np.arange(12).reshape(3, 4)))

    steps = np.eye(12).reshape(12, 3, 4) * 1e-5
    slopes = [(loss(masked + step) - loss(masked - step)) / 2e-5 for step in steps]
    for is_open in (True, False):
        twin.open = is_open
        tensor = twin.tensor()
        total = (torch.sin(tensor) + tensor**2 * torch.arange(12.0).reshape(3, 4)).sum()
        (gradient,) = torch.autograd.grad(total, twin.parameters())
        expected = np.reshape(slopes, (3, 4)) * (1.0 if is_open else twin.mask())
        assert np.allclose(gradient.numpy(), expected, atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 4))
@settings(max_examples=40, deadline=None)
def test_positions_cost_more_where_lines_are_empty(seed: int, power: float) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.random((6, 1)) * rng.random((1, 10))
    mask = (rng.random((6, 10)) < rates).reshape(6, 5, 2)
    prices = position_prices(mask, power)
    assert prices.shape == mask.shape
    assert (prices > 0).all()
    if mask.any():
        bits = prices.astype("f8") ** (1 / power)
        assert np.isclose(bits[mask].mean(), 1.0, rtol=1e-3)
        rows = np.argsort(mask.sum((1, 2)), kind="stable")
        assert (np.diff(prices.reshape(6, 10)[rows], axis=0) <= 1e-6).all()
    assert (position_prices(mask, 0.0) == 1).all()


def surgery(problem: Problem, start: Packed | None = None, **parameters: object) -> Outcome:
    """Surgery on the problem's network with a quick training."""
    method = DynamicSurgery(**{"smallest": 30, "training": QUICK, **parameters})  # type: ignore[arg-type]
    context = Context(problem.original, problem=problem)
    return method.apply(start or Packed.of(problem.original), context)


def flattened(packed: Packed) -> Packed:
    """A perceptron with 64 inputs that takes the problem's images."""
    graph = replace(
        packed.graph,
        inputs={"i": (1, 8, 8)},
        nodes=(Node("Flatten", "flat", ("i",), ("x",)), *packed.graph.nodes),
    )
    return Packed(graph, packed.forms)


def test_surgery_approaches_its_density_and_keeps_the_accuracy() -> None:
    problem = trained_problem(200)
    outcome = surgery(problem, density=0.25, dead_units=False)
    assert abs(outcome.notes["density"] - 0.25) < 0.05  # type: ignore[operator]
    assert problem.accuracy(outcome.packed) >= 95.0
    assert all(isinstance(form, Sparse) for form in outcome.packed.forms.values())


def test_gathering_leaves_as_many_weights_in_fewer_lines() -> None:
    """Weights that are as good as each other, and no learning: prices alone decide."""
    packed = flattened(two_layers((64, 80, 10)))
    problem = replace(trained_problem(60), original=packed.network())
    still = Training(epochs=20, learning_rate=0.0, batch=16)
    lines, weights = [], []
    for gather in (0.0, 1.0, 3.0):
        parameters = {"scope": "layer", "gather": gather, "training": still, "dead_units": False}
        form = surgery(problem, packed, density=0.1, **parameters).packed.forms["one.weight"]
        mask = form.dense() != 0
        lines.append(np.count_nonzero(mask.any(0)) + np.count_nonzero(mask.any(1)))
        weights.append(np.count_nonzero(mask))
    assert lines[2] < lines[1] < lines[0]
    assert max(weights) <= 1.1 * min(weights)


def test_weights_come_back_and_repeat_with_the_seed() -> None:
    problem = trained_problem(100)
    first, second = (surgery(problem, rate=0.5) for _ in range(2))
    assert first.notes["spliced"] > 0  # type: ignore[operator]
    for name, form in first.packed.forms.items():
        assert np.array_equal(form.dense(), second.packed.forms[name].dense())


def test_the_rate_sets_the_threshold_of_weights_and_biases_together() -> None:
    """Without any learning the mask is that of the formula, applied once or a hundred times."""
    problem = trained_problem(60)
    still = Training(epochs=1, learning_rate=0.0, batch=16)
    tensors = problem.original.tensors
    for biases in (True, False):
        outcome = surgery(problem, rate=0.5, biases=biases, training=still, dead_units=False)
        for node, weight in problem.original.graph.weights():
            names = [weight, node.inputs[2]] if biases else [weight]
            sizes = np.concatenate([np.abs(tensors[name]).ravel() for name in names])
            sizes = sizes[sizes > 0].astype("f8")
            threshold = sizes.mean() + 0.5 * sizes.std()
            for name in names:
                expected = np.abs(tensors[name]) > 0.9 * threshold
                assert np.array_equal(outcome.packed.forms[name].dense() != 0, expected)
            assert (node.inputs[2] in outcome.skipped) is not biases
        if not biases:
            bias = outcome.packed.forms[node.inputs[2]]
            assert isinstance(bias, Dense)


def test_masks_are_decided_less_and_less_often() -> None:
    """A steep probability leaves only the first step, in which nothing can come back."""
    problem = trained_problem(60)
    assert surgery(problem, rate=0.5, gamma=1e9, power=4.0).notes["spliced"] == 0
    assert surgery(problem, rate=0.5, gamma=0.0).notes["spliced"] > 0  # type: ignore[operator]


def test_rates_by_name_leave_the_others_alone() -> None:
    problem = trained_problem(60)
    one, two = (name for _, name in problem.original.graph.weights())
    outcome = surgery(problem, rate={two: 1.0, "nothing.*": 3.0})
    assert outcome.skipped[one] == "no pattern in 'rate' fits"
    assert isinstance(outcome.packed.forms[one], Dense)
    assert outcome.packed.forms[two].nonzero < outcome.packed.forms[two].size


def test_what_was_pruned_before_stays_pruned_and_shared_tensors_are_skipped() -> None:
    problem = trained_problem(60)
    start, context = Packed.of(problem.original), Context(problem.original, problem=problem)
    one, two = (name for _, name in problem.original.graph.weights())
    start = ThresholdPruning(density=0.5, smallest=30, skip=[two]).apply(start, context).packed
    start = WeightSharing(smallest=30, skip=[one]).apply(start, context).packed
    outcome = surgery(problem, start, density=0.2)
    before, after = start.forms[one].dense() != 0, outcome.packed.forms[one].dense() != 0
    assert after.any() and not (after & ~before).any()
    assert outcome.skipped[two].startswith("already in the form codebook")
    assert isinstance(outcome.packed.forms[two], Codebook)


@pytest.mark.parametrize("sizes", [(64, 1, 2), (64, 0, 2), (64, 5, 2)])
@pytest.mark.parametrize("zero", [False, True])
def test_odd_layers_go_through(sizes: tuple[int, int, int], zero: bool) -> None:
    """One unit wide, empty, or nothing but zeros."""
    packed = flattened(two_layers(sizes))
    if zero:
        packed = packed.with_forms({n: Dense(f.dense() * 0) for n, f in packed.forms.items()})
    problem = replace(trained_problem(60), original=packed.network())
    for parameters in ({"density": 0.2}, {"rate": 1.0}):
        outcome = surgery(problem, packed, smallest=0, **parameters)
        assert np.isfinite(outcome.packed.forms["one.weight"].dense()).all()
        decoded = loads(dumps(outcome.packed, About())).packed
        for name, form in outcome.packed.forms.items():
            assert np.array_equal(decoded.forms[name].dense(), form.dense())


def layered(
    nodes: Sequence[Node], tensors: dict[str, np.ndarray], shape: tuple[int, ...]
) -> Packed:
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    graph = Graph({"x": shape}, (nodes[-1].outputs[0],), tuple(nodes), shapes)
    return Packed.of(Network(graph, tensors).check())


def perceptron(rng: np.random.Generator) -> Packed:
    sizes = [6, 7, 5, 4]
    tensors, nodes, last = {}, [], "x"
    for k, (a, b) in enumerate(pairwise(sizes)):
        tensors |= {f"w{k}": rng.normal(size=(b, a)), f"b{k}": rng.normal(size=b)}
        nodes.append(Node("Gemm", f"fc{k}", (last, f"w{k}", f"b{k}"), (f"h{k}",)))
        op = ("Sigmoid", "Relu", "Identity")[k]
        nodes.append(Node(op, f"act{k}", (f"h{k}",), (f"a{k}",)))
        last = f"a{k}"
    return layered(nodes, {n: t.astype("f4") for n, t in tensors.items()}, (6,))


def convolutions(rng: np.random.Generator) -> Packed:
    """Padded, grouped and plain convolutions, a sum, both kinds of pooling, no bias at the end."""
    tensors = {
        "w0": rng.normal(size=(6, 2, 3, 3)), "b0": rng.normal(size=6),
        "w1": rng.normal(size=(6, 2, 3, 3)), "b1": rng.normal(size=6),
        "w2": rng.normal(size=(5, 6, 1, 1)), "b2": rng.normal(size=5),
        "w3": rng.normal(size=(4, 20)),
    }  # fmt: skip
    pads = {"pads": (1, 1, 1, 1)}
    pool = {"kernel_shape": (2, 2), "strides": (2, 2)}
    nodes = [
        Node("Conv", "c0", ("x", "w0", "b0"), ("h0",), pads),
        Node("Tanh", "t0", ("h0",), ("a0",)),
        Node("Conv", "c1", ("a0", "w1", "b1"), ("h1",), {**pads, "group": 3}),
        Node("Add", "sum", ("h1", "a0"), ("s",)),
        Node("Relu", "r", ("s",), ("a1",)),
        Node("MaxPool", "mp", ("a1",), ("p1",), pool),
        Node("Conv", "c2", ("p1", "w2", "b2"), ("h2",)),
        Node("AveragePool", "ap", ("h2",), ("p2",), pool),
        Node("Flatten", "f", ("p2",), ("v",)),
        Node("Gemm", "fc", ("v", "w3"), ("y",)),
    ]
    return layered(nodes, {n: t.astype("f4") for n, t in tensors.items()}, (2, 8, 8))


@given(st.sampled_from([perceptron, convolutions]), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=60, deadline=None)
def test_dead_units_go_without_changing_an_answer(make, seed: int, sparse: bool) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    packed = make(rng)
    names = [name for _, name in packed.graph.weights()]
    forms = {}
    for name in names:
        weights = packed.forms[name].dense()
        weights = weights * (rng.random(weights.shape) < 0.6)
        weights[rng.random(len(weights)) < 0.4] = 0
        weights[:, rng.random(weights.shape[1]) < 0.3] = 0
        forms[name] = Sparse.keep(weights, weights != 0) if sparse else Dense(weights)
    for name in [n for n in packed.forms if n.startswith("b")]:
        bias = packed.forms[name].dense() * (rng.random(packed.forms[name].shape) < 0.5)
        forms[name] = Sparse.keep(bias, bias != 0) if sparse else Dense(bias)
    packed = packed.with_forms(forms)
    cleaned, dead = without_dead_units(packed, names)
    shape = next(iter(packed.graph.inputs.values()))
    x = rng.normal(size=(4, *shape)).astype("f4")
    before, after = Model(packed)(x), Model(cleaned)(x)
    assert np.abs(before - after).max() <= 1e-4 * max(1.0, np.abs(before).max())
    assert all(type(cleaned.forms[n]) is type(packed.forms[n]) for n in names)
    for name in names:
        gone = (packed.forms[name].dense() != 0) >= (cleaned.forms[name].dense() != 0)
        assert gone.all()
    again, still_dead = without_dead_units(cleaned, names)
    assert still_dead == dead
    assert all(np.array_equal(again.forms[n].dense(), f.dense()) for n, f in cleaned.forms.items())
    if make is perceptron:  # by brute force: a unit has weights on both sides, or none at all
        for k in range(2):
            rows = cleaned.forms[f"w{k}"].dense().any(1)
            columns = cleaned.forms[f"w{k + 1}"].dense().any(0)
            assert np.array_equal(rows, columns)
            assert not cleaned.forms[f"b{k}"].dense()[~rows].any()
        assert dead == sum(int((~cleaned.forms[f"w{k}"].dense().any(1)).sum()) for k in range(2))


def test_a_constant_behind_a_padded_convolution_stays() -> None:
    """At the border the next layer sees zeros instead of the constant."""
    packed = convolutions(np.random.default_rng(0))
    weights = packed.forms["w0"].dense().copy()
    weights[1] = 0
    packed = packed.with_forms({"w0": Dense(weights)})
    cleaned, dead = without_dead_units(packed, ["w0", "w1", "w2", "w3"])
    assert dead == 0
    assert all(np.array_equal(cleaned.forms[n].dense(), f.dense()) for n, f in packed.forms.items())
    assert cleaned.forms["b0"].dense()[1] != 0


def test_pruned_biases_survive_later_stages() -> None:
    """Half precision, moments and retraining change what is left of a bias, and no more."""
    problem = trained_problem(60)
    context = Context(problem.original, problem=problem)
    packed = surgery(problem, density=0.2).packed
    node, _ = next(packed.graph.weights())
    name = node.inputs[2]
    mask = np.array([True, False, True, False])
    packed = packed.with_forms({name: Sparse.keep(packed.forms[name].dense() + 1, mask)})
    half = HalfPrecision().apply(packed, context).packed
    images = problem.train.batch(np.arange(16))
    moved = match_moments(half, problem.original, (images,))
    assert not np.array_equal(moved.forms[name].dense(), half.forms[name].dense())
    later = MatchMoments(images=16).apply(half, context).packed
    later = Retrain(training=QUICK).apply(later, context).packed
    for stage in (half, moved, later):
        form = stage.forms[name]
        assert isinstance(form, Sparse) and isinstance(form.values, Dense)
        assert form.values.values.dtype == np.float16
        assert np.array_equal(form.mask(), mask)


def test_the_recipe_from_network_to_file() -> None:
    problem = trained_problem(100)
    result = compress(
        problem.original,
        train=problem.train,
        val=problem.held_out,
        recipe="dynamic-surgery",
        minutes=0.01,
    )
    decoded = loads(result.blob).packed
    small, large = (decoded.forms[name] for _, name in decoded.graph.weights())
    assert isinstance(large, Sparse) and isinstance(large.values, Codebook)
    assert isinstance(small, Dense)  # only 36 weights
    stage = next(s for s in result.stages if s.name == "dynamic-surgery")
    assert {"density", "free_density", "tried", "spliced", "dead_units"} <= set(stage.notes)
