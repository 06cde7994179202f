"""Fidelity: how near answers are to others, against plain formulas; what kind of task it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reticule.budget import Budget
from reticule.codec import About, save
from reticule.data import Data, Preprocessing
from reticule.engine import Model
from reticule.errors import DataError, ModelError, RecipeError
from reticule.evaluation import classes_of, evaluate, is_classified, measure, worst_error
from reticule.evaluation.answers import answers_of
from reticule.evaluation.fidelity import Comparison, Fidelity, fidelity_of
from reticule.evaluation.generated import generated_inputs
from reticule.evaluation.inputs import Arrays
from reticule.evaluation.plausible import check_above_chance
from reticule.evaluation.task import scores_axis
from reticule.forms import Packed
from reticule.graph import Graph, Network, Node

VALUES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 9), st.integers(1, 5), st.integers(1, 3)),
    elements=st.floats(-1e3, 1e3, width=32),
)


def fidelity(exact: np.ndarray, found: np.ndarray, axis: int | None = None, parts: int = 1):
    comparison = Comparison("y", axis)
    for a, b in zip(np.array_split(exact, parts), np.array_split(found, parts), strict=True):
        comparison.add(a, b)
    return comparison.result()


@given(VALUES, st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_figures_are_the_plain_formulas_however_they_are_gathered(
    exact: np.ndarray, parts: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(size=exact.shape)
    found = (exact + noise).astype(np.float32)
    got = fidelity(exact, found, 1, parts)
    a, b = exact.astype(float), found.astype(float)
    lost, power, spread = np.sqrt(np.mean((a - b) ** 2)), np.sqrt(np.mean(a**2)), a.std()
    assert got.largest == np.abs(a - b).max()
    if spread > 1e-3 * power:
        assert got.error_percent == pytest.approx(100 * lost / spread, rel=1e-6)
    if power > 0 and lost > 0:
        assert got.snr_db == pytest.approx(20 * math.log10(power / lost), abs=1e-6)
    same = 100 * np.mean(a.argmax(1) == b.argmax(1))
    assert got.agreement == pytest.approx(same)


def test_equal_answers_have_no_error_even_if_they_are_infinite() -> None:
    exact = np.array([[1.0, np.inf], [np.nan, -2.0]], np.float32)
    got = fidelity(exact, exact.copy())
    assert got.error_percent == 0 and got.largest == 0 and got.snr_db == math.inf
    assert got.to_json()["snr_db"] is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_an_infinite_error(broken: float) -> None:
    exact = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = exact.copy()
    found[1, 1] = broken
    got = fidelity(exact, found)
    assert got.error_percent == got.largest == math.inf and got.snr_db == -math.inf
    json.dumps(got.to_json(), allow_nan=False)


def test_an_output_that_never_varies_is_compared_by_its_size() -> None:
    exact = np.full((5, 1), 4.0, np.float32)
    assert fidelity(exact, exact + 1).error_percent == pytest.approx(25.0)
    nothing = np.zeros((5, 1), np.float32)
    assert fidelity(nothing, nothing).error_percent == 0
    assert fidelity(nothing, nothing + 1).error_percent == math.inf


def test_a_constant_in_place_of_the_answers_has_an_error_of_a_hundred_percent() -> None:
    exact = np.random.default_rng(0).normal(3, 2, (400, 1)).astype("f4")
    assert fidelity(exact, np.full_like(exact, exact.mean())).error_percent == pytest.approx(100)


def ending(op: str, *shape: int, **attributes: object) -> Graph:
    """A network that only applies one operator to its input."""
    node = Node(op, "n", ("x",), ("y",), attributes)  # type: ignore[arg-type]
    return Graph({"x": shape}, ("y",), (node,), {})


@pytest.mark.parametrize(
    ("graph", "classes", "axis"),
    [
        (ending("Relu", 10), 10, 1),
        (ending("Relu", 10, 1, 1), 10, 1),
        (ending("Relu", 1), 0, None),  # one output is no classifier
        (ending("Relu", 4, 6, 6), 0, 1),  # a map of scores
        (ending("Relu", 1, 6, 6), 0, None),
        (ending("Relu", 12, 4), 0, None),  # boxes
        (ending("Softmax", 12, 4, axis=2), 0, 2),
        (ending("Sigmoid", 10), 10, None),  # labels that do not exclude each other
        (ending("Softmax", 3, axis=1), 3, 1),
    ],
)
def test_a_classifier_has_one_score_for_each_class(
    graph: Graph, classes: int, axis: int | None
) -> None:
    assert (classes_of(graph), scores_axis(graph, "y")) == (classes, axis)


def linear(outputs: int, seed: int = 0) -> Network:
    weights = np.random.default_rng(seed).normal(size=(outputs, 4)).astype("f4")
    flat = Node("Flatten", "f", ("x",), ("f",))
    graph = Graph(
        {"x": (1, 2, 2)}, ("y",), (flat, Node("Gemm", "n", ("f", "w"), ("y",))), {"w": (outputs, 4)}
    )
    return Network(graph, {"w": weights})


PIXELS = np.random.default_rng(1).integers(0, 256, (50, 1, 2, 2), dtype=np.uint8)


def test_labels_alone_make_no_classifier() -> None:
    labelled = Data((PIXELS, np.arange(50) % 2))
    assert is_classified(linear(3).graph, labelled)
    assert not is_classified(linear(1).graph, labelled)
    assert not is_classified(linear(3).graph, Data((PIXELS, None)))
    with pytest.raises(DataError, match="--against"):
        evaluate(Model(Packed.of(linear(1))), labelled.with_preprocessing(Preprocessing()))
    with pytest.raises(DataError, match="no labels"):
        evaluate(Model(Packed.of(linear(3))), Data((PIXELS, None)))


def test_evaluating_against_another_network_needs_no_labels() -> None:
    one, other = (Model(Packed.of(linear(1, seed))) for seed in (0, 1))
    data = Data((PIXELS, None))
    found = evaluate(one, data, other)
    x = data.batch(np.arange(50))
    assert found.fidelity == fidelity_of(one.graph, [((other(x),), (one(x),))])
    assert found.accuracy is None and found.to_json()["n"] == 50
    with pytest.raises(ModelError, match="other outputs"):
        evaluate(one, data, Model(Packed.of(linear(2))))


def test_a_fresh_process_finds_the_same(tmp_path: Path) -> None:
    packed, other = Packed.of(linear(3)), Packed.of(linear(3, 1))
    about = About(Preprocessing(100.0, (0.5,), (0.25,)))
    save(tmp_path / "a.ret", packed, about)
    labels = np.arange(50) % 3
    data = Data((PIXELS, labels), scale=100.0, mean=(0.5,), std=(0.25,))
    exact = answers_of(Model(other), data, tmp_path)
    found = measure(tmp_path / "a.ret", data, exact)
    here = evaluate(Model(packed), data, Model(other))
    assert found.accuracy == here.accuracy and found.n == 50
    assert worst_error(found.fidelity) == pytest.approx(here.error_percent, rel=1e-6)


def test_a_fresh_process_runs_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.ret", Packed.of(linear(2)), About())
    (tmp_path / "PIL.py").write_text("open('ran', 'w')")
    (tmp_path / "numpy.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    inputs = generated_inputs({"x": (1, 2, 2)}, 5, 0)
    assert measure(tmp_path / "a.ret", Arrays(inputs)).n == 5
    assert not (tmp_path / "ran").exists()


def test_generated_inputs_have_the_right_shape_and_repeat() -> None:
    shapes = {"image": (3, 9, 7), "features": (4,), "sequence": (5, 2)}
    one, two = generated_inputs(shapes, 6, 3), generated_inputs(shapes, 6, 3)
    for shape, a, b in zip(shapes.values(), one, two, strict=True):
        assert a.shape == (6, *shape) and a.dtype == np.float32 and np.array_equal(a, b)
        assert abs(a.mean()) < 0.7 and 0.5 < a.std() < 1.5
    (pixels,) = generated_inputs({"x": (3, 16, 16)}, 8, 0, Preprocessing(255.0))
    assert pixels.min() >= 0 and pixels.max() <= 1


def test_an_accuracy_by_chance_is_stopped_with_its_likely_cause() -> None:
    data = Data((PIXELS, np.arange(50) % 2))
    with pytest.raises(DataError, match="no better than chance") as stopped:
        check_above_chance(55.0, 2, data, "images")
    assert "--mean" in str(stopped.value) and "standard deviation" in str(stopped.value)
    check_above_chance(90.0, 2, data, "images")
    check_above_chance(0.0, 2, data.subset(np.arange(5)), "images")  # five prove nothing


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (Budget(), None),
        (Budget(max_drop=1.0), True),
        (Budget(max_drop=0.4), False),
        (Budget(max_error=5.0), True),
        (Budget(max_error=3.0), False),
        (Budget(max_bytes=100), True),
        (Budget(max_drop=1.0, max_error=5.0, max_bytes=99), False),
        (Budget(max_drop=1.0, max_error=3.0, max_bytes=100), False),
        (Budget(minutes=1.0), None),
    ],
)
def test_all_that_is_asked_must_hold(budget: Budget, kept: bool | None) -> None:
    assert budget.check().met(0.5, 4.0, 100) is kept
    assert bool(budget.broken(0.5, 4.0, 100)) is (kept is False)


def test_what_was_not_measured_is_not_kept_and_not_broken() -> None:
    assert Budget(max_drop=1.0).met(None, 4.0, 100) is None
    assert Budget(max_error=5.0).met(None, math.inf, 100) is False
    assert Budget(max_error=5.0).met(None, math.nan, 100) is False
    for wrong in (Budget(max_error=0.0), Budget(max_error=math.nan), Budget(max_drop=-1.0)):
        with pytest.raises(RecipeError):
            wrong.check()


def test_the_error_of_a_network_is_that_of_its_worst_output() -> None:
    outputs = [Fidelity("a", 2.0, 1.0, 30.0, None), Fidelity("b", 7.0, 1.0, 20.0, 99.0)]
    assert worst_error(outputs) == 7.0 and worst_error([]) is None
