"""Read recipes: the named ones beside this file, or a YAML file of one's own.

>>> recipe = load_recipe("deep-compression")
>>> [stage.name for stage in recipe.stages][:2]
['fold-batch-norm', 'gradual-pruning']

A recipe of one's own has the same shape::

    name: prune-only
    summary: Magnitude pruning to a tenth, then retraining.
    source: Han et al., NIPS 2015
    good_for: a first look
    stages:
      - method: threshold-pruning
        density: 0.1
      - method: retrain
        training: {epochs: 3, learning_rate: 0.001}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from reticule.errors import MissingExtra, RecipeError

if TYPE_CHECKING:
    from reticule.methods import Method

CEILING = 100.0  # percent: what a constant in the answer's place has


@dataclass(frozen=True)
class Stage:
    """One method of a recipe, with the parameters that were given for it."""

    name: str
    parameters: Mapping[str, Any]
    method: Method


@dataclass(frozen=True)
class Recipe:
    """A chain of methods; ``to_json`` is what a ``.ret`` file keeps of it.

    ``ceiling`` is the error, in percent beside the network before it, at which a stage that no
    training follows counts as a collapse.
    """

    name: str
    summary: str
    source: str
    good_for: str
    stages: tuple[Stage, ...]
    ceiling: float = CEILING

    @property
    def needs_data(self) -> bool:
        """Whether a stage retrains or measures, and so needs inputs."""
        return any(stage.method.needs_data for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        stages = [{"method": s.name, **s.parameters} for s in self.stages]
        other = {} if self.ceiling == CEILING else {"ceiling": self.ceiling}
        return {"name": self.name, **other, "stages": stages}


class _File(BaseModel):
    """The layout of a recipe file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    summary: str = ""
    source: str = ""
    good_for: str = ""
    ceiling: Annotated[float, Field(gt=0, allow_inf_nan=False)] = CEILING
    stages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=100)]


def recipe_names() -> list[str]:
    """Names of the recipes that come with Reticule."""
    folder = files("reticule.recipes")
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def recipe_text(recipe: str | Path) -> str:
    """The YAML of a recipe as it was written, comments included; needs no PyTorch."""
    return _read(recipe)[0]


def load_recipe(recipe: str | Path) -> Recipe:
    """A recipe by name or from a YAML file; RecipeError says what is wrong with it."""
    text, where = _read(recipe)
    try:
        parsed = _File.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as problem:
        line = getattr(problem, "problem_mark", None)
        at = f" at line {line.line + 1}" if line else ""
        raise RecipeError(f"{where}: not valid YAML{at}") from None
    except ValidationError as problem:
        raise RecipeError(f"{where}: {_first(problem)}") from None
    _load_plugins()
    stages = tuple(_stage(where, i, raw) for i, raw in enumerate(parsed.stages, 1))
    described = (parsed.name, parsed.summary, parsed.source, parsed.good_for)
    return Recipe(*described, stages, parsed.ceiling)


def _read(recipe: str | Path) -> tuple[str, str]:
    name = str(recipe)
    if name in recipe_names():
        return (files("reticule.recipes") / f"{name}.yaml").read_text("utf-8"), f"recipe '{name}'"
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = ", ".join(recipe_names())
        raise RecipeError(f"there is no recipe '{name}'; use one of {known}, or a .yaml file")
    try:
        return path.read_text("utf-8"), path.name
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not a text file"
        raise RecipeError(f"{path}: cannot be read ({reason})") from None


def _stage(where: str, number: int, raw: dict[str, Any]) -> Stage:
    methods = _methods()
    parameters = dict(raw)
    name = parameters.pop("method", None)
    if name not in methods:
        close = get_close_matches(str(name), methods, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(methods))}"
        raise RecipeError(f"{where}: stage {number}: no method '{name}'; {hint}")
    try:
        built = TypeAdapter(methods[name]).validate_python(parameters)
    except ValidationError as problem:
        raise RecipeError(f"{where}: stage {number} ({name}): {_first(problem)}") from None
    return Stage(name, parameters, built)


def _methods() -> Mapping[str, type[Method]]:
    """All methods by name; imported here because they need PyTorch, which listing does not."""
    try:
        from reticule.methods import METHODS
    except ModuleNotFoundError as problem:
        raise MissingExtra("compressing networks", problem.name or "torch", "compress") from None
    return METHODS


def _first(problem: ValidationError) -> str:
    """The first complaint, in one line."""
    error = problem.errors()[0]
    field = ".".join(str(part) for part in error["loc"])
    return f"{field}: {error['msg']}" if field else str(error["msg"])


def _load_plugins() -> None:
    """Methods of other packages, announced by the entry point 'reticule.methods'."""
    for point in entry_points(group="reticule.methods"):
        point.load()
