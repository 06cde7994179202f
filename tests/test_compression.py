"""The whole path: network in, file out, decoded and measured in a fresh process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from test_tuning import small_problem

import reticule
from reticule.compression import compress
from reticule.errors import DataError, ModelError, RecipeError, ReticuleError
from reticule.graph import Network
from reticule.result import Result

RECIPE = """\
name: quick
stages:
  - method: fold-batch-norm
  - {method: gradual-pruning, density: 0.5, smallest: 30, training: {epochs: 1, batch: 16}}
  - {method: weight-sharing, smallest: 30}
  - method: half-precision
  - method: match-moments
  - {method: retrain, training: {epochs: 1, batch: 16}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    path.write_text(RECIPE, "utf-8")
    return path


@pytest.fixture(scope="module")
def problem():  # type: ignore[no-untyped-def]
    return small_problem(80)


@pytest.fixture(scope="module")
def result(problem, recipe: Path) -> Result:  # type: ignore[no-untyped-def]
    return compress(
        problem.original, train=problem.train, test=problem.held_out, recipe=recipe, seed=5
    )


def test_reported_sizes_are_those_of_the_file(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "small.ret"
    result.save(path)
    assert path.stat().st_size == result.bytes_file
    assert result.bytes_weights < result.bytes_file
    assert sum(result.tensor_bytes.values()) == result.bytes_weights
    assert result.ratio == result.bytes_original / result.bytes_weights
    assert list(tmp_path.iterdir()) == [path]


def test_reported_accuracy_is_that_of_the_file(result: Result, problem, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "small.ret"
    result.save(path)
    model = reticule.load(path)
    images = problem.held_out.images(np.arange(len(problem.held_out)))
    guesses = model.predict_images(images).argmax(1)
    assert 100 * np.mean(guesses == problem.held_out.labels) == result.accuracy_after
    assert model.about.accuracy["after"] == result.accuracy_after
    assert result.measured_on == "test"


def test_every_stage_is_recorded_with_its_accuracy(result: Result) -> None:
    names = [stage.name for stage in result.stages]
    assert names == [
        "original", "fold-batch-norm", "gradual-pruning", "weight-sharing", "half-precision",
        "match-moments", "retrain", "decoded file",
    ]  # fmt: skip
    assert all(stage.accuracy is not None for stage in result.stages)
    # The engine and PyTorch see the same network.
    assert abs(result.stages[-1].accuracy - result.stages[-2].accuracy) < 10  # type: ignore[operator]


def test_the_same_seed_gives_the_same_bytes(result: Result, problem, recipe: Path) -> None:  # type: ignore[no-untyped-def]
    def again(seed: int) -> bytes:
        return compress(
            problem.original, train=problem.train, test=problem.held_out, recipe=recipe, seed=seed
        ).blob

    assert again(5) == result.blob
    assert again(6) != result.blob


def test_test_images_change_nothing_but_the_figures(result: Result, problem, recipe: Path) -> None:  # type: ignore[no-untyped-def]
    without = compress(problem.original, train=problem.train, recipe=recipe, seed=5)
    assert without.measured_on == "val"
    for name, form in result.packed.forms.items():
        assert np.array_equal(form.dense(), without.packed.forms[name].dense())


def test_a_budget_is_judged(problem, recipe: Path) -> None:  # type: ignore[no-untyped-def]
    kept = compress(problem.original, train=problem.train, recipe=recipe, max_drop=100.0)
    assert kept.budget_met is True
    assert compress(problem.original, train=problem.train, recipe=recipe).budget_met is None


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"train": None}, RecipeError, "training images"),
        ({"max_drop": -1.0}, RecipeError, "max_drop"),
        ({"recipe": "nothing"}, RecipeError, "no recipe 'nothing'"),
        ({"train": reticule.Data((np.zeros((4, 1, 9, 9), "u1"), [0, 1, 0, 1]))}, DataError, "9"),
        ({"train": reticule.Data((np.zeros((4, 1, 8, 8), "u1"), [0, 1, 0, 7]))}, DataError, "7"),
    ],
)
def test_bad_requests_are_one_line(  # type: ignore[no-untyped-def]
    problem, recipe: Path, change: dict, error: type[ReticuleError], complaint: str
) -> None:
    settings = {"train": problem.train, "recipe": recipe, **change}
    with pytest.raises(error, match=complaint) as raised:
        compress(problem.original, **settings)
    assert "\n" not in str(raised.value)


def test_nan_weights_are_refused_by_name(problem, recipe: Path) -> None:  # type: ignore[no-untyped-def]
    name = next(iter(problem.original.tensors))
    broken = problem.original.tensors[name].copy()
    broken.flat[0] = np.nan
    network = Network(problem.original.graph, {**problem.original.tensors, name: broken})
    with pytest.raises(ModelError, match=f"tensor '{name}' has 1 weights that are NaN"):
        compress(network, train=problem.train, recipe=recipe)
