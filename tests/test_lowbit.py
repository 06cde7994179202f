"""Binary, ternary and power-of-two weights: best thresholds, gradients, what training keeps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

torch = pytest.importorskip("torch")

from codec_samples import packed_of, same_form, scaled_forms  # noqa: E402
from test_codec_reference import check  # noqa: E402
from test_tuning import small_problem as new_problem  # noqa: E402

from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.codec.bits import ByteReader, ByteWriter  # noqa: E402
from reticule.codec.chunks import PRESETS  # noqa: E402
from reticule.codec.forms import read_form  # noqa: E402
from reticule.codec.limits import Budget, Limits  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.engine.operands import operand_of  # noqa: E402
from reticule.errors import Fault, FormatError, ModelError, ReticuleError  # noqa: E402
from reticule.forms import Codebook, Dense, Form, Packed, Quantised, Scaled, Sparse  # noqa: E402
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.methods import (  # noqa: E402
    Binary,
    Context,
    PowersOfTwo,
    Retrain,
    Ternary,
    TrainedTernary,
    XnorWeights,
)
from reticule.methods.lowbit.binary import REACH, BinaryTwin, XnorTwin  # noqa: E402
from reticule.methods.lowbit.inq import PowersTwin, powers_for, rounded  # noqa: E402
from reticule.methods.lowbit.stage import ends_of, fewest  # noqa: E402
from reticule.methods.lowbit.ternary import TernaryTwin, best_ternary  # noqa: E402
from reticule.methods.lowbit.ttq import TrainedTernaryTwin  # noqa: E402
from reticule.methods.lowbit.twins import mean_size  # noqa: E402
from reticule.progress import Silent  # noqa: E402
from reticule.recipes import load_recipe  # noqa: E402
from reticule.tuning.executor import execute  # noqa: E402
from reticule.tuning.moments import match_moments  # noqa: E402
from reticule.tuning.problem import Problem  # noqa: E402
from reticule.tuning.train import Training, train  # noqa: E402
from reticule.tuning.twins import twin_of, twins_of  # noqa: E402

BRIEF = Training(epochs=2, learning_rate=0.01, batch=16, distil=0.0)
LONGER = replace(BRIEF, epochs=20)
STAGES = {
    "binary": Binary(ends="same", training=BRIEF),
    "stochastic": Binary(ends="same", rounding="stochastic", training=BRIEF),
    "binary by layer": Binary(ends="same", scales="layer", training=BRIEF),
    "xnor-weights": XnorWeights(ends="same", training=BRIEF),
    "ternary": Ternary(ends="same", training=BRIEF),
    "ternary by layer": Ternary(ends="same", scales="layer", training=BRIEF),
    "ttq": TrainedTernary(ends="same", training=BRIEF),
    "ttq by layer": TrainedTernary(ends="same", scales="layer", threshold=0.1, training=BRIEF),
    "inq": PowersOfTwo(ends="same", bits=4, training=BRIEF),
}


@cache
def small_problem(images: int = 60) -> Problem:
    """Two classes told apart by brightness, and a network that was trained to."""
    problem = new_problem(images)
    twins = twins_of(Packed.of(problem.original).forms)
    train(problem, problem.original.graph, twins, LONGER, seed=0, progress=Silent())
    tensors = {name: twin.form().dense() for name, twin in twins.items()}
    return replace(problem, original=problem.original.with_tensors(tensors))


def weights_like(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Channels of different spread, one of them all zero where there are several."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=shape) * np.exp(rng.normal(size=(shape[0], *[1] * (len(shape) - 1))))
    if shape[0] > 1:
        weights[1] = 0
    return weights.astype(np.float32)


def network_of(*shapes: tuple[int, ...]) -> Network:
    """A chain of linear layers, or one convolution for each shape of four axes (grouped)."""
    nodes, tensors, value = [], {}, "x"
    for number, shape in enumerate(shapes):
        tensors[f"w{number}"] = weights_like(shape, number)
        op = "Conv" if len(shape) == 4 else "Gemm"
        more = {"group": 2, "pads": (1, 1, 1, 1)} if op == "Conv" else {}
        nodes.append(Node(op, f"n{number}", (value, f"w{number}"), (f"y{number}",), more))
        value = f"y{number}"
    first = shapes[0]
    shape = (2 * first[1], 5, 5) if len(first) == 4 else (first[1],)
    graph = Graph({"x": shape}, (value,), tuple(nodes), {n: t.shape for n, t in tensors.items()})
    return Network(graph, tensors).check()


# Thresholds and scales ------------------------------------------------------------------------

ROWS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
    elements=st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.0]), st.floats(-9, 9, width=32)),
)


def ternary_error(row: np.ndarray, kept: np.ndarray) -> float:
    sizes = np.abs(row.astype(np.float64))
    scale = sizes[kept].mean() if kept.any() else 0.0
    return float(((sizes - scale * kept) ** 2).sum())


@given(ROWS)
def test_the_threshold_is_the_best_of_all_subsets(matrix: np.ndarray) -> None:
    thresholds, scales = best_ternary(matrix)
    for row, threshold, scale in zip(matrix, thresholds, scales, strict=True):
        sizes = np.abs(row)
        kept = sizes > threshold
        found = ternary_error(row, kept)
        subsets = ((np.arange(1 << len(row))[:, None] >> np.arange(len(row))) & 1).astype(bool)
        best = min(ternary_error(row, subset) for subset in subsets)
        assert found <= best + 1e-9 * (1 + best)
        expected = sizes[kept].astype(np.float64).mean() if kept.any() else 0.0
        assert scale == pytest.approx(expected, rel=1e-6, abs=1e-40)


def test_at_the_best_threshold_it_is_half_the_scale() -> None:
    """What makes alternating between the two a solver, too; 0.7 of the mean size is near."""
    row = np.random.default_rng(0).normal(size=(1, 200_000))
    threshold, scale = (float(part[0]) for part in best_ternary(row))
    assert threshold == pytest.approx(scale / 2, rel=1e-3)
    assert 0.75 < threshold / np.abs(row).mean() < 0.79
    flat = np.random.default_rng(0).uniform(-1, 1, (1, 200_000))
    assert best_ternary(flat)[0][0] / np.abs(flat).mean() == pytest.approx(2 / 3, rel=0.01)


def test_the_mean_size_is_the_best_scale_of_signs() -> None:
    weights = weights_like((5, 7))
    kept = np.random.default_rng(1).random((5, 7)) < 0.6
    for mask, by_channel in ((None, True), (kept, True), (None, False), (kept, False)):
        values = weights if mask is None else weights * mask
        signs = np.sign(values)
        scales = mean_size(values, mask, by_channel)

        def error(factor: float, signs=signs, values=values, scales=scales) -> float:
            return float(((values - factor * scales[:, None] * signs) ** 2).sum())

        counted = (values != 0).sum() == (values.size if mask is None else mask.sum())
        assert counted or values[1].max() == 0
        if not by_channel and not counted:
            continue  # zeros have no sign, but count
        assert error(1.0) <= min(error(0.99), error(1.01))


def test_powers_of_two_are_the_sources() -> None:
    for bits in range(2, 7):
        powers = powers_for(0.9, bits)
        assert len(powers) == 2 ** (bits - 2)
        assert (np.log2(powers) == np.round(np.log2(powers))).all()
        assert powers[-1] == 2.0 ** np.floor(np.log2(4 * 0.9 / 3))
    powers = powers_for(0.9, 4)
    weights = np.linspace(-0.9, 0.9, 1001).astype("f4")
    found = rounded(weights, powers)
    assert np.array_equal(found, -rounded(-weights, powers))
    table = np.concatenate([-powers[::-1], [0], powers])
    for weight, value in zip(weights, found, strict=True):
        size = abs(weight)
        at = np.flatnonzero((0.75 * powers <= size) & (size < 1.5 * powers))
        expected = powers[at[0]] if at.size else (powers[0] if size >= powers[0] / 2 else 0)
        assert abs(value) == expected and value in table


# Gradients ------------------------------------------------------------------------------------


def gradients(twin, upstream: np.ndarray) -> list[np.ndarray]:
    (twin.tensor() * torch.from_numpy(upstream)).sum().backward()
    return [parameter.grad.numpy() for parameter in twin.parameters()]


@pytest.mark.parametrize("by_channel", [True, False])
def test_binaryconnects_gradient_is_that_of_the_signs(by_channel: bool) -> None:
    weights = weights_like((4, 6))
    twin = BinaryTwin(weights, None, by_channel)
    scales = mean_size(weights, None, by_channel)[:, None]
    start = np.clip(weights / (REACH * np.where(scales > 0, scales, 1)), -1, 1)
    np.testing.assert_allclose(twin.latent.detach(), start, rtol=1e-6)
    signs = np.where(weights >= 0, 1, -1)
    np.testing.assert_allclose(twin.tensor().detach(), signs * scales, rtol=1e-6)
    upstream = np.random.default_rng(0).normal(size=(4, 6)).astype("f4")
    latent, scale = gradients(twin, upstream)
    np.testing.assert_allclose(latent, upstream * scales, rtol=1e-6)
    sums = (upstream * signs).sum(1, keepdims=True)
    np.testing.assert_allclose(scale, sums if by_channel else [[sums.sum()]], rtol=1e-4)
    with torch.no_grad():
        twin.latent += 5
    twin.clip()
    assert twin.latent.detach().max() == 1


def test_stochastic_signs_are_right_on_average() -> None:
    weights = np.random.default_rng(0).uniform(-1, 1, (3, 50)).astype("f4")
    twin = BinaryTwin(weights, None, False, torch.Generator().manual_seed(0))
    scale = float(np.abs(weights).mean())
    draws = torch.stack([twin.tensor().detach() for _ in range(4000)])
    assert set(np.unique(np.abs(draws.numpy()))) == {np.float32(scale)}
    expected = np.clip(weights, -scale, scale)
    assert np.abs(draws.mean(0).numpy() - expected).max() < 0.05
    # The form does not depend on chance.
    assert np.array_equal(twin.form().dense() > 0, weights >= 0)


def test_xnors_gradient_follows_scale_and_signs() -> None:
    weights = (3 * np.random.default_rng(0).normal(size=(4, 5))).astype("f4")
    upstream = np.random.default_rng(1).normal(size=(4, 5)).astype("f4")
    alpha = np.abs(weights).mean(1, keepdims=True)
    signs = np.sign(weights)
    assert (np.abs(weights) > 1).any() and (np.abs(weights) < 1).any()
    (found,) = gradients(XnorTwin(weights, None), upstream)
    through = upstream * alpha * (np.abs(weights) <= 1)
    shared = signs / 5 * (upstream * signs).sum(1, keepdims=True)
    np.testing.assert_allclose(found, through + shared, rtol=1e-4, atol=1e-5)


def test_xnors_scale_is_differentiable_in_the_usual_sense() -> None:
    """Outside of the window nothing passes the signs: finite differences see alpha alone."""
    weights = (2 + np.abs(weights_like((3, 4)))).astype("f8") * [1, -1, 1, -1]
    upstream = np.random.default_rng(1).normal(size=(3, 4)).astype("f4")

    def value(changed: np.ndarray) -> float:
        alpha = np.abs(changed).mean(1, keepdims=True)
        return float((upstream * alpha * np.sign(changed)).sum())

    (found,) = gradients(XnorTwin(weights.astype("f4"), None), upstream)
    for place in np.ndindex(3, 4):
        nudge = np.zeros((3, 4))
        nudge[place] = 1e-4
        slope = (value(weights + nudge) - value(weights - nudge)) / 2e-4
        assert found[place] == pytest.approx(slope, abs=1e-4)


def test_ternary_gradients_go_straight_through() -> None:
    weights = weights_like((4, 2, 3, 3))
    twin = TernaryTwin(weights, None, True)
    upstream = np.random.default_rng(0).normal(size=weights.shape).astype("f4")
    np.testing.assert_array_equal(gradients(twin, upstream)[0], upstream)
    np.testing.assert_allclose(twin.tensor().detach(), twin.form().dense(), rtol=2e-3)


@pytest.mark.parametrize("by_channel", [True, False])
def test_ttqs_gradients_are_the_sources(by_channel: bool) -> None:
    weights = weights_like((4, 9))
    twin = TrainedTernaryTwin(weights, None, by_channel, 0.1)
    latent = twin.latent.detach().numpy()
    assert np.abs(latent).max() == pytest.approx(1)
    up, down = latent > 0.1, latent < -0.1
    with torch.no_grad():
        twin.values.copy_(torch.tensor([0.4, 0.7]))
    scales = np.abs(weights).max() * np.ones((4, 1))
    if by_channel:
        means = np.abs(weights).mean(1, keepdims=True)
        means[1] = 1
        scales = means * np.abs(weights / means).max()
    expected = scales * (0.4 * up - 0.7 * down)
    np.testing.assert_allclose(twin.tensor().detach(), expected, rtol=1e-5)
    upstream = np.random.default_rng(0).normal(size=(4, 9)).astype("f4")
    found = gradients(twin, upstream)
    scaled = upstream * scales
    slopes = np.where(up, 0.4, np.where(down, 0.7, 1.0))
    np.testing.assert_allclose(found[0], scaled * slopes, rtol=1e-5)
    np.testing.assert_allclose(
        found[1], [(scaled * up).sum(), -(scaled * down).sum()], rtol=1e-3, atol=1e-4
    )
    if by_channel:
        sums = (upstream * (0.4 * up - 0.7 * down)).sum(1, keepdims=True)
        np.testing.assert_allclose(found[2], sums, rtol=1e-4, atol=1e-5)


def test_fixed_powers_stay_and_the_largest_are_fixed_first() -> None:
    weights = weights_like((6, 10))
    twin = PowersTwin(weights, None, 5)
    twin.fix(0.5)
    tensor = twin.tensor().detach().numpy()
    final = rounded(weights, twin.powers)
    order = np.argsort(-np.abs(weights).ravel())
    assert np.array_equal(tensor.ravel()[order[:30]], final.ravel()[order[:30]])
    assert np.array_equal(tensor.ravel()[order[30:]], weights.ravel()[order[30:]])
    (found,) = gradients(twin, np.ones((6, 10), "f4"))
    assert not found.ravel()[order[:30]].any() and found.ravel()[order[30:]].all()
    with torch.no_grad():
        twin.latent += 0.25
    twin.fix(0.75)
    after = twin.tensor().detach().numpy()
    assert np.array_equal(after.ravel()[order[:30]], final.ravel()[order[:30]])
    form = twin.form()
    assert set(np.abs(form.dense()).ravel()) <= {0.0, *twin.powers}


def test_the_sign_passes_gradients_within_its_window() -> None:
    x = torch.tensor([[-2.0, -1.0, -0.3, 0.0, 0.4, 1.5]], requires_grad=True)
    graph = Graph({"x": (6,)}, ("y",), (Node("Sign", "sign", ("x",), ("y",)),), {})
    (y,) = execute(graph, {}, x)
    assert y.tolist() == [[-1, -1, -1, 0, 1, 1]]
    (y * torch.arange(1.0, 7)).sum().backward()
    assert x.grad.tolist() == [[0, 2, 3, 4, 5, 0]]


# Stages ---------------------------------------------------------------------------------------


def levels_of(form: Form) -> np.ndarray:
    """The weights over their channel's scale, or as they are."""
    if isinstance(form, Scaled):
        return form.values.dense()
    return form.dense()


