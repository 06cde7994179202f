"""``reticule recipes``: what there is; needs no PyTorch."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml

from reticule.cli import options
from reticule.cli.output import present
from reticule.recipes import recipe_names, recipe_text


def recipes(
    name: Annotated[str, typer.Argument(help="Show this recipe, to copy and change.")] = "",
    json: options.Json = False,
) -> None:
    """List the recipes, or show the YAML of one."""
    if name:
        text = recipe_text(name)
        present(yaml.safe_load(text), lambda: print(text, end=""), json)
        return
    found = [_described(known) for known in recipe_names()]
    present({"recipes": found}, lambda: _show(found), json)


def _described(name: str) -> dict[str, Any]:
    parsed = yaml.safe_load(recipe_text(name))
    return {key: parsed.get(key, "") for key in ("name", "summary", "source", "good_for")}


def _show(found: list[dict[str, Any]]) -> None:
    for number, recipe in enumerate(found):
        if number:
            print()
        print(recipe["name"])
        print(f"  {recipe['summary']}")
        print(f"  good for: {recipe['good_for']}")
        print(f"  source:   {recipe['source']}")
    print("\n'reticule recipes NAME' prints a recipe as YAML, to copy and change.")
