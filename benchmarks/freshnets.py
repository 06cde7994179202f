"""Hashing a ResNet: frequencies against taps, skewed budgets against equal ones.

    python benchmarks/freshnets.py ../shared [epochs] [rate]

The three ways to let ResNet-20's weights share a sixteenth as many values (``rate`` is 0.0625
unless it is given), each trained for 15 epochs from the same start by the same stages: hashed
taps, hashed frequencies with bands alike (alpha = beta = 1), and with more values for low bands
(the defaults).  Chen et al. (KDD 2016) found the order skewed, alike, taps.

Writes ``benchmarks/results/freshnets.csv``, a row for each as they come; a row that is there
with the same epochs and rate is not made again.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from reticule.recipes import recipe_text

RESULTS = Path(__file__).parent / "results" / "freshnets.csv"
FLAGS = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--seed", "0"]
VARIANTS: dict[str, dict[str, object]] = {
    "taps": {"method": "hashing"},
    "frequencies, bands alike": {"method": "frequency-hashing", "alpha": 1.0, "beta": 1.0},
    "frequencies, skewed": {"method": "frequency-hashing"},
}


def recipe(variant: str, epochs: float, rate: float) -> dict[str, object]:
    """The recipe ``freshnets``, but for the hashing stage and the number of epochs."""
    loaded = yaml.safe_load(recipe_text("freshnets"))
    for stage in loaded["stages"]:
        if stage["method"] == "frequency-hashing":
            kept = {"rate": rate, "init": stage["init"]}
            stage.clear()
            stage.update(VARIANTS[variant] | kept)
        elif stage["method"] == "retrain":
            stage["training"]["epochs"] = epochs
    return loaded


def measure(variant: str, shared: Path, epochs: float, rate: float) -> dict[str, object]:
    """One row: a file, evaluated in a fresh process."""
    data = shared / "data" / "cifar10"
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variant.yaml"
        path.write_text(yaml.safe_dump(recipe(variant, epochs, rate), sort_keys=False), "utf-8")
        done = subprocess.run(
            [
                sys.executable, "-m", "reticule", "compress", str(shared / "models/resnet20.onnx"),
                "-o", str(Path(folder) / "x.ret"), "--recipe", str(path),
                "--train", str(data / "train.parquet"), "--test", str(data / "test.parquet"),
                *FLAGS, "--json",
            ],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "network": "resnet20",
        "variant": variant,
        "rate": rate,
        "epochs": epochs,
        "bytes_weights": figures["bytes_weights"],
        "ratio": figures["ratio"],
        "accuracy_before": figures["accuracy_before"],
        "accuracy_after": figures["accuracy_after"],
        "minutes": round((time.monotonic() - start) / 60, 1),
    }


def main() -> None:
    shared = Path(sys.argv[1])
    epochs = float(sys.argv[2]) if len(sys.argv) > 2 else 15.0
    rate = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0625
    rows: list[dict[str, object]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for variant in VARIANTS:
        wanted = (variant, rate, epochs)
        made = [(r["variant"], float(str(r["rate"])), float(str(r["epochs"]))) for r in rows]
        if wanted in made:
            continue
        rows.append(measure(variant, shared, epochs, rate))
        print(rows[-1], flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