def distinct(stage: str, form: Form) -> int:
    return len(np.unique(levels_of(form)))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_and_gives_the_form(name: str) -> None:
    problem = small_problem()
    context = Context(problem.original, problem=problem, seed=3)
    packed = Packed.of(problem.original)
    stage = replace(STAGES[name], training=LONGER)
    outcome = stage.apply(packed, context)
    again = stage.apply(packed, context)
    weights = [weight for _, weight in packed.graph.weights()]
    converted = [w for w in weights if w not in outcome.skipped]
    assert converted == ["3.weight"]  # the convolution has only 36 weights
    assert "36 weights" in outcome.skipped["0.weight"]
    for weight in converted:
        form = outcome.packed.forms[weight]
        assert same_form(form, again.packed.forms[weight])
        most = {"inq": 9, "ternary": 3, "ttq": 3}.get(name.partition(" ")[0], 2)
        assert distinct(name, form) <= most
        assert isinstance(form, Codebook if "layer" in name or name == "inq" else Scaled)
    assert problem.accuracy(outcome.packed) == 100.0
    decoded = loads(dumps(outcome.packed, About())).packed
    assert all(same_form(f, decoded.forms[n]) for n, f in outcome.packed.forms.items())


@pytest.mark.parametrize("name", STAGES)
def test_pruned_weights_stay_zero(name: str) -> None:
    problem = small_problem()
    packed = Packed.of(problem.original)
    weights = packed.forms["3.weight"].dense()
    mask = np.random.default_rng(0).random(weights.shape) < 0.5
    mask[0] = False
    packed = packed.with_forms({"3.weight": Sparse.keep(weights, mask)})
    outcome = STAGES[name].apply(packed, Context(problem.original, problem=problem))
    form = outcome.packed.forms["3.weight"]
    assert not form.dense()[~mask].any()
    assert form.dense()[mask].any()
    loads(dumps(outcome.packed, About()))


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    "shape", [(6, 2, 3, 3), (8, 1, 5, 1), (1, 70), (70, 1), (1, 1), (3, 0), (0, 4)]
)
@pytest.mark.parametrize("zero", [False, True])
def test_odd_shapes_and_zeros(name: str, shape: tuple[int, ...], zero: bool) -> None:
    """Without a step of training: a form for every tensor, finite, all zero where it was."""
    network = network_of(shape)
    if zero:
        network = network.with_tensors({"w0": np.zeros(shape, "f4")})
    problem = replace(small_problem(), original=network)
    stage = replace(STAGES[name], smallest=0, training=replace(BRIEF, epochs=0))
    outcome = stage.apply(Packed.of(network), Context(network, problem=problem))
    form = outcome.packed.forms["w0"]
    assert form.shape == shape and np.isfinite(form.dense()).all()
    assert not zero or not form.dense().any()
    if not zero and form.size:
        signs = np.sign(form.dense()) * np.sign(network.tensors["w0"])
        assert signs.min() >= 0  # no weight changes its sign
    decoded = loads(dumps(outcome.packed, About())).packed
    assert same_form(decoded.forms["w0"], form)


