"""Networks that are no classifiers: what a budget of error does to what they are for.

    python benchmarks/tasks.py [NAME ...] [--max-error PERCENT] [--cache FOLDER] [--anew]

Regressors of one and two values, labellers, segmenters and a detector with two outputs, trained on
drawn images, each packed by ``reticule compress --recipe post-training --train UNLABELLED
--max-error PERCENT``.  The decoded file's own measure on 5,000 test images stands beside that of
the original; its error there, computed here and by ``reticule eval --against``, beside that which
was printed.  Rows go to benchmarks/results/tasks.csv as they come.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from coding.table import Table, own_version
from generated.cache import CALIBRATION, FOLDER, TEST, TESTED, Cache, original
from generated.catalogue import PLANS, TASKS
from generated.command import run
from generated.measures import error_percent

import reticule

KEY = ("network", "max_error")
COLUMNS = (
    "outcome", "measure", "before", "after", "worse_percent", "error_printed", "error_test",
    "error_eval", "ratio", "ratio_file", "bytes_file", "seconds",
)  # fmt: skip
IMAGES = 512


def measure(cache: Cache, name: str, max_error: float) -> dict[str, object]:
    """The columns of a network's row; without a file, what was said instead."""
    path = cache.network(name)
    unlabelled = cache.file_of(
        f"{name}-unlabelled", cache.images(name, IMAGES, CALIBRATION), labelled=False
    )
    packed = cache.folder / f"{name}.ret"
    packed.unlink(missing_ok=True)
    ran = run(
        "compress", str(path), "-o", str(packed), "--recipe", "post-training",
        "--train", str(unlabelled), "--max-error", f"{max_error:g}", "--seed", "0",
    )  # fmt: skip
    empty = dict.fromkeys(COLUMNS, "")
    if not packed.exists():
        return {**empty, "outcome": f"{ran.outcome}: {ran.line}"[:160], "seconds": ran.seconds}
    task = PLANS[name].task
    before, wanted = cache.measured(name, original(path))
    after, ours = cache.measured(name, reticule.load(packed))
    worse = (after - before if task.lower else before - after) / before
    return {
        "outcome": ran.outcome,
        "measure": task.measure.__name__,
        "before": before,
        "after": after,
        "worse_percent": 100 * worse,
        "error_printed": ran.figures.get("error_percent", math.nan),
        "error_test": error_percent(ours, wanted),
        "error_eval": _said_by_eval(cache, name, packed, path),
        "ratio": ran.figures["ratio"],
        "ratio_file": ran.figures["ratio_file"],
        "bytes_file": ran.figures["bytes_file"],
        "seconds": ran.seconds,
    }


def _said_by_eval(cache: Cache, name: str, packed: Path, path: Path) -> float:
    test = cache.file_of(f"{name}-images", cache.images(name, TESTED, TEST), labelled=False)
    ran = run("eval", str(packed), "--against", str(path), "--data", str(test))
    return float(ran.figures.get("error_percent", math.nan))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of {', '.join(TASKS)}")
    parser.add_argument("--max-error", type=float, default=5.0, metavar="PERCENT")
    parser.add_argument("--cache", type=Path, default=FOLDER, metavar="FOLDER")
    parser.add_argument("--anew", action="store_true", help="also what was measured before")
    given = parser.parse_args()
    table, cache = Table("tasks", KEY, COLUMNS), Cache(given.cache)
    for name in given.names or TASKS:
        key = (name, f"{given.max_error:g}")
        if given.anew or key not in table.rows:
            table.put(*key, version=own_version(), **measure(cache, name, given.max_error))


if __name__ == "__main__":
    main()
