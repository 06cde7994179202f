"""Deep Compression on real networks: size, accuracy, time, and agreement with ONNX Runtime.

    python benchmarks/deep_compression.py ../shared [lenet300100 lenet5 resnet20]

For each network: ``reticule compress`` with the default recipe and seed 0; ``reticule eval``
of the file in a fresh process in which torch cannot be imported; ``reticule export``; and the
exported file in ONNX Runtime on all test images, against the engine on the ``.ret`` file.
Writes ``benchmarks/results/deep_compression.csv``, one row for each network, as they come.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import reticule

RESULTS = Path(__file__).parent / "results" / "deep_compression.csv"
CIFAR = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
NETWORKS = {
    "lenet300100": ("mnist", ["--scale", "256"]),
    "lenet5": ("mnist", ["--scale", "256"]),
    "resnet20": ("cifar10", CIFAR),
    "resnet44": ("cifar10", CIFAR),
}
WITHOUT_TORCH = """\
import sys
sys.modules["torch"] = None
from reticule.cli import main
main()
"""


def reticule_json(*arguments: str, without_torch: bool = False) -> dict:
    """The JSON object that a command ends with; what it says meanwhile goes to the terminal."""
    start = ["-c", WITHOUT_TORCH] if without_torch else ["-m", "reticule"]
    done = subprocess.run(
        [sys.executable, *start, *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def agreement(ret: Path, onnx: Path, data: reticule.Data) -> tuple[float, float]:
    """Top-1 agreement in percent, and the largest logit difference over the largest logit."""
    model = reticule.load(ret)
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    same, worst, largest = 0, 0.0, 0.0
    for images, _ in data.batches(250):
        ours, theirs = model(images), session.run(None, {name: images})[0]
        same += int((ours.argmax(1) == theirs.argmax(1)).sum())
        worst = max(worst, float(np.abs(ours - theirs).max()))
        largest = max(largest, float(np.abs(theirs).max()))
    return 100.0 * same / len(data), worst / largest


def measure(name: str, shared: Path, folder: Path) -> dict[str, object]:
    """One row of the table."""
    dataset, flags = NETWORKS[name]
    train, test = (str(shared / "data" / dataset / f"{part}.parquet") for part in ("train", "test"))
    ret, onnx = folder / f"{name}.ret", folder / f"{name}.onnx"
    start = time.monotonic()
    figures = reticule_json(
        "compress", str(shared / "models" / f"{name}.onnx"), "-o", str(ret),
        "--recipe", "deep-compression", "--train", train, "--test", test, "--seed", "0", *flags,
    )  # fmt: skip
    minutes = (time.monotonic() - start) / 60
    evaluated = reticule_json("eval", str(ret), "--data", test, without_torch=True)
    subprocess.run(
        [sys.executable, "-m", "reticule", "export", str(ret), "-o", str(onnx)], check=True
    )
    model = reticule.load(ret)
    data = reticule.Data(test).with_preprocessing(model.about.preprocessing)
    same, difference = agreement(ret, onnx, data)
    return {
        "network": name,
        "recipe": figures["recipe"],
        "bytes_original": figures["bytes_original"],
        "bytes_weights": figures["bytes_weights"],
        "bytes_file": figures["bytes_file"],
        "ratio": figures["ratio"],
        "ratio_file": figures["ratio_file"],
        "accuracy_before": figures["accuracy_before"],
        "accuracy_after": figures["accuracy_after"],
        "drop_points": figures["drop_points"],
        "accuracy_eval_without_torch": evaluated["accuracy"],
        "same_top1_as_onnxruntime_percent": same,
        "largest_logit_difference": f"{difference:.1e}",
        "minutes": round(minutes, 2),
    }


def main() -> None:
    shared = Path(sys.argv[1])
    names = sys.argv[2:] or ["lenet300100", "lenet5", "resnet20"]
    rows = {}
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            rows = {row["network"]: row for row in csv.DictReader(file)}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(name, shared, Path(folder))
        print(rows[name], flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[name]))
            writer.writeheader()
            writer.writerows(rows.values())


if __name__ == "__main__":
    main()