def test_the_ends_are_the_first_convolution_and_the_last_linear_layer() -> None:
    assert ends_of(Packed.of(network_of((9, 4), (5, 9), (3, 5)))) == ["w2"]
    assert ends_of(Packed.of(network_of((4, 2, 3, 3), (6, 2, 3, 3)))) == ["w0"]
    assert ends_of(Packed.of(network_of((9, 4)))) == []


@pytest.mark.parametrize("ends", ["full", "8bit", "same"])
def test_ends_are_kept_as_asked(ends: str) -> None:
    problem = small_problem()
    stage = Ternary(ends=ends, smallest=0, training=BRIEF)
    outcome = stage.apply(Packed.of(problem.original), Context(problem.original, problem=problem))
    expected = {"full": Dense, "8bit": Quantised, "same": Scaled}[ends]
    for name in ("0.weight", "3.weight"):
        assert isinstance(outcome.packed.forms[name], expected)
        assert (name in outcome.skipped) == (ends != "same")


def test_the_smallest_layers_can_be_spared() -> None:
    network = network_of((10, 10), (5, 10), (20, 5), (30, 20), (3, 30))
    packed = Packed.of(network)  # 100, 50, 100, 600 and 90 weights
    names = [f"w{number}" for number in range(5)]
    assert fewest(packed, names, 0.05) == []
    assert fewest(packed, names, 0.3) == ["w1", "w4", "w0"]
    assert fewest(packed, names, 1.0) == ["w1", "w4", "w0", "w2", "w3"]
    problem = replace(small_problem(), original=network)
    stage = TrainedTernary(spare=0.2, smallest=0, training=replace(BRIEF, epochs=0))
    outcome = stage.apply(packed, Context(network, problem=problem))
    kinds = [type(outcome.packed.forms[name]) for name in names]
    assert kinds == [Scaled, Quantised, Scaled, Scaled, Quantised]
    assert "fewest" in outcome.skipped["w1"] and "last linear" in outcome.skipped["w4"]


