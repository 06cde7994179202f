"""Methods without retraining on common architectures, calibrated well and badly.

    python benchmarks/robustness.py [--network NAME ...] [--kind KIND ...] [--state STATE ...]
                                    [--recipe RECIPE ...] [--cache FOLDER] [--anew]

Each network is packed with inputs of each kind, as it is and with one layer made degenerate on
purpose.  The decoded file's signal-to-noise ratio on fresh inputs of the same kind stands beside
that of rounding to nearest in a file of the same size: ``difference_db`` is ours minus the better
of two ways to round.  Rows go to benchmarks/results/robustness.csv as they come; a cell whose row
is there is skipped, unless --anew is given.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from coding.table import Table, own_version
from generated.architectures import CLASSIFIERS
from generated.cache import FOLDER, Cache, answers
from generated.degenerate import STATES, in_state
from generated.inputs import KINDS, fresh, to_calibrate
from generated.measures import signal_to_noise
from generated.rounding import SCALES, rounded_to_size
from generated.shapes import Pixels
from generated.side_by_side import each

import reticule
from reticule.engine import Model
from reticule.forms import Packed
from reticule.graph import Network

NETWORKS = (*CLASSIFIERS, "radius", "mask", "detector", "autoencoder")
RECIPES = ("post-training", "optimal-brain")
KEY = ("network", "kind", "state", "recipe")
COLUMNS = (
    "outcome", "bytes_file", "ratio_file", "snr_db", "rounding_snr_db", "rounding",
    "difference_db", "seconds",
)  # fmt: skip
LEAST_DIFFERENCE = -0.2


@dataclass(frozen=True)
class Cell:
    """One network in one state, packed by one recipe with one kind of inputs."""

    network: str
    kind: str
    state: str
    recipe: str
    folder: Path

    @property
    def key(self) -> tuple[str, ...]:
        return self.network, self.kind, self.state, self.recipe


@cache
def imported(path: Path) -> Network:
    return reticule.from_onnx(path)


def measure(cell: Cell) -> dict[str, object]:
    """The columns of a cell's row; what goes wrong is its outcome."""
    empty = dict.fromkeys(COLUMNS, "")
    start = time.monotonic()
    network = in_state(imported(cell.folder / f"{cell.network}.onnx"), cell.state)
    try:
        made = _packed(network, to_calibrate(cell.kind, cell.network), cell.recipe)
    except Exception as problem:  # any is a row of the table
        text = " ".join(f"{type(problem).__name__}: {problem}".split())
        return {**empty, "outcome": text[:160], "seconds": time.monotonic() - start}
    seconds = time.monotonic() - start
    images = fresh(cell.kind, cell.network)
    wanted = answers(Model(Packed.of(network)), images)
    ours = signal_to_noise(answers(Model(made.packed), images), wanted)
    rounding, theirs = max(
        ((name, _rounded(network, made, name, images, wanted)) for name in SCALES),
        key=lambda pair: pair[1],
    )
    return {
        "outcome": "not a number" if math.isnan(ours) else "packed",
        "bytes_file": made.bytes_file,
        "ratio_file": made.ratio_file,
        "snr_db": ours,
        "rounding_snr_db": theirs,
        "rounding": rounding,
        "difference_db": ours - theirs,
        "seconds": seconds,
    }


def _packed(network: Network, images: Pixels, recipe: str) -> reticule.Result:
    data = reticule.Data((images, None))
    return reticule.compress(network, train=data, recipe=recipe, provenance=False)


def _rounded(
    network: Network, made: reticule.Result, scale: str, images: Pixels, wanted: tuple
) -> float:
    found = [
        signal_to_noise(answers(Model(packed), images), wanted)
        for packed in rounded_to_size(network, made.bytes_file, made.about, SCALES[scale])
    ]
    return float(np.median(np.nan_to_num(found, nan=-200.0)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, action="append", help="all, if left out")
    parser.add_argument("--kind", choices=KINDS, action="append", help="of inputs")
    parser.add_argument("--state", choices=STATES, action="append", help="of a layer")
    parser.add_argument("--recipe", choices=RECIPES, action="append")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--anew", action="store_true", help="also what was measured before")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    table = Table("robustness", KEY, COLUMNS)
    store = Cache(given.cache)
    networks = given.network or NETWORKS
    for name in networks:
        store.network(name)
    cells = [
        Cell(network, kind, state, recipe, given.cache)
        for state in given.state or STATES
        for network in networks
        for kind in given.kind or KINDS
        for recipe in given.recipe or RECIPES
    ]
    open_cells = [cell for cell in cells if given.anew or cell.key not in table.rows]
    for cell, row in each(measure, open_cells):
        table.put(*cell.key, version=own_version(), **row)
    _say([table.rows[cell.key] for cell in cells])


def _say(rows: list[dict[str, str]]) -> None:
    packed = [row for row in rows if row["outcome"] == "packed"]
    low = [row for row in packed if float(row["difference_db"]) < LEAST_DIFFERENCE]
    print(f"{len(rows)} cells: {len(rows) - len(packed)} failed, {len(low)} below rounding")


if __name__ == "__main__":
    main()
