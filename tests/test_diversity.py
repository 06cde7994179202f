"""Fewer units: what the next layers compute is restored, and the network is smaller in fact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gallery import GALLERY  # noqa: E402
from test_channels import outputs  # noqa: E402
from test_methods import trained_problem, two_layers  # noqa: E402

import reticule  # noqa: E402
from reticule.data import Data  # noqa: E402
from reticule.errors import RecipeError  # noqa: E402
from reticule.forms import Dense, Packed, Sparse  # noqa: E402
from reticule.graph import Network  # noqa: E402
from reticule.methods import Context, FoldBatchNorm, SelectUnits  # noqa: E402
from reticule.methods.diversity.budget import SHARES, counts_for  # noqa: E402
from reticule.methods.diversity.work import Work  # noqa: E402
from reticule.methods.layerwise.walk import with_biases  # noqa: E402
from reticule.tuning.problem import Problem  # noqa: E402

RECONSTRUCTING = ("asymmetric", "sequential", "layerwise")
OTHERS = ("divnet", "divnet-sample", "facility-location", "coreset", "magnitude", "random")


def images_for(network: Network, count: int = 96, seed: int = 0) -> Problem:
    """Noise in the shape of a network's images, labelled by its own answers."""
    (shape,) = network.graph.inputs.values()
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    data = Data((pixels, np.arange(count) % 3), mean=(0.5,) * shape[0], std=(0.25,) * shape[0])
    return Problem.of(network, data, data)


def doubled(seed: int = 0) -> Packed:
    """A perceptron each of whose hidden units is there twice, and one more that is dead."""
    packed = two_layers()
    forms = {name: form.dense() for name, form in packed.forms.items()}
    rows = np.concatenate([np.repeat(np.arange(30), 2)])
    one = forms["one.weight"][rows] * np.where(np.arange(60) % 2, 2.0, 1.0)[:, None]
    two = forms["two.weight"][:, rows] / np.where(np.arange(60) % 2, 4.0, 2.0)
    bias = forms["one.bias"][rows] * np.where(np.arange(60) % 2, 2.0, 1.0)
    tensors = {"one.weight": one, "one.bias": bias, "two.weight": two}
    tensors = {name: values.astype("f4") for name, values in tensors.items()}
    graph = replace(packed.graph, tensors={n: t.shape for n, t in tensors.items()})
    graph = replace(graph, inputs={"x": (1, 4, 5)})
    flat = reticule.graph.Node("Flatten", "flat", ("x",), ("v",))
    first = replace(graph.nodes[0], inputs=("v", *graph.nodes[0].inputs[1:]))
    return Packed.of(Network(replace(graph, nodes=(flat, first, *graph.nodes[1:])), tensors))


def context(network: Network, count: int = 200) -> Context:
    return Context(network, problem=images_for(network, count))


@pytest.mark.parametrize("selection", RECONSTRUCTING)
def test_what_is_there_twice_can_go_without_loss(selection: str) -> None:
    packed = doubled()
    stage = SelectUnits(selection=selection, keep={"one": 30}, images=2000, ridge=1e-6)
    outcome = stage.apply(packed, context(packed.network(), 2000))
    assert outcome.packed.graph.tensors["one.weight"] == (30, 20)
    assert outcome.packed.graph.tensors["two.weight"] == (10, 30)
    example = torch.randn(20, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    before, after = (outputs(p.network(), example)[0] for p in (packed, outcome.packed))
    assert np.abs(before - after).max() < 0.02 * np.abs(before).max()


@pytest.mark.parametrize("selection", OTHERS)
def test_every_selection_keeps_as_many_as_asked(selection: str) -> None:
    packed = doubled()
    for refit in ("auto", "none"):
        stage = SelectUnits(selection=selection, refit=refit, keep={"one.weight": 0.25}, images=64)
        made = stage.apply(packed, context(packed.network(), 64)).packed
        assert made.graph.tensors["one.weight"] == (15, 20), selection
        made.network().check()


def test_least_squares_is_better_than_leaving_weights_alone() -> None:
    packed = doubled()
    example = torch.from_numpy(images_for(packed.network(), 50, seed=9).train.batch(np.arange(50)))
    wanted = outputs(packed.network(), example)[0]
    errors = {}
    for refit in ("outputs", "fuse", "none"):
        stage = SelectUnits(selection="magnitude", refit=refit, keep={"one": 20}, images=200)
        made = stage.apply(packed, context(packed.network())).packed
        errors[refit] = float(np.square(outputs(made.network(), example)[0] - wanted).mean())
    assert errors["outputs"] < 0.7 * errors["none"]
    assert errors["fuse"] < errors["none"]


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in GALLERY
        if n not in ("mlp", "several_outputs", "arithmetic", "odd_sizes", "binarised")
    ],
)
def test_any_network_loses_multiplications(name: str) -> None:
    """Residual, grouped, depthwise, concatenated, shuffled: the budget is kept."""
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    packed = FoldBatchNorm().apply(Packed.of(network), Context(network)).packed
    share = 0.85 if name == "alexnet" else 0.8  # whose first convolution cannot lose any
    stage = SelectUnits(macs=share, images=32)
    outcome = stage.apply(packed, Context(network, problem=images_for(network, 48)))
    before, after = (sum(p.graph.macs().values()) for p in (packed, outcome.packed))
    assert after <= share * before
    assert outcome.notes["macs"] == pytest.approx(after / before)
    assert [out.shape for out in outputs(outcome.packed.network(), example)] == [
        out.shape for out in outputs(network, example)
    ]


