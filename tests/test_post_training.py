"""Post-training quantisation: what it promises about levels, loss, budgets and files."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tuning import small_problem

from reticule import compress, from_torch
from reticule.codec import About, dumps, loads
from reticule.data import Data
from reticule.errors import RecipeError
from reticule.forms import Packed, Quantised, Spectral
from reticule.graph import Graph, Network, Node
from reticule.graph.fold import fold_batch_norm
from reticule.methods import Context, TrellisQuantisation
from reticule.methods.quantise.budget import Attempt, highest_within, lowest_enough
from reticule.methods.quantise.calibration import importances, seen_by
from reticule.methods.quantise.judge import Judge, expected_drop
from reticule.methods.quantise.layers import Sensitivity, quantise_layer
from reticule.methods.quantise.walk import Settings, quantise_network, quantised_bias
from reticule.progress import Silent
from reticule.tuning.executor import execute
from reticule.tuning.likelihood import Likelihood
from reticule.tuning.problem import Problem, constant_tensors

RNG = np.random.default_rng(0)


def node(op: str, name: str, inputs: tuple[str, ...], output: str, **attributes: object) -> Node:
    return Node(op, name, inputs, (output,), attributes)  # type: ignore[arg-type]


def grouped_network() -> Network:
    """Convolutions plain, grouped and depth-wise, a shortcut, and a linear layer."""
    shapes = {
        "a.weight": (8, 3, 3, 3), "a.bias": (8,), "b.weight": (8, 4, 3, 3), "b.bias": (8,),
        "c.weight": (8, 1, 5, 5), "fc.weight": (4, 8), "fc.bias": (4,),
    }  # fmt: skip
    pads = {"pads": (1, 1, 1, 1)}
    nodes = (
        node("Conv", "a", ("x", "a.weight", "a.bias"), "a", **pads),
        node("Relu", "r", ("a",), "r"),
        node("Conv", "b", ("r", "b.weight", "b.bias"), "b", group=2, **pads),
        node("Add", "s", ("b", "r"), "s"),
        node("Conv", "c", ("s", "c.weight"), "c", group=8, strides=(2, 2)),
        node("GlobalAveragePool", "p", ("c",), "p"),
        node("Flatten", "f", ("p",), "f"),
        node("Gemm", "fc", ("f", "fc.weight", "fc.bias"), "y"),
    )
    tensors = {name: RNG.normal(size=shape).astype("f4") / 3 for name, shape in shapes.items()}
    return Network(Graph({"x": (3, 10, 10)}, ("y",), nodes, shapes), tensors)


IMAGES = RNG.normal(size=(48, 3, 10, 10)).astype("f4")


def answers(packed: Packed, images: np.ndarray = IMAGES) -> torch.Tensor:
    network = packed.network()
    with torch.no_grad():
        return execute(network.graph, constant_tensors(network), torch.from_numpy(images))[0]


def chosen_of(network: Network) -> dict[str, np.ndarray]:
    tensors = constant_tensors(network)
    return importances(network.graph, tensors, (IMAGES,), Likelihood(None), 0, Silent())


def quantised(network: Network, lam: float, **more: object) -> Packed:
    return quantise_network(
        Packed.of(network), chosen_of(network), (IMAGES,), Settings(lam, **more), {}, Silent()
    )  # type: ignore[arg-type]


def test_what_a_layer_sees_gives_what_it_puts_out() -> None:
    network = grouped_network()
    x = {
        "a": torch.randn(2, 3, 10, 10),
        "b": torch.randn(2, 8, 9, 10),
        "c": torch.randn(2, 8, 9, 9),
    }
    for layer in network.graph.nodes:
        if layer.op != "Conv":
            continue
        weight = torch.from_numpy(network.tensors[layer.inputs[1]])
        a = layer.settings
        pad = (a["pads"][0], a["pads"][1])  # type: ignore[index]
        expected = F.conv2d(x[layer.name], weight, None, a["strides"], pad, 1, a["group"])  # type: ignore[arg-type]
        seen = seen_by(layer, x[layer.name], tuple(weight.shape)).rows
        rows = weight.reshape(len(seen), -1, seen.shape[2])
        found = torch.einsum("gnc,grc->ngr", seen, rows).flatten(1)
        assert torch.allclose(found, expected.movedim(1, -1).flatten(0, 2), atol=1e-4)
        thin = seen_by(layer, x[layer.name], tuple(weight.shape), 2, 3).rows
        expected = expected[:, :, 1::2, 1::2].movedim(1, -1).flatten(0, 2)
        found = torch.einsum("gnc,grc->ngr", thin, rows).flatten(1)
        assert torch.allclose(found, expected, atol=1e-4)


def test_importances_are_the_fisher_information_of_the_biases_of_the_last_layer() -> None:
    network = grouped_network()
    found = chosen_of(network)["fc.weight"]
    p = answers(Packed.of(network)).softmax(1).double()
    exact = (p * (1 - p)).mean(0).numpy()  # of one-hot less p, over classes drawn from p
    assert np.allclose(found / found.sum(), exact / exact.sum(), atol=0.15)
    assert all((v > 0).all() for v in chosen_of(network).values())


def test_the_loss_is_the_quadratic_form_group_by_group() -> None:
    square = RNG.normal(size=(2, 9, 9))
    hessian = square @ square.transpose(0, 2, 1)
    importance, e = RNG.uniform(1, 2, 6), RNG.normal(size=(6, 1, 3, 3))
    expected = sum(
        0.5 * importance[r] * e[r].ravel() @ hessian[r // 3] @ e[r].ravel() for r in range(6)
    )
    assert np.isclose(Sensitivity(hessian, importance).loss(e), expected)


@pytest.mark.parametrize("states", [0, 8])
def test_a_layer_costs_less_with_second_order_information(states: int) -> None:
    mixed = RNG.normal(size=(36, 36)) * np.geomspace(1, 0.05, 36)
    hessian = (mixed @ mixed.T)[None]
    weights, ones = RNG.normal(size=(40, 4, 3, 3)), np.ones(40)
    lam = 1e-3 * float(np.trace(hessian[0]))
    informed = Sensitivity(hessian, ones)
    blind = Sensitivity(np.full(36, np.trace(hessian[0]) / 36), ones)
    losses, sizes = [], []
    for sensitivity in (informed, blind):
        made = quantise_layer(weights, sensitivity, lam, states)
        losses.append(informed.loss(made.form.dense() - weights))
        graph = Graph({"x": (36,)}, ("y",), (node("Gemm", "g", ("x", "w"), "y"),), {"w": (40, 36)})
        levels = made.form.coefficients if isinstance(made.form, Spectral) else made.form
        assert isinstance(levels, Quantised) and levels.states == states
        flat = Quantised(levels.levels.reshape(40, 36), levels.step, 0)
        sizes.append(len(dumps(Packed(graph, {"w": flat}), About())))
    assert losses[0] + lam * 8 * sizes[0] < losses[1] + lam * 8 * sizes[1]


@given(st.integers(4, 16), st.integers(1, 30), st.floats(1e-6, 1e6))
@settings(max_examples=30, deadline=None)
def test_a_bias_is_off_by_half_a_step_at_most(bits: int, size: int, scale: float) -> None:
    bias = np.random.default_rng(size).normal(size=size) * scale
    form = quantised_bias(bias, bits)
    assert np.abs(form.levels.astype(int)).max() == 2 ** (bits - 1) - 1
    assert np.abs(form.dense() - bias).max() <= form.step * (0.5 + 1e-3)


def test_a_finer_quality_answers_more_like_the_original() -> None:
    network = grouped_network()
    exact = answers(Packed.of(network))
    errors = []
    for lam in (1e-2, 1e-4, 1e-6):
        packed = quantised(network, lam)
        assert isinstance(packed.forms["fc.weight"], Quantised)
        errors.append(float((answers(packed) - exact).square().mean() / exact.var()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02


def test_making_up_for_earlier_layers_and_shifts_helps() -> None:
    network = grouped_network()
    exact = answers(Packed.of(network))
    error = {}
    for more in (True, False):
        packed = quantised(network, 1e-3, compensate=more, correct=more, centre=more)
        error[more] = float((answers(packed) - exact).square().mean())
    assert error[True] < error[False]


def test_the_bias_restores_the_mean_of_every_channel() -> None:
    network = grouped_network()
    packed = quantised(network, 1e-3, bias_bits=16)
    shifts = answers(packed) - answers(Packed.of(network))
    certain = shifts.std(0) / len(shifts) ** 0.5
    assert (shifts.mean(0).abs() <= 1e-3 + certain).all()
    blind = quantised(network, 1e-3, bias_bits=16, correct=False)
    before = answers(blind) - answers(Packed.of(network))
    assert shifts.mean(0).abs().max() < 0.2 * before.mean(0).abs().max()


def test_a_layer_of_zeros_and_one_that_sees_nothing() -> None:
    network = grouped_network()
    tensors = {**network.tensors, "a.weight": np.zeros((8, 3, 3, 3), "f4")}
    tensors["a.bias"] = np.full(8, -1.0, "f4")  # nothing passes the activation
    packed = quantised(Network(network.graph, tensors), 1e-4)
    assert not packed.forms["a.weight"].dense().any()
    assert torch.isfinite(answers(packed)).all()


def apply(problem, **context: object):
    packed = Packed.of(problem.original)
    given_quality = context.pop("quality", None)
    method = TrellisQuantisation(quality=given_quality, images=16)  # type: ignore[arg-type]
    settings = Context(problem.original, problem=problem, **context)  # type: ignore[arg-type]
    return method.apply(packed, settings)


def test_it_repeats_and_needs_no_labels() -> None:
    problem = small_problem()
    first = apply(problem, quality=12.0)
    train = problem.train
    blind = Data((train.images(np.arange(len(train))), np.zeros(len(train), np.int64)))
    second = apply(replace(problem, train=blind), quality=12.0)
    assert all(isinstance(f, Quantised | Spectral) for f in first.packed.forms.values())
    for name, form in first.packed.forms.items():
        assert np.array_equal(form.dense(), second.packed.forms[name].dense())
    assert first.notes["bias_bytes"] == 4 + 2


def test_what_is_skipped_is_left_as_it_is() -> None:
    problem = small_problem()
    packed = Packed.of(problem.original)
    name = next(iter(packed.forms))
    context = Context(problem.original, problem=problem)
    outcome = TrellisQuantisation(quality=10.0, images=16, skip=[name]).apply(packed, context)
    assert outcome.skipped[name] == "named in 'skip'"
    assert outcome.packed.forms[name] is packed.forms[name]


def test_without_images_errors_are_relative_and_smaller_in_small_layers() -> None:
    network = grouped_network()
    context = Context(network)
    errors: dict[tuple[str, float], float] = {}
    for quality in (12.0, 24.0):
        packed = TrellisQuantisation(quality=quality).apply(Packed.of(network), context).packed
        for name in ("a.weight", "b.weight", "fc.weight"):
            form, exact = packed.forms[name], network.tensors[name]
            assert isinstance(form, Quantised | Spectral)
            errors[name, quality] = float(np.sum((form.dense() - exact) ** 2) / np.sum(exact**2))
        assert errors["fc.weight", quality] < errors["b.weight", quality]
    for name in ("a.weight", "b.weight", "fc.weight"):
        assert errors[name, 24.0] < errors[name, 12.0] / 4


def _wave(x: float) -> float:
    return x + 0.4 * math.sin(2 * x)


OFF = {
    "straight": lambda x: x,
    "steep": lambda x: 6 * x,
    "flat": lambda x: 0.2 * x,
    "cubic": lambda x: 0.05 * x**3,
    "yes or no": lambda x: math.copysign(12.0, x) if x else 0.0,
    "steps": lambda x: float(math.floor(x)),
    "bent": lambda x: x if x < 0 else 5 * x,
    "waves": _wave,
}


@given(st.floats(0.5, 30), st.floats(0, 25), st.booleans(), st.sampled_from(sorted(OFF)))
@settings(max_examples=200, deadline=None)
def test_the_search_ends_beside_the_budget(limit: float, start: float, up: bool, how: str) -> None:
    tried = []

    def attempt(quality: float) -> Attempt:
        tried.append(quality)
        return Attempt(quality, None)

    def off(trial: Attempt) -> float:
        away = trial.quality - limit if up else limit - trial.quality
        return min(max(OFF[how](away), -12.0), 12.0)

    best, met = (highest_within if up else lowest_enough)(attempt, off, start=start, finest=0.5)
    assert met and off(best) <= 0
    near = {"flat": 2.6, "steps": 1.5, "cubic": 2.0, "waves": 1.0}.get(how, 0.5)
    assert abs(best.quality - limit) <= near + 1e-9
    assert len(tried) <= (8 if how == "straight" else 14)


def test_a_budget_that_cannot_be_met_gives_the_nearest_trial() -> None:
    found = highest_within(lambda q: Attempt(q, None), lambda t: 1.0, start=12.0, finest=0.5)
    assert found == (Attempt(-6.0, None), False)


def test_the_judge_believes_accuracy_on_images_that_are_new() -> None:
    problem = small_problem()
    judge = Judge.of(problem.original, problem, True, np.random.default_rng(0))
    assert judge.drop(Packed.of(problem.original)) == 0.0


@pytest.fixture(scope="module")
def trained():
    """A network that tells three directions of stripes apart, and its images."""
    rng = np.random.default_rng(3)
    labels = np.arange(360) % 3
    y, x = np.mgrid[:12, :12]
    waves = np.stack([np.sin(1.5 * a) for a in (x, y, x + y)])[labels]
    pixels = 128 + 50 * waves + rng.normal(0, 40, waves.shape)
    images = pixels.clip(0, 255).astype(np.uint8)[:, None]
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5), torch.nn.BatchNorm2d(12), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(192, 3),
    )  # fmt: skip
    optimiser = torch.optim.Adam(module.parameters(), 0.01)
    inputs, targets = torch.from_numpy(images / 255.0).float(), torch.from_numpy(labels)
    for _ in range(30):
        optimiser.zero_grad()
        F.cross_entropy(module(inputs), targets).backward()
        optimiser.step()
    module.eval()
    data = Data((images, labels))
    return (
        from_torch(module, inputs[:2]),
        data.subset(np.arange(300)),
        data.subset(np.arange(300, 360)),
    )


def test_the_judge_sees_no_loss_in_the_original_and_much_in_noise(trained) -> None:
    network, train, held_out = trained
    judge = Judge.of(network, Problem.of(network, train, held_out), False, RNG)
    assert judge.drop(Packed.of(network)) == 0.0
    tensors = {n: -t if n.endswith("weight") else t for n, t in network.tensors.items()}
    assert judge.drop(Packed.of(Network(network.graph, tensors))) > 5.0
    assert expected_drop(1.0) < expected_drop(2.0)


def test_the_recipe_makes_a_small_file_that_answers_alike(trained) -> None:
    network, train, test = trained
    result = compress(network, train=train, test=test, recipe="post-training", max_drop=5.0)
    assert result.budget_met and result.ratio > 8
    folded = fold_batch_norm(network)
    assert set(loads(result.blob).packed.forms) == set(folded.tensors)
    again = compress(network, train=train, test=test, recipe="post-training", max_drop=5.0)
    assert again.blob == result.blob


@pytest.mark.parametrize("images", [True, False])
def test_the_file_has_the_bytes_that_were_asked_for(trained, images: bool) -> None:
    network, train, _ = trained
    data = train if images else None
    most = 1000
    result = compress(network, train=data, recipe="post-training", max_bytes=most)
    assert result.bytes_file <= most and result.budget_met
    smaller = compress(network, train=data, recipe="post-training", max_bytes=800)
    assert smaller.bytes_file <= 800 and smaller.bytes_file < result.bytes_file
    impossible = compress(network, train=data, recipe="post-training", max_bytes=20)
    assert impossible.budget_met is False


def test_budgets_that_make_no_sense_are_refused(trained) -> None:
    network = trained[0]
    with pytest.raises(RecipeError, match="max_drop needs images"):
        compress(network, recipe="post-training", max_drop=1.0)
    with pytest.raises(RecipeError, match="max_error is 0"):
        compress(network, recipe="post-training", max_error=0.0)
    with pytest.raises(RecipeError, match="at least one byte"):
        compress(network, recipe="post-training", max_bytes=0)
    with pytest.raises(RecipeError, match="minutes is 0"):
        compress(network, recipe="post-training", minutes=0)
