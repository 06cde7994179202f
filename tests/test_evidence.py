"""Calibration from few, constant or odd inputs: what it refuses, and what does not matter."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_post_training import answers, chosen_of, grouped_network, node

from reticule.codec import About, dumps
from reticule.forms import Dense, Form, Packed
from reticule.graph import Graph, Network
from reticule.methods.layerwise.evidence import Averages, Moments
from reticule.methods.layerwise.layer import Layer
from reticule.methods.layerwise.segments import Flow
from reticule.methods.layerwise.walk import walk
from reticule.methods.quantise.beside_plain import gains_over, matched, others_like
from reticule.methods.quantise.calibration import Seen
from reticule.methods.quantise.drafts import Drafts
from reticule.methods.quantise.walk import Settings, quantise_network
from reticule.progress import Silent
from reticule.tuning.evidence import believed, distinct, trust
from reticule.tuning.executor import execute
from reticule.tuning.moments import match_moments
from reticule.tuning.problem import constant_tensors

RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(24, 3, 10, 10)).cumsum(2).cumsum(3).astype("f4") / 5


def calibrated(network: Network, images: np.ndarray, lam: float = 1e-4) -> Packed:
    settings, chosen = Settings(lam), chosen_of(network)
    return quantise_network(Packed.of(network), chosen, (images,), settings, {}, Silent())


def test_images_count_once_whatever_their_number() -> None:
    one = IMAGES[:1]
    assert distinct((one,)) == 1 and distinct((one.repeat(7, 0),)) == 1
    noisy = one.repeat(7, 0) * (1 + 1e-7 * RNG.normal(size=(7, 3, 10, 10)))
    assert distinct((noisy.astype("f4"),)) == 1
    assert distinct((IMAGES,)) == len(IMAGES)
    assert distinct((np.zeros((3, 2)), IMAGES[:3])) == 3
    assert distinct((np.zeros((0, 2)),)) == 0


def test_a_shift_is_believed_as_far_as_images_agree() -> None:
    agreed = np.full((10, 1), 2.0)
    assert believed(agreed, 10) == pytest.approx(2.0)
    assert believed(agreed, 1) == 0 and believed(agreed[:1], 1) == 0
    split = np.array([[1.0], [-1.0]] * 5)
    assert believed(split, 10) == 0
    assert 0 < believed(agreed + 9 * split, 10)[0] < 2
    assert trust(0) == trust(1) == 0 < trust(2) < trust(1000) < 1


def averages_of(x: np.ndarray, centre: bool = True) -> Averages:
    moments = Moments(False)
    seen = Seen(torch.from_numpy(x.astype("f4"))[None])
    moments.add(seen, seen)
    return moments.result(centre)


@given(st.integers(2, 12), st.sampled_from([1, 2, 30, 1000]), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_what_never_varied_matters_as_others_do(columns: int, images: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(1, 1, (60, columns))
    x[:, 0] = 0.0
    seen = averages_of(x)
    found = seen.expected(images)
    others = float(seen.energy[0, 1:].mean())
    silent = float(found.square[0, 0, 0])
    assert 0 < silent <= 1.2 * others
    assert silent > (0.5 if images < 30 else 0.01) * others
    assert np.linalg.eigvalsh(found.square[0])[0] > 0
    many = seen.expected(10**9)
    assert np.allclose(many.square[0][1:, 1:], seen.square[0][1:, 1:], rtol=1e-3, atol=1e-5)


def test_one_dead_group_and_a_layer_that_sees_nothing_have_a_hessian() -> None:
    moments = Moments(False)
    rows = torch.randn(2, 40, 5)
    rows[1] = 0
    moments.add(Seen(rows), Seen(rows))
    found = moments.result(True).expected(20).square
    assert found[1].diagonal().min() > 0.1 * found[0].diagonal().mean()
    empty = Moments(False)
    empty.add(Seen(torch.zeros(1, 9, 4)), Seen(torch.zeros(1, 9, 4)))
    assert np.linalg.eigvalsh(empty.result(True).expected(3).square[0])[0] > 0


def test_one_image_moves_neither_targets_nor_biases() -> None:
    network = grouped_network()
    damaged = {n: t + RNG.normal(0, 0.05, t.shape).astype("f4") for n, t in network.tensors.items()}
    found = {}

    def treat(layer: Layer) -> dict[str, Form]:
        found[layer.name] = layer.statistics(layer.weights, bool(layer.bias), True)[1]
        return {layer.name: Dense(damaged[layer.name])}

    def exact(bias: np.ndarray) -> Form:
        return Dense(bias.astype("f4"))

    names = [name for _, name in network.graph.weights()]
    for images in (IMAGES[:1], IMAGES[:1].repeat(9, 0)):
        made = walk(
            Packed.of(network), names, (images,), treat, Silent(), title="", bias_form=exact
        )
        for name in names:
            assert np.allclose(found[name], network.tensors[name], atol=1e-12)
        for name in ("a.bias", "b.bias", "fc.bias"):
            assert np.array_equal(made.forms[name].dense(), network.tensors[name])
        matched_moments = match_moments(made, network, (images,))
        assert matched_moments is made


def test_moments_of_dead_channels_stay() -> None:
    network = grouped_network()
    tensors = {**network.tensors, "a.weight": network.tensors["a.weight"].copy()}
    tensors["a.weight"][:4] = 0
    dead = Network(network.graph, tensors)
    noisy = {
        "a.weight": Dense(tensors["a.weight"] + RNG.normal(0, 1e-6, (8, 3, 3, 3)).astype("f4"))
    }
    matched_moments = match_moments(Packed.of(dead).with_forms(noisy), dead, (IMAGES,))
    assert np.abs(matched_moments.forms["a.weight"].dense()[:4]).max() < 1e-5


def test_the_order_of_images_and_rounding_do_not_matter() -> None:
    network = grouped_network()
    noise = 1 + 1e-7 * RNG.normal(size=IMAGES.shape)
    variants = [IMAGES, IMAGES[::-1].copy(), (IMAGES * noise).astype("f4")]
    sizes, errors = [], []
    exact = answers(Packed.of(network), IMAGES)
    for images in variants:
        packed = calibrated(network, images)
        sizes.append(len(dumps(packed, About())))
        errors.append(float((answers(packed, IMAGES) - exact).square().mean()))
    assert max(sizes) <= 1.02 * min(sizes)
    assert max(errors) <= 1.5 * min(errors)


@pytest.mark.parametrize("kind", ["zero", "twins", "flat", "spread", "huge"])
def test_degenerate_layers_are_quantised_without_harm(kind: str) -> None:
    network = grouped_network()
    tensors = {name: t.copy() for name, t in network.tensors.items()}
    if kind == "zero":
        tensors["a.weight"][:] = 0
    elif kind == "twins":
        tensors["a.weight"][4:], tensors["a.bias"][4:] = tensors["a.weight"][:4], 0.1
    elif kind == "flat":
        tensors["a.weight"] *= 1e-7
    elif kind == "spread":
        tensors["a.weight"] *= np.geomspace(1e-4, 1e4, 8).reshape(-1, 1, 1, 1).astype("f4")
    else:
        tensors["a.bias"] += 1e4
    degenerate = Network(network.graph, tensors)
    for images in (IMAGES, IMAGES[:1], np.ones_like(IMAGES)):
        packed = calibrated(degenerate, images, 1e-6)
        assert torch.isfinite(answers(packed, IMAGES)).all()


def two_inputs() -> Network:
    """Inputs of different ranks, a linear layer over a sequence, a shared weight, a constant."""
    shapes = {"a.weight": (6, 5), "a.bias": (6,), "b.weight": (4, 3, 1, 3), "k": (1, 5)}
    nodes = (
        node("Gemm", "a", ("x", "a.weight", "a.bias"), "a"),
        node("ReduceMean", "m", ("a",), "m", axes=(1,), keepdims=0),
        node("Conv", "b", ("z", "b.weight"), "b", pads=(0, 1, 0, 1)),
        node("Relu", "r", ("b",), "r"),
        node("Gemm", "c", ("k", "a.weight"), "c"),
        node("Add", "s", ("m", "c"), "y"),
    )
    tensors = {name: RNG.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    return Network(Graph({"x": (7, 5), "z": (3, 1, 12)}, ("y", "r"), nodes, shapes), tensors)


def test_inputs_of_any_number_and_rank() -> None:
    network = two_inputs()
    inputs = RNG.normal(size=(20, 7, 5)).astype("f4"), RNG.normal(size=(20, 3, 1, 12)).astype("f4")
    chosen = {"a.weight": np.ones(6), "b.weight": np.ones(4)}
    packed = quantise_network(Packed.of(network), chosen, inputs, Settings(1e-4), {}, Silent())
    outputs = [
        execute(p.graph, constant_tensors(p.network()), *map(torch.from_numpy, inputs))
        for p in (Packed.of(network), packed)
    ]
    for exact, made in zip(*outputs, strict=True):
        assert float((exact - made).square().mean()) < 0.05 * float(exact.square().mean())
    kinds = others_like(inputs, np.random.default_rng(0))
    assert all(k[0].shape == (20, 7, 5) and k[1].shape == (20, 3, 1, 12) for k in kinds)


def test_both_networks_run_as_they_would_alone_and_hold_only_what_lives() -> None:
    network = grouped_network()
    tensors = constant_tensors(network)
    flow = Flow(network.graph, tensors, (IMAGES,))
    flow.advance(2)
    assert flow.alive == {"r"} and flow.now is flow.then
    flow.change("b.weight", tensors["b.weight"] * 0)
    flow.advance(len(network.graph.nodes) - 1)
    assert flow.alive == {"f"}
    changed = {**tensors, "b.weight": tensors["b.weight"] * 0}
    for side, own in ((flow.then, tensors), (flow.now, changed)):
        exact = execute(network.graph, own, torch.from_numpy(IMAGES), watch=frozenset("f"))[1]
        assert torch.allclose(torch.cat([v["f"] for v in side]), exact, atol=1e-5)


def test_drafts_are_near_what_a_pass_makes() -> None:
    network = grouped_network()
    packed, chosen, choices = Packed.of(network), chosen_of(network), {}
    with Silent().bar("", 1) as bar:
        drafts = Drafts.of(
            packed, chosen, (IMAGES,), Settings(1e-3), choices, len(IMAGES), Silent(), bar
        )
        made = [drafts.at(Settings(lam), bar) for lam in (1e-2, 1e-4)]
    exact = answers(packed, IMAGES)
    errors = [float((answers(p, IMAGES) - exact).square().mean()) for p in made]
    assert errors[1] < errors[0]
    walked = quantise_network(packed, chosen, (IMAGES,), Settings(1e-4), choices, Silent())
    sizes = [len(dumps(p, About())) for p in (made[1], walked)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.1


def test_a_rival_has_the_bytes_that_are_asked_for_and_gains_are_told() -> None:
    rival = matched(lambda q: q, lambda q: round(100 * 2 ** (q / 10)), 800, 1000)  # type: ignore[arg-type,return-value]
    assert abs(rival.size - 800) <= 8 + 8
    network = grouped_network()
    exact = Packed.of(network)
    coarse, fine = (calibrated(network, IMAGES, lam) for lam in (1e-2, 1e-5))
    (gains,) = gains_over(exact, fine, [coarse], [(IMAGES,), *others_like((IMAGES,), RNG)])
    assert len(gains) == 5 and min(gains) > 3
