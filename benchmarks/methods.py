"""The storage methods side by side: the table of the source deck, measured anew.

    python benchmarks/methods.py ../shared [--recipe NAME ...] [--network NAME ...]

The argument is a folder with models/NETWORK.onnx and data/mnist, data/cifar10 (parquet).  A cell
is a recipe on a network: ``reticule compress`` with seed 0, then ``reticule eval`` of the file in
a fresh process.  Settings are those of the recipe; ``--minutes-per-cell M`` gives each cell's
training about M minutes, otherwise it takes what the recipe takes.

Rows go to benchmarks/results/methods.csv as they come, with the budget that they used.  A cell
whose row is there is skipped (``--again`` measures it once more), one that was interrupted goes on
from its journal.  ``--page`` only writes docs/methods-benchmark.md from the rows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from coding.table import Table, own_version
from deep_compression import NETWORKS
from storage_methods import page
from storage_methods.cell import COLUMNS, cell

FILES = Path(__file__).parent / "files"
RECIPES = (
    "deep-compression", "dynamic-surgery", "soft-weight-sharing", "cnnpack", "frequency-pruning",
    "hashednet", "freshnets", "lapped", "wavelet", "binary", "binarized", "xnor-weights",
    "ternary", "ttq", "inq", "optimal-brain", "post-training", "lossless", "diversity",
    "block-pruning", "block-diagonal", "block-model", "embedding", "block-low-rank", "block-means",
)  # fmt: skip


def table() -> Table:
    return Table("methods", ("network", "recipe", "budget"), COLUMNS)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, nargs="?", help="folder with models/ and data/")
    parser.add_argument("--recipe", choices=RECIPES, action="append", help="all, if left out")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="the three smaller")
    parser.add_argument("--minutes-per-cell", type=float, metavar="M", help="of training")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if given.shared is None and not given.page:
        parser.error("name the folder with models/ and data/, or give --page")
    return given


def main() -> None:
    given = arguments()
    rows = table()
    if not given.page:
        budget = "recipe" if given.minutes_per_cell is None else f"{given.minutes_per_cell:g} min"
        for network in given.network or ("lenet300100", "lenet5", "resnet20"):
            for recipe in given.recipe or RECIPES:
                if (network, recipe, budget) in rows.rows and not given.again:
                    continue
                print(f"{network}, {recipe}", flush=True)
                try:
                    path = FILES / f"{network}-{recipe}.ret"
                    made = cell(given.shared, network, recipe, path, given.minutes_per_cell)
                except subprocess.CalledProcessError as problem:
                    print(f"{network}, {recipe}: exit code {problem.returncode}", file=sys.stderr)
                    continue
                rows.put(network, recipe, budget, version=own_version(), **made)
    page.write(rows, Table("variants", ("network", "recipe", "variant"), COLUMNS))


if __name__ == "__main__":
    main()
