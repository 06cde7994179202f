"""Recipes: what is in them, and what is said about bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from reticule.errors import RecipeError
from reticule.methods import METHODS
from reticule.recipes import load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary and recipe.source and recipe.good_for
    assert json.loads(json.dumps(recipe.to_json())) == recipe.to_json()


def test_every_method_is_documented_and_named_in_the_recipes_or_usable_alone() -> None:
    assert all((cls.__doc__ or "").strip() for cls in METHODS.values())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid YAML"),
        ("[]", "dictionary"),
        ("name: x\nstages: []", "stages"),
        ("name: x\nstages: [{}]", "stage 1: no method 'None'"),
        ("name: x\nstages: [{method: gradual-prunning}]", "did you mean 'gradual-pruning'"),
        ("name: x\nstages: [{method: retrain, shar: 1}]", "shar"),
        ("name: x\nstages: [{method: gradual-pruning, density: 2}]", "density"),
        ("name: x\nstages: [{method: weight-sharing, conv_bits: 99}]", "conv_bits"),
        ("name: x\nstages: [{method: retrain, training: {epoch: 1}}]", "training.epoch"),
        ("name: x\nstages: [{method: retrain}]\nsteps: []", "steps"),
    ],
)
def test_a_bad_recipe_is_one_line_with_file_and_field(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(RecipeError) as raised:
        load_recipe(path)
    message = str(raised.value)
    assert message.startswith("mine.yaml") and complaint in message and "\n" not in message


def test_unknown_recipe_and_missing_file() -> None:
    with pytest.raises(RecipeError, match="deep-compression"):
        load_recipe("deep-compresion")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe("nowhere/mine.yaml")
