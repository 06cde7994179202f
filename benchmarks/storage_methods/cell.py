"""One recipe on one network: a file, and what it is worth when a fresh process decodes it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from deep_compression import NETWORKS, reticule_json

import reticule
from reticule.codec import load
from reticule.forms import Packed

COLUMNS = (
    "bytes_original", "bytes_weights", "bytes_file", "weights", "index", "codebook", "bias",
    "header", "ratio", "ratio_file", "accuracy_before", "accuracy_after", "drop_points", "density",
    "values", "multiplications_before", "multiplications", "minutes",
)  # fmt: skip


def cell(
    shared: Path, network: str, recipe: str, path: Path, minutes: float | None
) -> dict[str, Any]:
    """What a recipe (its name, or a YAML file) makes of a network: the entries of COLUMNS.

    The file goes to ``path``; a run that was interrupted there goes on from its journal.
    """
    dataset, flags = NETWORKS[network]
    train, test = (str(shared / "data" / dataset / f"{part}.parquet") for part in ("train", "test"))
    path.parent.mkdir(parents=True, exist_ok=True)
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
        "density": nonzero(packed) / max(nonzero(original), 1),
        "values": distinct_values(packed),
        "multiplications_before": multiplications(original),
        "multiplications": multiplications(packed),
        "minutes": taken,
    }


def nonzero(packed: Packed) -> int:
    """Of the weights of convolutions and linear layers."""
    return sum(packed.forms[name].nonzero for _, name in packed.graph.weights())


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
