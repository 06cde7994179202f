"""Channels that belong together: a network without some of them computes what the mask computes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gallery import GALLERY  # noqa: E402

import reticule  # noqa: E402
from reticule.codec import About, dumps, loads  # noqa: E402
from reticule.engine import Model  # noqa: E402
from reticule.errors import MissingExtra  # noqa: E402
from reticule.forms import (  # noqa: E402
    Codebook,
    Common,
    Dense,
    Factored,
    Form,
    Hashed,
    Packed,
    Quantised,
    Scaled,
    Sparse,
    Spectral,
    channels_of,
    rigid,
    taken,
)
from reticule.graph import Graph, Network, Node  # noqa: E402
from reticule.graph.channels import Channels, Surgery, reordered, trace, without  # noqa: E402
from reticule.methods import Context, OrderUnits, RemoveDeadUnits  # noqa: E402
from reticule.methods.structure.candidates import candidates  # noqa: E402
from reticule.science.optional import need  # noqa: E402
from reticule.tuning.executor import execute  # noqa: E402

SEEDS = range(5)


def outputs(network: Network, example: torch.Tensor) -> list[np.ndarray]:
    """What a network makes of the example; both inputs of a network get it."""
    tensors = {name: torch.from_numpy(t.copy()) for name, t in network.tensors.items()}
    with torch.no_grad():
        return [
            out.numpy()
            for out in execute(network.graph, tensors, *[example] * len(network.graph.inputs))
        ]


def operate(network: Network, surgery: Surgery) -> Network:
    return Network(surgery.graph, surgery.applied(network.tensors)).check()


def masked(network: Network, channels: Channels, surgery: Surgery) -> Network:
    """The network in full size, where nothing reads the units that the surgery removes."""
    left = np.zeros(channels.count, bool)
    for key, index in surgery.kept.items():
        left[channels.tensors[key][index]] = True
    tensors = {name: t.copy() for name, t in network.tensors.items()}
    for name, axis in channels.readers:
        np.moveaxis(tensors[name], axis, 0)[~left[channels.tensors[name, axis]]] = 0
    return Network(network.graph, tensors)


def close(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    scale = max(1.0, *(float(np.abs(values).max()) for values in one))
    return all(np.allclose(a, b, atol=1e-5 * scale) for a, b in zip(one, other, strict=True))


def removable(channels: Channels) -> np.ndarray:
    members = np.concatenate(list(channels.groups.values()))
    return np.array([unit for unit in members.tolist() if unit not in channels.fixed], np.int64)


@pytest.mark.parametrize("name", GALLERY)
def test_a_smaller_network_computes_what_the_masked_one_does(name: str) -> None:
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    channels = trace(network.graph)
    free = removable(channels)
    for seed in SEEDS if free.size else ():
        rng = np.random.default_rng(seed)
        units = rng.permutation(free)[: rng.integers(1, free.size + 1)]
        surgery = without(channels, units, multiple=int(rng.integers(1, 4)))
        small = operate(network, surgery)
        large = masked(network, channels, surgery)
        assert close(outputs(large, example), outputs(small, example)), (name, seed)


@pytest.mark.parametrize("name", GALLERY)
def test_units_in_another_order_change_no_answer(name: str) -> None:
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    channels = trace(network.graph)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        surgery = reordered(channels, [rng.permutation(units) for units in channels.classes])
        again = operate(network, surgery)
        assert close(outputs(network, example), outputs(again, example)), (name, seed)


@pytest.mark.parametrize(
    ("name", "removed", "everything"),
    [("resnext", 8, 0.4), ("mobilenet_v3", 8, 0.5), ("densenet", 8, 0.3), ("inception", 8, 0.3)],
)
def test_most_weights_can_go(name: str, removed: int, everything: float) -> None:
    """Nothing is fixed for want of a rule."""
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    channels = trace(network.graph)
    small = operate(network, without(channels, removable(channels)))
    assert small.parameters < everything * network.parameters
    assert all("input" in why or "output" in why for why in channels.fixed.values())


def conv_chain() -> Network:
    nodes = (
        Node("Conv", "a", ("x", "wa", "ba"), ("h",)),
        Node("Relu", "r", ("h",), ("g",)),
        Node("Conv", "b", ("g", "wb"), ("y",)),
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(size=shape).astype("f4")
        for name, shape in {"wa": (6, 2, 3, 3), "ba": (6,), "wb": (4, 6, 3, 3)}.items()
    }
    graph = Graph({"x": (2, 8, 8)}, ("y",), nodes, {n: t.shape for n, t in tensors.items()})
    return Network(graph, tensors).check()


def test_what_is_left_is_rounded_to_a_multiple_and_never_nothing() -> None:
    channels = trace(conv_chain().graph)
    units = channels.groups["a"]
    for count, multiple, left in ((1, 1, 5), (1, 4, 6), (3, 4, 4), (6, 1, 1), (6, 4, 4), (5, 8, 6)):
        surgery = without(channels, units[:count], multiple)
        assert surgery.graph.tensors["wa"][0] == left, (count, multiple)
    first_come = without(channels, units[[5, 0, 1]], 4)
    assert first_come.kept["wa", 0].tolist() == [1, 2, 3, 4]


def test_fixed_units_are_refused_with_the_reason() -> None:
    channels = trace(conv_chain().graph)
    with pytest.raises(ValueError, match="an output of the network"):
        without(channels, channels.groups["b"][:1])
    with pytest.raises(ValueError, match="an input of the network"):
        reordered(channels, [channels.groups["x"][::-1]])
    with pytest.raises(ValueError, match="twice"):
        reordered(channels, [channels.groups["a"][[0, 0, 1]]])


def test_an_order_that_cannot_be_kept_is_refused() -> None:
    """Two halves of a padded shortcut are joined to one convolution each."""
    module, example = GALLERY["resnet_option_a"]()
    channels = trace(reticule.from_torch(module, example).graph)
    mixed = np.concatenate(channels.classes[:2])
    with pytest.raises(ValueError, match="cannot be kept"):
        for seed in range(10):
            reordered(channels, [np.random.default_rng(seed).permutation(mixed)])


# Forms ----------------------------------------------------------------------------------------


def some_forms() -> Mapping[str, Form]:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(5, 4, 3, 3)).astype("f4")
    mask = rng.random(weights.shape) < 0.4
    levels = rng.integers(-4, 5, weights.shape)
    table = Dense(np.sort(rng.normal(size=7)).astype("f2"))
    codes = rng.integers(0, 7, int(mask.sum()))
    scales = Dense(rng.normal(size=5).astype("f4"))
    return {
        "dense": Dense(weights),
        "half": Dense(weights.astype("f2")),
        "sparse": Sparse.keep(weights, mask),
        "empty": Sparse.keep(weights, np.zeros_like(mask)),
        "codebook": Codebook(rng.integers(0, 7, weights.shape), table),
        "sparse codebook": Sparse.at(mask, Codebook(codes, table)),
        "quantised": Quantised(levels, 0.1),
        "sparse quantised": Sparse.at(mask, Quantised(levels[mask], 0.1)),
        "scaled": Scaled(Quantised(levels, 0.1), scales),
        "frequencies": Spectral(Sparse.keep(weights, mask)),
        "two factors": Factored(Dense(weights[:, :2, 0, 0]), Dense(weights[:2])),
        "three factors": Factored(
            Quantised(levels[:, :3, 0, 0], 0.1),
            Dense(weights[:3, :2]),
            Sparse.keep(weights[:4, :2, 0, 0], mask[:4, :2, 0, 0]),
        ),
    }


@pytest.mark.parametrize("name", some_forms())
@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_of_forms(name: str, axis: int) -> None:
    form = some_forms()[name]
    rng = np.random.default_rng(axis)
    for size in (0, 1, form.shape[axis]):
        index = rng.permutation(form.shape[axis])[:size]
        got = taken(form, index, axis)
        assert type(got) is type(form)
        np.testing.assert_array_equal(got.dense(), form.dense().take(index, axis))


def test_forms_that_depend_on_places_are_rigid() -> None:
    hashed = Hashed((4, 4), 1, (3,), Dense(np.ones(3, "f4")))
    common = Common(
        np.zeros((2, 2), int), Dense(np.ones((1, 3, 3), "f4")), Dense(np.ones((2, 2, 3, 3), "f4"))
    )
    for form in (hashed, common, Quantised(np.zeros((4, 4), int), 1.0, 8)):
        assert form.name in rigid(form)
        with pytest.raises(ValueError, match="cannot be taken"):
            taken(form, np.array([0]), 0)
    network = conv_chain()
    packed = Packed.of(network).with_forms(
        {"wb": Hashed((4, 6, 3, 3), 1, (3,), Dense(np.ones(3, "f4")))}
    )
    assert any("hashed" in reason for reason in channels_of(packed).fixed.values())


# Stages ---------------------------------------------------------------------------------------


def pruned(network: Network, density: float, seed: int) -> Packed:
    """Random weights stay; some rows and some columns of each layer have none."""
    rng = np.random.default_rng(seed)
    packed = Packed.of(network)
    forms = {}
    for _, name in packed.graph.weights():
        mask = rng.random(packed.graph.tensors[name]) < density
        mask[rng.random(mask.shape[0]) < 0.3] = False
        mask[:, rng.random(mask.shape[1]) < 0.3] = False
        forms[name] = Sparse.keep(packed.forms[name].dense(), mask)
    return packed.with_forms(forms)


@pytest.mark.parametrize("name", GALLERY)
def test_stages_change_no_answer_and_their_files_run(name: str, tmp_path: Path) -> None:
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    packed = pruned(network, 0.5, 0)
    expected = outputs(packed.network(), example)
    for stage in (RemoveDeadUnits(), OrderUnits(rounds=1)):
        before = packed
        packed = stage.apply(packed, Context(network)).packed
        assert packed.network().parameters <= before.network().parameters
        if isinstance(stage, OrderUnits):
            assert len(dumps(packed, About())) <= len(dumps(before, About()))
        decoded = loads(dumps(packed, About())).packed
        names = {n: example.numpy() for n in packed.graph.inputs}
        run = Model(decoded)(*names.values())
        run = list(run) if isinstance(run, tuple) else [run]
        assert close(expected, run), stage
    path = tmp_path / "small.onnx"
    reticule.to_onnx(packed.network(), path)
    assert close(expected, outputs(reticule.from_onnx(path), example))


def test_dead_units_are_gone() -> None:
    """With neither weights nor readers; at a padded border a constant stays."""
    network = conv_chain()
    tensors = dict(network.tensors)
    tensors["wa"] = tensors["wa"].copy()
    tensors["wa"][1] = 0  # a constant
    tensors["wb"] = tensors["wb"].copy()
    tensors["wb"][:, 4] = 0  # nobody reads it
    packed = Packed.of(Network(network.graph, tensors))
    outcome = RemoveDeadUnits().apply(packed, Context(network))
    assert outcome.packed.graph.tensors["wa"][0] == 4
    assert outcome.notes["units"] == {"a": "6 to 4"}
    padded = Node("Conv", "b", ("g", "wb"), ("y",), {"pads": (1, 1, 1, 1)})
    nodes = (*network.graph.nodes[:2], padded)
    graph = Graph({"x": (2, 8, 8)}, ("y",), nodes, network.graph.tensors)
    packed = Packed.of(Network(graph, tensors))
    kept = 4 if np.maximum(tensors["ba"][1], 0) == 0 else 5
    assert RemoveDeadUnits().apply(packed, Context(network)).packed.graph.tensors["wa"][0] == kept


def test_the_order_pays_where_rows_differ() -> None:
    """Rows of very different density, shuffled: sorted, they cost less."""
    rng = np.random.default_rng(1)
    nodes = (Node("Gemm", "a", ("x", "wa"), ("h",)), Node("Gemm", "b", ("h", "wb"), ("y",)))
    density = rng.permutation(np.repeat([0.02, 0.4], 60))
    tensors = {
        "wa": rng.choice(np.float32([1, 2, 3]), (120, 200)),
        "wb": rng.choice(np.float32([1, 2, 3]), (10, 120)),
    }
    tensors["wa"] *= rng.random((120, 200)) < density[:, None]
    graph = Graph({"x": (200,)}, ("y",), nodes, {n: t.shape for n, t in tensors.items()})
    packed = Packed(
        graph,
        {
            name: Sparse.at(
                t != 0, Codebook(t[t != 0].astype(int) - 1, Dense(np.float32([1, 2, 3])))
            )
            for name, t in tensors.items()
        },
    )
    outcome = OrderUnits().apply(packed, Context(packed.network()))
    before, after = (len(dumps(each, About())) for each in (packed, outcome.packed))
    assert after < before
    assert outcome.notes["bytes_saved"] == before - after
    for more in (
        OrderUnits(blocks=True),
        OrderUnits(communities=True),
        OrderUnits(embedding=True),
    ):
        found = more.apply(packed, Context(packed.network())).packed
        assert len(dumps(found, About())) <= after


@pytest.mark.parametrize(
    ("option", "order"), [("communities", "communities"), ("embedding", "coordinate")]
)
def test_units_that_are_alike_come_side_by_side(option: str, order: str) -> None:
    """Two kinds of rows as dense as each other, shuffled: what they read tells them apart."""
    rng = np.random.default_rng(2)
    kind = rng.permutation(np.repeat([0, 1], 40))
    density = np.where(np.arange(200) // 100 == kind[:, None], 0.6, 0.02)
    nodes = (Node("Gemm", "a", ("x", "wa"), ("h",)), Node("Gemm", "b", ("h", "wb"), ("y",)))
    masks = {"wa": rng.random((80, 200)) < density, "wb": np.ones((10, 80), bool)}
    graph = Graph({"x": (200,)}, ("y",), nodes, {n: m.shape for n, m in masks.items()})
    forms = {n: Sparse.keep(np.ones(m.shape, "f4"), m) for n, m in masks.items()}
    packed = Packed(graph, forms)
    plain, found = (
        OrderUnits(**options).apply(packed, Context(packed.network()))
        for options in ({}, {option: True})
    )
    assert found.notes["bytes_saved"] > plain.notes["bytes_saved"]
    assert order in found.notes["orders"]["a"]


@pytest.mark.parametrize("name", ["lenet", "resnet_option_a", "shufflenet", "densenet"])
def test_orders_by_communities_change_no_answer(name: str) -> None:
    module, example = GALLERY[name]()
    packed = pruned(reticule.from_torch(module, example), 0.5, 1)
    stage = OrderUnits(rounds=1, communities=True)
    after = stage.apply(packed, Context(packed.network())).packed
    expected = outputs(packed.network(), example)
    assert close(expected, outputs(after.network(), example))
    assert len(dumps(after, About())) <= len(dumps(packed, About()))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("option", ["blocks", "communities", "embedding"])
def test_every_order_to_try_is_a_new_one_of_all_units(option: str, density: float) -> None:
    """Whatever is pruned: units without weights, no weights at all, all weights."""
    network = conv_chain()
    rng = np.random.default_rng(3)
    forms = {
        name: Sparse.keep(tensor, rng.random(tensor.shape) < density)
        for name, tensor in network.tensors.items()
        if tensor.ndim > 1
    }
    packed = Packed.of(network).with_forms(forms)
    channels = channels_of(packed)
    for units in channels.classes:
        found = [order for _, order in candidates(packed, channels, units, **{option: True})]
        assert all(np.array_equal(np.sort(order), np.sort(units)) for order in found)
        assert len({order.tobytes() for order in [units, *found]}) == len(found) + 1


def test_communities_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    need.cache_clear()  # it may be known from other tests
    monkeypatch.setitem(sys.modules, "sknetwork.clustering", None)
    packed = Packed.of(conv_chain())
    with pytest.raises(MissingExtra, match=r"scikit-network.*reticule\[graph\]"):
        OrderUnits(communities=True).apply(packed, Context(packed.network()))
    need.cache_clear()
