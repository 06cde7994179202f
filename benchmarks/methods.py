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
import time
from pathlib import Path
from typing import Any

from coding.table import Table, own_version
from deep_compression import NETWORKS, reticule_json
from storage_methods import page

import reticule
from reticule.codec import load
from reticule.forms import Packed

FILES = Path(__file__).parent / "files"
RECIPES = (
    "deep-compression", "dynamic-surgery", "soft-weight-sharing", "cnnpack", "frequency-pruning",
    "hashednet", "freshnets", "lapped", "wavelet", "binary", "binarized", "xnor-weights",
    "ternary", "ttq", "inq", "optimal-brain", "post-training", "lossless",
)  # fmt: skip
COLUMNS = (
    "bytes_original", "bytes_weights", "bytes_file", "weights", "index", "codebook", "bias",
    "header", "ratio", "ratio_file", "accuracy_before", "accuracy_after", "drop_points", "density",
    "values", "multiplications_before", "multiplications", "minutes",
)  # fmt: skip


def table() -> Table:
    return Table("methods", ("network", "recipe", "budget"), COLUMNS)


def cell(shared: Path, network: str, recipe: str, minutes: float | None) -> dict[str, Any]:
    """What one recipe makes of one network."""
    dataset, flags = NETWORKS[network]
    train, test = (str(shared / "data" / dataset / f"{part}.parquet") for part in ("train", "test"))
    FILES.mkdir(exist_ok=True)
    path = FILES / f"{network}-{recipe}.ret"
    budget = [] if minutes is None else ["--minutes", f"{minutes:g}"]
    start = time.monotonic()
    made = reticule_json(
        "compress", str(shared / "models" / f"{network}.onnx"), "-o", str(path), "--resume",
        "--recipe", recipe, "--train", train, "--test", test, "--seed", "0", *budget, *flags,
    )  # fmt: skip
    taken = (time.monotonic() - start) / 60
    evaluated = reticule_json("eval", str(path), "--data", test, without_torch=True)
    if evaluated["accuracy"] != made["accuracy_after"]:
        raise SystemExit(f"{path}: {evaluated['accuracy']} % when decoded again")
    packed = load(path).packed
    original = Packed.of(reticule.from_onnx(shared / "models" / f"{network}.onnx"))
    return {
        **{name: made[name] for name in COLUMNS if name in made},
        **made["part_bytes"],
        "density": density(packed),
        "values": distinct_values(packed),
        "multiplications_before": multiplications(original),
        "multiplications": multiplications(packed),
        "minutes": taken,
    }


def density(packed: Packed) -> float:
    forms = [packed.forms[name] for _, name in packed.graph.weights()]
    return sum(form.nonzero for form in forms) / max(sum(form.size for form in forms), 1)


def distinct_values(packed: Packed) -> int:
    """The most different values of a layer's weights."""
    layers = (packed.forms[name].dense().ravel() for _, name in packed.graph.weights())
    return max(len(set(layer.tolist())) for layer in layers)


def multiplications(packed: Packed) -> int:
    """For one image, as the forms count them."""
    total, dense = 0, packed.graph.macs()
    for node, name in packed.graph.weights():
        form, settings = packed.forms[name], node.settings
        groups = settings["group"] if node.op == "Conv" else 1
        total += dense[node.name] * form.multiplications(groups) // max(form.size, 1)
    return total


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
                    made = cell(given.shared, network, recipe, given.minutes_per_cell)
                except subprocess.CalledProcessError as problem:
                    print(f"{network}, {recipe}: exit code {problem.returncode}", file=sys.stderr)
                    continue
                rows.put(network, recipe, budget, version=own_version(), **made)
    page.write(rows)


if __name__ == "__main__":
    main()