def test_signs_take_the_place_of_relus() -> None:
    problem = small_problem()
    stage = Binary(activations="sign", ends="same", smallest=0, training=LONGER)
    outcome = stage.apply(Packed.of(problem.original), Context(problem.original, problem=problem))
    graph = outcome.packed.graph
    assert [n.op for n in graph.nodes].count("Sign") == outcome.notes["signs"] == 1
    assert not any(node.op == "Relu" for node in graph.nodes)
    assert problem.accuracy(outcome.packed) == 100.0
    decoded = loads(dumps(outcome.packed, About())).packed
    images = problem.held_out.batch(np.arange(8))
    assert np.array_equal(Model(decoded)(images), Model(outcome.packed)(images))


def test_scales_and_biases_are_trained_on() -> None:
    problem = small_problem()
    context = Context(problem.original, problem=problem)
    outcome = Ternary(ends="same", smallest=0, training=BRIEF).apply(
        Packed.of(problem.original), context
    )
    before = outcome.packed.forms["3.weight"]
    strong = replace(BRIEF, epochs=20, learning_rate=0.1)
    after = Retrain(training=strong).apply(outcome.packed, context).packed.forms["3.weight"]
    assert np.array_equal(before.values.levels, after.values.levels)
    assert (before.scales.dense() != after.scales.dense()).any()