def test_a_trained_network_keeps_its_accuracy() -> None:
    problem = trained_problem(200)
    start = Packed.of(problem.original)
    made = SelectUnits(macs=0.6, images=128).apply(
        start, Context(problem.original, problem=problem)
    )
    assert problem.accuracy(made.packed) >= problem.accuracy(start) - 5


@pytest.mark.parametrize("selection", ["asymmetric", "layerwise", "magnitude"])
@pytest.mark.parametrize("name", ["resnet_option_a", "densenet", "squeezenet"])
def test_classes_that_one_layer_reads_do_not_bring_units_back(name: str, selection: str) -> None:
    """What a stage estimates without the units is what the smaller network does."""
    module, example = GALLERY[name]()
    network = reticule.from_torch(module, example)
    packed = FoldBatchNorm().apply(Packed.of(network), Context(network)).packed
    stage = SelectUnits(selection=selection, keep={"*": 0.75}, images=32)
    problem = images_for(network, 48)
    work = Work.of(
        stage, with_biases(packed, list(packed.forms)), Context(network, problem=problem)
    )
    for number, count in work.wanted(stage.keep).items():
        work.reduce(number, count)
    small = work.outcome().packed.network()
    assert small.parameters < packed.network().parameters
    full, less = outputs(work.now.network(), example), outputs(small, example)
    for a, b in zip(full, less, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(a).max())


def test_budgets_are_kept_and_prefer_what_costs_less() -> None:
    cheap, dear = [0.01 * i for i in range(7)], [0.5 * (i + 1) for i in range(7)]

    def macs(counts) -> float:
        return float(sum(counts.get(n, 80) for n in range(2)))

    for rule in ("equal", "least"):
        for most in (150.0, 100.0, 30.0):
            counts = counts_for([cheap, dear], [80, 80], macs, most, rule)
            assert macs(counts) <= most, (rule, most)
            assert counts[0] <= counts[1]
    assert len(SHARES) == 7


def test_what_cannot_be_reduced_is_named() -> None:
    packed = doubled()
    sparse = Sparse.keep(packed.forms["two.weight"].dense(), np.ones((10, 60), bool))
    with pytest.raises(RecipeError, match="no units that could be removed"):
        stage = SelectUnits(keep={"one": 3})
        stage.apply(packed.with_forms({"two.weight": sparse}), context(packed.network(), 20))
    with pytest.raises(RecipeError, match="no layer 'three'"):
        SelectUnits(keep={"three": 3}).apply(packed, context(packed.network(), 20))
    with pytest.raises(RecipeError, match="give --train"):
        SelectUnits().apply(packed, Context(packed.network()))
    module, example = GALLERY["lenet"]()
    network = reticule.from_torch(module, example)
    stage = SelectUnits(skip=["*"])
    with pytest.raises(RecipeError, match="no units"):
        stage.apply(Packed.of(network), Context(network, problem=images_for(network, 20)))
    outcome = SelectUnits(skip=["0.weight"], macs=0.9, images=20).apply(
        Packed.of(network), Context(network, problem=images_for(network, 20))
    )
    assert "skipped" in outcome.skipped.values()
    assert all(isinstance(form, Dense) for form in outcome.packed.forms.values())
