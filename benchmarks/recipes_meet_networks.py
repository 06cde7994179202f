"""Every recipe over every network of the test gallery: what becomes of it.

    python benchmarks/recipes_meet_networks.py [--network NAME ...] [--recipe NAME ...]
                                               [--cache FOLDER] [--anew]

The networks are those of tests/gallery.py, untrained; inputs are drawn images, or noise for what
takes none, with the network's own answers as labels.  Each cell is ``reticule compress`` with
training of seconds only, so that figures say that a recipe works, not how well.  What a recipe
cannot do is refused in one line (exit code 2).  ``error_percent`` is measured here, on inputs that
were not used.  Rows go to benchmarks/results/recipes_meet_networks.csv as they come.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coding.table import Table, own_version
from generated import sets
from generated.cache import FOLDER, original
from generated.command import Ran, called
from generated.measures import Answer, error_percent
from generated.side_by_side import each
from numpy.typing import NDArray

import reticule
from reticule.engine import Model
from reticule.recipes import recipe_names

sys.path.append(str(Path(__file__).parents[1] / "tests"))

KEY = ("network", "recipe")
COLUMNS = ("outcome", "line", "error_percent", "ratio", "ratio_file", "seconds")
IMAGES, UNSEEN = 240, 64
MINUTES = "0.03"


@dataclass(frozen=True)
class Cell:
    """One recipe on one network of the gallery, kept in a folder."""

    network: str
    recipe: str
    folder: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The network, its data, and the file to be made."""
        base = self.folder / "gallery" / self.network
        ret = base.with_name(f"{self.network}-{self.recipe}.ret")
        return base.with_suffix(".onnx"), base.with_suffix(".npz"), ret


def prepare(cell: Cell) -> None:
    """Write a network of the gallery and labelled inputs for it."""
    from gallery import GALLERY

    path, data, _ = cell.files
    path.parent.mkdir(parents=True, exist_ok=True)
    reticule.to_onnx(reticule.from_torch(*GALLERY[cell.network]()), path)
    model = original(path)
    labels = _answers(model, IMAGES, 1)[0].reshape(IMAGES, -1).argmax(1)
    inputs = _inputs(model.input_shape, IMAGES, 1)
    if inputs.dtype == np.uint8:
        np.savez(data, images=inputs, labels=labels)
    else:
        np.savez(data, **{next(iter(model.graph.inputs)): inputs}, labels=labels)


def measure(cell: Cell) -> dict[str, object]:
    """The columns of a cell's row."""
    path, data, ret = cell.files
    ret.unlink(missing_ok=True)
    ran = called(
        "compress", str(path), "-o", str(ret), "--recipe", cell.recipe, "--train", str(data),
        "--minutes", MINUTES, "--seed", "0",
    )  # fmt: skip
    found = dict.fromkeys(COLUMNS, "") | {"outcome": _outcome(ran), "seconds": ran.seconds}
    if not ret.exists():
        return found | {"line": ran.line[:200]}
    unseen = [_answers(model, UNSEEN, 2) for model in (reticule.load(ret), original(path))]
    figures = {name: ran.figures[name] for name in ("ratio", "ratio_file")}
    return found | figures | {"error_percent": error_percent(*unseen)}


def _outcome(ran: Ran) -> str:
    if ran.code == 2 and ran.lines != 1:
        return f"refused in {ran.lines} lines"
    return ran.outcome


def _answers(model: Model, count: int, seed: int) -> Answer:
    inputs = _inputs(model.input_shape, count, seed)
    given = inputs.astype(np.float32)
    answer = model(given / np.float32(255) if inputs.dtype == np.uint8 else given)
    return answer if isinstance(answer, tuple) else (answer,)


def _inputs(shape: tuple[int, ...], count: int, seed: int) -> NDArray[np.uint8 | np.float32]:
    """Drawn images for a network that takes some, as uint8; else noise, as float32."""
    if len(shape) != 3:
        return np.random.default_rng(seed).standard_normal((count, *shape), np.float32)
    kind = sets.Kind((0.45, 0.8), 0.08, height=shape[1], width=shape[2])
    images = sets.classified(count, seed, kind).images
    return images[:, np.arange(shape[0]) % 3]


def arguments(networks: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=networks, action="append", help="all, if left out")
    parser.add_argument("--recipe", choices=recipe_names(), action="append")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--anew", action="store_true", help="also what was measured before")
    return parser.parse_args()


def main() -> None:
    from gallery import GALLERY

    given = arguments(list(GALLERY))
    table = Table("recipes_meet_networks", KEY, COLUMNS)
    recipes = given.recipe or [name for name in recipe_names() if name != "recode"]
    todo = []
    for network in given.network or GALLERY:
        cells = [Cell(network, recipe, given.cache) for recipe in recipes]
        cells = [c for c in cells if given.anew or (c.network, c.recipe) not in table.rows]
        if cells:
            prepare(cells[0])
        todo += cells
    for cell, row in each(measure, todo):
        table.put(cell.network, cell.recipe, version=own_version(), **row)


if __name__ == "__main__":
    main()
