"""What network science says about trained networks, measured.

    python benchmarks/science.py planted          # block models on planted blocks, and others
    python benchmarks/science.py scale            # the same at the size of AlexNet's layers
    python benchmarks/science.py planted --graspologic graspenv/bin/python   # only this rival
    python benchmarks/science.py masks FILE.ret   # pruned networks: what blocks know of the masks
    python benchmarks/science.py orders FILE.ret  # pruned networks: what orders of units save
    python benchmarks/science.py neurons ../shared   # accuracy against neurons kept
    python benchmarks/science.py submodularity ../shared   # do gains shrink as sets grow?
    python benchmarks/science.py density ../shared   # each layer's density by what it needs
    python benchmarks/science.py embeddings ../shared   # layers from embeddings, beside SVD
    python benchmarks/science.py analyses ../shared   # reticule analyze on trained networks
    python benchmarks/science.py predictors ../shared   # measures against what compression reached

Others are scikit-learn, sparsebm where it is installed, and graspologic in an environment of its
own (rivals/grasp.py says how to make it).  They are told the number of blocks, graspologic is also
asked to find it, and all are stopped after ten minutes.  With ``--graspologic``, ``planted`` and
``scale`` measure nothing else.  Rows go to benchmarks/results/science_*.csv as they come, and
tables into docs/science-benchmark.md; ``page`` only writes those.  ``predictors`` takes the files
that ``benchmarks/methods.py --minutes-per-cell 1`` left in benchmarks/files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from channels import COLUMNS as CHANNELS
from coding.table import Table, own_version
from network_science import (
    analyses,
    density,
    embeddings,
    masks,
    neurons,
    orders,
    page,
    planted,
    predictors,
    submodularity,
)

FITS = (
    "blocks_rows", "blocks_columns", "rand_rows", "rand_columns", "bits", "bits_planted",
    "seconds", "gib", "problem",
)  # fmt: skip


def put(table: Table, *key: object, **values: object) -> None:
    missing = set(table.columns) - set(table.key) - set(values) - {"version", "command"}
    table.put(*key, version=own_version(), **values, **dict.fromkeys(missing, ""))


TABLES = {
    "channels": Table("channels", ("network",), CHANNELS),
    "science_planted": Table("science_planted", ("case", "model", "seed"), FITS),
    "science_scale": Table("science_scale", ("model",), FITS),
    "science_masks": Table(
        "science_masks", ("file", "layer", "edges_are"), ("rows", "columns", "edges", *masks.MODELS)
    ),
    "science_orders": Table("science_orders", ("file", "orders", "seed"), orders.COLUMNS),
    "science_neurons": Table(
        "science_neurons",
        ("network", "kept", "selection", "refit", "seed"),
        ("before", "after", "lost", "macs", "seconds"),
    ),
    "science_submodularity": Table(
        "science_submodularity", ("network", "layer", "function"), submodularity.COLUMNS
    ),
    "science_density": Table("science_density", ("network", "way", "density"), density.COLUMNS),
    "science_embeddings": Table(
        "science_embeddings", ("network", "layer", "kind"), embeddings.COLUMNS
    ),
    "science_analyses": Table("science_analyses", ("network", "kind", "name"), analyses.COLUMNS),
    "science_predictors": Table(
        "science_predictors",
        ("measure", "outcome"),
        ("layers", "rho", "p", "partial_rho", "partial_p"),
    ),
}


def of_planted(seeds: int, again: bool, graspologic: str | None) -> None:
    table = TABLES["science_planted"]
    for case, family in planted.CASES.items():
        for model, measure in ways(family, graspologic).items():
            for seed in range(seeds):
                if (case, model, str(seed)) in table.rows and not again:
                    continue
                row = measure(*planted.planted(case, seed), family, planted.LIMIT)
                put(table, case, model, seed, **row)


def of_scale(graspologic: str | None) -> None:
    matrix, z, w = planted.large()
    for model, measure in ways("bernoulli", graspologic).items():
        row = measure(matrix, z, w, "bernoulli", planted.LIMIT)
        put(TABLES["science_scale"], model, **row)


def ways(family: str, graspologic: str | None) -> dict[str, Callable[..., dict[str, object]]]:
    """Who finds blocks, and how that is measured."""
    if graspologic is not None:
        return {
            model: partial(planted.by_graspologic, graspologic, find)
            for model, find in planted.FOUND_BY_GRASPOLOGIC.items()
        }
    return {
        model: partial(planted.measured, fit)
        for model, fit in planted.RIVALS.items()
        if model != "sparsebm" or family == "bernoulli"
    }


def of_masks(files: list[Path]) -> None:
    table = TABLES["science_masks"]
    for path in files:
        for layer, mask, weights in masks.masks(path):
            size = {"rows": mask.shape[0], "columns": mask.shape[1], "edges": int(mask.sum())}
            bits = masks.bits(mask, weights)
            put(table, path.stem, layer, "as pruned", **size, **bits)
            bits = masks.bits(masks.shuffled(mask), None)
            put(table, path.stem, layer, "shuffled", **size, **bits)


def of_orders(files: list[Path], seeds: int) -> None:
    for path in files:
        for key, row in orders.rows(path, seeds):
            put(TABLES["science_orders"], *key, **row)


def of_neurons(shared: Path, seeds: int) -> None:
    for rows in (neurons.lenet(shared, seeds), neurons.resnet(shared)):
        for row, values in rows:
            put(TABLES["science_neurons"], *row, **values)


def of_submodularity(shared: Path) -> None:
    for row, values in submodularity.rows(shared):
        put(TABLES["science_submodularity"], *row, **values)


def of_density(shared: Path) -> None:
    for row, values in density.rows(shared):
        put(TABLES["science_density"], *row, **values)


def of_embeddings(shared: Path) -> None:
    for rows in (embeddings.errors(shared), embeddings.at_equal_rank(shared)):
        for key, row in rows:
            put(TABLES["science_embeddings"], *key, **row)


def of_analyses(shared: Path) -> None:
    for network in analyses.NETWORKS:
        for kind, name, values in analyses.analysed(shared, network):
            put(TABLES["science_analyses"], network, kind, name, **values)


def of_predictors(shared: Path) -> None:
    found = list(predictors.layers(shared, Path(__file__).parent / "files"))
    for measure, outcome, row in predictors.correlations(found):
        put(TABLES["science_predictors"], measure, outcome, **row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = (
        "planted",
        "scale",
        "masks",
        "orders",
        "neurons",
        "submodularity",
        "density",
        "embeddings",
        "analyses",
        "predictors",
        "page",
    )
    parser.add_argument("part", choices=parts)
    parser.add_argument("files", type=Path, nargs="*", help="files, or SHARED")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    parser.add_argument("--graspologic", metavar="PYTHON", help="interpreter that has graspologic")
    given = parser.parse_args()
    if given.part == "planted":
        of_planted(given.seeds, given.again, given.graspologic)
    elif given.part == "scale":
        of_scale(given.graspologic)
    elif given.part == "neurons":
        of_neurons(given.files[0], min(given.seeds, 5))
    elif given.part == "submodularity":
        of_submodularity(given.files[0])
    elif given.part == "density":
        of_density(given.files[0])
    elif given.part == "embeddings":
        of_embeddings(given.files[0])
    elif given.part == "analyses":
        of_analyses(given.files[0])
    elif given.part == "predictors":
        of_predictors(given.files[0])
    elif given.part == "masks":
        of_masks(given.files)
    elif given.part == "orders":
        of_orders(given.files, given.seeds)
    page.write(TABLES)


if __name__ == "__main__":
    main()
