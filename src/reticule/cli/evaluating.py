"""``reticule eval`` and ``reticule run``: a network at work, through the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from reticule import tables
from reticule.cli import options
from reticule.cli.opening import open_model, preprocessing_of
from reticule.cli.output import present
from reticule.data import Data
from reticule.data.pixels import decode, to_channels
from reticule.engine import Model
from reticule.errors import DataError, ModelError
from reticule.evaluation import evaluate as evaluate_model
from reticule.evaluation.accuracy import first_output


def evaluate(
    model: options.Model,
    data: Annotated[Path, typer.Option(metavar="DATA", help=options.DATA)],
    scale: options.Scale = None,
    mean: options.Mean = "",
    std: options.Std = "",
    input_shape: options.InputShape = "",
    like: options.Like = "",
    json: options.Json = False,
) -> None:
    """Measure the accuracy of what is on disk, its speed and its memory."""
    images = Data(data)
    opened = open_model(model, input_shape, images, like)
    prepare = preprocessing_of(scale, mean, std, opened.about.preprocessing)
    found = evaluate_model(Model(opened.packed, opened.about), images.with_preprocessing(prepare))
    rows = [("accuracy (top-1)", tables.percent(found.accuracy))]
    if found.top5 is not None:
        rows.append(("accuracy (top-5)", tables.percent(found.top5)))
    rows += [
        ("images", f"{found.n:,}"),
        ("time per image (batch 1, median)", f"{found.ms_per_image:.2f} ms"),
        ("peak memory of the process", f"{found.peak_rss_mib:.0f} MiB"),
    ]
    present(found.to_json(), lambda: tables.show(("", ""), rows), json)


def run(
    file: options.Ret,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to show for each.")] = 5,
    json: options.Json = False,
) -> None:
    """Show what the network sees in images: labels with probabilities."""
    model = Model.load(file)
    if len(model.input_shape) != 3:
        raise ModelError(f"{file}: takes inputs of shape {model.input_shape}, not images")
    answers = [_answer(model, path, top) for path in images]

    def text() -> None:
        for answer in answers:
            rows = [(entry["label"], f"{entry['probability']:.4f}") for entry in answer["top"]]
            tables.show((answer["image"], "probability"), rows)

    present({"images": answers}, text, json)


def _answer(model: Model, path: Path, top: int) -> dict[str, Any]:
    """The best classes for one image file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    channels, height, width = model.input_shape
    pixels = to_channels(decode(path, str(path)), channels, str(path))
    if pixels.shape[1:] != (height, width):
        raise DataError(
            f"{path}: is {pixels.shape[1]}x{pixels.shape[2]}, the network takes {height}x{width} "
            "(height x width); resize it first"
        )
    probabilities = _probabilities(model, first_output(model.predict_images(pixels[None]))[0])
    best = np.argsort(-probabilities, kind="stable")[:top]
    names = model.labels
    return {
        "image": str(path),
        "top": [
            {
                "label": names[i] if i < len(names) else str(i),
                "class": int(i),
                "probability": float(probabilities[i]),
            }
            for i in best
        ],
    }


def _probabilities(model: Model, logits: np.ndarray) -> np.ndarray:
    """Softmax of the logits, unless the network has done that itself."""
    if not np.isfinite(logits).all():
        raise ModelError("the network's answer is not finite; check the image and preprocessing")
    makers = {node.outputs[0]: node.op for node in model.graph.nodes}
    if makers.get(model.graph.outputs[0]) == "Softmax":
        return logits
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()
