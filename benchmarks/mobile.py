"""Networks for phones, their batch norms as they are: a budget of accuracy on a large test set.

    python benchmarks/mobile.py [NAME ...] [--max-drop POINTS] [--cache FOLDER] [--anew]

Small MobileNetV2-, MobileNetV3- and EfficientNet-like networks trained on drawn images, packed by
``post-training`` and by ``optimal-brain`` with 500 labelled images and the same budget, and tested
on 5,000 others.  Rows go to benchmarks/results/mobile.csv as they come.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from coding.table import Table, own_version
from generated.cache import CALIBRATION, FOLDER, TEST, TESTED, Cache
from generated.catalogue import MOBILE
from generated.command import run

RECIPES = ("post-training", "optimal-brain")
KEY = ("network", "recipe", "max_drop")
FIGURES = ("accuracy_before", "accuracy_after", "drop_points", "ratio", "ratio_file", "bytes_file")
COLUMNS = ("outcome", *FIGURES, "error_percent", "seconds")
IMAGES = 500


def measure(cache: Cache, name: str, recipe: str, max_drop: float) -> dict[str, object]:
    """The columns of a row; without figures, what was said instead."""
    path = cache.network(name)
    files = {
        part: cache.file_of(f"{name}-{part}", cache.images(name, count, seed), labelled=True)
        for part, count, seed in (("train", IMAGES, CALIBRATION), ("test", TESTED, TEST))
    }
    ran = run(
        "compress", str(path), "-o", str(cache.folder / f"{name}-{recipe}.ret"),
        "--recipe", recipe, "--train", str(files["train"]), "--test", str(files["test"]),
        "--max-drop", f"{max_drop:g}", "--seed", "0",
    )  # fmt: skip
    outcome = ran.outcome if ran.figures else f"{ran.outcome}: {ran.line}"[:160]
    figures = {name: ran.figures.get(name, "") for name in (*FIGURES, "error_percent")}
    return {"outcome": outcome, **figures, "seconds": ran.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(MOBILE)}")
    parser.add_argument("--max-drop", type=float, default=0.5, metavar="POINTS")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--anew", action="store_true", help="also what was measured before")
    given = parser.parse_args()
    table, cache = Table("mobile", KEY, COLUMNS), Cache(given.cache)
    for name in given.names or MOBILE:
        for recipe in RECIPES:
            key = (name, recipe, f"{given.max_drop:g}")
            if given.anew or key not in table.rows:
                made = measure(cache, name, recipe, given.max_drop)
                table.put(*key, version=own_version(), **made)


if __name__ == "__main__":
    main()