def test_zero_stays_zero_when_trained_values_are_trained_on() -> None:
    problem = small_problem()
    context = Context(problem.original, problem=problem)
    stage = TrainedTernary(ends="same", smallest=0, training=BRIEF)
    before = stage.apply(Packed.of(problem.original), context).packed
    after = Retrain(training=BRIEF).apply(before, context).packed
    for name in ("0.weight", "3.weight"):
        one, other = before.forms[name], after.forms[name]
        assert np.array_equal(one.dense() == 0, other.dense() == 0)
        assert (one.values.centroids.dense() != other.values.centroids.dense()).any()


def test_moment_matching_scales_the_scales() -> None:
    problem = small_problem()
    stage = Ternary(ends="same", smallest=0, training=replace(BRIEF, epochs=0))
    outcome = stage.apply(Packed.of(problem.original), Context(problem.original, problem=problem))
    images = problem.train.batch(np.arange(len(problem.train)))
    matched = match_moments(outcome.packed, problem.original, (images,))

    def spread(network: Packed) -> np.ndarray:
        graph = replace(network.graph, outputs=(network.graph.nodes[0].outputs[0],))
        return Model(replace(network, graph=graph))(images).std((0, 2, 3))

    goal = spread(Packed.of(problem.original))
    np.testing.assert_allclose(spread(matched), goal, rtol=0.05)  # so many images are not all
    assert np.abs(spread(outcome.packed) - goal).max() > 0.05 * goal.max()


