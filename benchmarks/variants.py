"""Single settings of a recipe, one against another: does the method's own idea pay?

    python benchmarks/variants.py ../shared [STUDY ...]

The argument is a folder with models/*.onnx and data/cifar10, data/mnist (parquet).  A study takes
one recipe, changes some settings of its stages, and measures each variant as
benchmarks/methods.py measures the recipe itself: seed 0, a file that is decoded again, test
images read once.

* ``freshnets``: a sixteenth as many values as weights, trained for 15 epochs: hashed taps, hashed
  frequencies with bands alike (alpha = beta = 1), more values for low bands (the default).  Chen
  et al. (KDD 2016) found the order skewed, alike, taps.
* ``cnnpack``: frequencies against taps, shrunk alike and trained for 5 epochs.
* ``optimal-brain``: pruned without retraining, from 512 images without their labels.
* ``soft-weight-sharing``: LeNet-5 with a prior that weighs more.
* ``block-pruning``: blocks, with the density that makes the file as large as that of
  ``deep-compression`` (ResNet-20's is in deep_compression.csv).
* ``block-diagonal``: four parts.
* ``diversity``: a quarter of the multiplications gone, tuned, and nothing else.

Rows go to benchmarks/results/variants.csv as they come; those that are there are skipped
(``--again`` measures them once more).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from coding.table import Table, own_version
from storage_methods.cell import COLUMNS, cell

from reticule.recipes import recipe_text

FILES = Path(__file__).parent / "files"

Changes = Mapping[str, Mapping[str, Any] | None]
"""New settings for the stages of these methods; "method" among them replaces the method.

None takes the stage out.
"""


def _shrunk(transform: str, shrinkage: float) -> Changes:
    training = {"learning_rate": 0.001, "epochs": 3.5}
    return {
        "cnnpack": {"transform": transform, "shrinkage": shrinkage, "training": training},
        "retrain": {"training": {"learning_rate": 0.0003, "epochs": 1.5}},
    }


FIFTEEN = {"training": {"learning_rate": 0.003, "distil": 0.5, "temperature": 2.0, "epochs": 15}}


@dataclass(frozen=True)
class Variant:
    """A recipe with other settings for some of its stages, on a network."""

    name: str
    changes: Changes
    recipe: str = ""  # the study's name, if left out
    network: str = "resnet20"
    minutes: float | None = None  # of training; what the recipe takes, if left out


STUDIES: dict[str, list[Variant]] = {
    "freshnets": [
        Variant(
            "taps",
            {
                "frequency-hashing": {"method": "hashing", "alpha": None, "beta": None},
                "retrain": FIFTEEN,
            },
        ),
        Variant(
            "bands alike",
            {"frequency-hashing": {"alpha": 1.0, "beta": 1.0}, "retrain": FIFTEEN},
        ),
        Variant("skewed", {"retrain": FIFTEEN}),
    ],
    "cnnpack": [
        Variant("frequencies, 2.0", _shrunk("dct", 2.0)),
        Variant("taps, 1.8", _shrunk("none", 1.8)),
    ],
    "optimal-brain": [
        Variant(
            f"{zero} % zero",
            {"optimal-brain": {"density": 1 - zero / 100, "quantise": False}},
        )
        for zero in (60, 65, 70)
    ],
    "soft-weight-sharing": [
        Variant("tau 0.12", {"soft-weight-sharing": {"tau": 0.12}}, network="lenet5")
    ],
    "block-pruning": [
        Variant(
            "single weights",
            {"gradual-pruning": {"density": 0.046}},
            "deep-compression",
            "lenet300100",
        ),
        Variant("blocks of 4 x 4", {"block-pruning": {"density": 0.1}}, network="lenet300100"),
        Variant(
            "blocks of 4 x 1, 5 bits",
            {
                "block-pruning": {"density": 0.48, "scope": "layer", "lasso": 0.0, "columns": 1},
                "weight-sharing": {"conv_bits": 5, "linear_bits": 5},
            },
        ),
    ],
    "diversity": [
        Variant(
            "15 min of tuning, not quantised",
            {"retrain": {"share": 1.0}, "trellis-quantisation": None},
            minutes=15,
        )
    ],
    "block-diagonal": [Variant("4 parts", {}, network="lenet300100"), Variant("4 parts", {})],
}


def changed(recipe: str, changes: Changes) -> str:
    """A recipe of the package with other settings, as YAML; None takes a setting out."""
    loaded = yaml.safe_load(recipe_text(recipe))
    unused = dict(changes)
    for stage in list(loaded["stages"]):
        new = unused.pop(stage["method"], {})
        if new is None:
            loaded["stages"].remove(stage)
            continue
        stage |= new
        for name in [name for name, value in stage.items() if value is None]:
            del stage[name]
    if unused:
        raise ValueError(f"recipe {recipe} has no stage of {', '.join(unused)}")
    return yaml.safe_dump(loaded, sort_keys=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder with models/ and data/")
    parser.add_argument("study", nargs="*", choices=[*STUDIES, []], help="all, if left out")
    parser.add_argument("--again", action="store_true", help="also what was measured before")
    given = parser.parse_args()
    rows = Table("variants", ("network", "recipe", "variant"), COLUMNS)
    for study in given.study or STUDIES:
        for variant in STUDIES[study]:
            recipe = variant.recipe or study
            key = (variant.network, recipe, variant.name)
            if key in rows.rows and not given.again:
                continue
            with tempfile.TemporaryDirectory() as folder:
                settings = Path(folder) / "variant.yaml"
                settings.write_text(changed(recipe, variant.changes), "utf-8")
                path = FILES / "variants" / f"{'-'.join(key)}.ret".replace(" ", "")
                made = cell(given.shared, variant.network, str(settings), path, variant.minutes)
            rows.put(*key, version=own_version(), **made)


if __name__ == "__main__":
    main()