@pytest.mark.parametrize("parts", [(), (0.5,), (0.5, 0.5, 1.0), (0.9, 0.5, 1.0)])
def test_parts_must_rise_to_one(parts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rise to 1"):
        PowersOfTwo(parts=parts)


@pytest.mark.parametrize("name", ["binary", "binarized", "xnor-weights", "ternary", "ttq", "inq"])
def test_recipes_run(name: str) -> None:
    problem = replace(small_problem(200), minutes=0.003)
    packed = Packed.of(problem.original)
    context = Context(problem.original, problem=problem)
    for stage in load_recipe(name).stages:
        outcome = stage.method.apply(packed, context)
        packed = outcome.packed
    again = loads(dumps(packed, About())).packed
    assert all(same_form(form, again.forms[name]) for name, form in packed.forms.items())
    assert isinstance(packed.forms["3.weight"], Quantised)  # the last layer


# The form -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_files_hold_scaled_forms(preset: str) -> None:
    packed = scaled_forms()
    data = dumps(packed, About(), preset)
    decoded = loads(data).packed
    assert all(same_form(form, decoded.forms[name]) for name, form in packed.forms.items())
    check(data, packed.forms)


def test_ternary_levels_take_about_their_entropy() -> None:
    levels = np.random.default_rng(0).choice([-1, 0, 1], (200, 500), p=[0.25, 0.5, 0.25])
    form = Scaled(Quantised(levels, 1.0), Dense(np.ones(200, "f2")))
    size = len(dumps(packed_of({"w": form}), About()))
    assert 1.5 * levels.size / 8 < size < 1.53 * levels.size / 8 + 500


def test_twins_of_scaled_forms_restore_them() -> None:
    for name, form in scaled_forms().forms.items():
        if isinstance(form, Scaled):
            twin = twin_of(form)
            assert np.array_equal(twin.tensor().detach().numpy(), form.dense()), name
            assert same_form(twin.form(), form)


def test_operands_multiply_levels_as_they_are() -> None:
    rng = np.random.default_rng(0)
    form = Scaled(
        Quantised(rng.integers(-1, 2, (40, 30)), 1.0), Dense(rng.normal(size=40).astype("f2"))
    )
    operand = operand_of(form)
    assert operand.nbytes == 40 * 30 + 2 * 40
    assert operand.dense().tobytes() == form.dense().tobytes()
    assert operand.matrix(3, 9).tobytes() == form.dense()[3:9].tobytes()


@pytest.mark.parametrize(
    ("values", "scales"),
    [
        (Dense(np.ones((3, 2), "f4")), Dense(np.ones(2, "f4"))),
        (Dense(np.ones((3, 2), "f4")), Dense(np.ones((3, 1), "f4"))),
        (Dense(np.ones((), "f4")), Dense(np.ones((), "f4"))),
        (Dense(np.full((1, 1), 1e30, "f4")), Dense(np.full(1, -1e10, "f4"))),
    ],
)
def test_scales_that_do_not_fit_are_refused(values: Form, scales: Form) -> None:
    with pytest.raises(ValueError, match="scales"):
        Scaled(values, scales)


def read(structure: bytes) -> None:
    read_form(ByteReader(structure, "w"), Budget(100, Limits())).build()


def structure(*fields: int) -> bytes:
    out = ByteWriter()
    for field in fields:
        out.varint(field)
    return out.bytes()


@pytest.mark.parametrize(
    "fields",
    [
        (0 + 16 * 6, 0, 0),  # a tensor without rows
        (2 + 16 * 3, 3, 2, 6, 0, 0),  # under a mask
    ],
)
def test_misplaced_scales_in_a_file_are_faults(fields: tuple[int, ...]) -> None:
    with pytest.raises(FormatError) as raised:
        read(structure(*fields))
    assert raised.value.fault is Fault.UNKNOWN_FORM


def test_products_that_overflow_are_a_fault(monkeypatch) -> None:
    monkeypatch.setattr("reticule.forms.scaled._LARGEST", np.inf)
    form = Scaled(Dense(np.full((1, 1), 1e30, "f4")), Dense(np.full(1, -1e10, "f4")))
    data = dumps(packed_of({"w": form}), About())
    monkeypatch.undo()
    with pytest.raises(FormatError) as raised:
        loads(data)
    assert raised.value.fault is Fault.BAD_VALUE


def test_scales_under_a_mask_cannot_be_stored() -> None:
    inner = Scaled(Dense(np.ones(2, "f4")), Dense(np.ones(2, "f4")))
    form = Sparse.at(np.array([[True, False], [False, True]]), inner)
    with pytest.raises(ModelError, match="no rows to scale"):
        dumps(packed_of({"w": form}), About())
    assert issubclass(ModelError, ReticuleError)
