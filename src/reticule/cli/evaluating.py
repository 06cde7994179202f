"""``reticule eval`` and ``reticule run``: a network at work, through the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from reticule import tables
from reticule.cli import options
from reticule.cli.opening import (
    check_known,
    is_known,
    note_assumed,
    open_model,
    preprocessing_of,
    stored_network,
)
from reticule.cli.output import note, present
from reticule.data import Data, Preprocessing
from reticule.data.fitting import check_image
from reticule.data.pixels import decode, to_channels
from reticule.engine import Model
from reticule.errors import DataError, ModelError
from reticule.evaluation.accuracy import (
    Evaluation,
    check_alike,
    check_classified,
    first_output,
)
from reticule.evaluation.accuracy import run as run_through
from reticule.evaluation.generated import generated_inputs
from reticule.evaluation.inputs import Arrays
from reticule.evaluation.plausible import check_above_chance
from reticule.evaluation.task import classes_of

GENERATED = 64  # inputs, where none are given


def evaluate(
    model: options.Model,
    data: Annotated[Path | None, typer.Option(metavar="DATA", help=options.DATA)] = None,
    against: Annotated[
        str,
        typer.Option(
            metavar="ORIGINAL",
            help="A network to compare answers with, labels or not; without --data on "
            "generated inputs.",
        ),
    ] = "",
    scale: options.Scale = None,
    mean: options.Mean = "",
    std: options.Std = "",
    resize: options.Resize = "",
    crop: options.Crop = "",
    interpolation: options.Interpolation = "",
    background: options.Background = "",
    skip_bad: options.SkipBad = False,
    anyway: options.Anyway = False,
    input_shape: options.InputShape = "",
    like: options.Like = "",
    json: options.Json = False,
) -> None:
    """Measure the accuracy of what is on disk, or how near it is to the original; its speed."""
    if data is None and not against:
        raise DataError("give --data to measure accuracy on, or --against to compare answers")
    sizes = dict(resize=resize, crop=crop, interpolation=interpolation, background=background)
    told = preprocessing_of(scale, mean, std, None, **sizes)
    images = None if data is None else Data(data, skip_bad=skip_bad).with_preprocessing(told)
    opened = open_model(model, input_shape, images, like)
    network = Model(opened.packed, opened.about)
    other = None
    if against:
        other = Model(open_model(against, input_shape, images).packed)
        check_alike(network, other)
    stored = opened.about.preprocessing
    prepare = preprocessing_of(scale, mean, std, stored, **sizes)
    if images is None:
        note(f"no --data: compared on {GENERATED} generated inputs, which are unlike real ones")
        made = generated_inputs(network.graph.inputs, GENERATED, 0, stored and prepare)
        _show(run_through(network, Arrays(made), other), json)
        return
    known = is_known(scale, mean, std, stored) or not images.holds_images
    check_known(known, opened)
    classes = classes_of(network.graph)
    images = images.with_preprocessing(prepare).fitted(
        network.graph.inputs, classes or None, network.labels, anyway=anyway
    )
    if other is None:
        check_classified(network, images)
    found = run_through(network, images, other)
    if found.accuracy is not None and not anyway:
        check_above_chance(found.accuracy, classes, images, images.name)
    for remark in images.remarks:
        note(remark)
    note_assumed(known, model)
    _show(found, json)


def _show(found: Evaluation, json: bool) -> None:
    rows = []
    if found.accuracy is not None:
        margin = tables.margin(found.accuracy, found.n)
        rows.append(("accuracy (top-1)", f"{tables.percent(found.accuracy)} +- {margin:.2f}"))
    if found.top5 is not None:
        rows.append(("accuracy (top-5)", tables.percent(found.top5)))
    for each in found.fidelity:
        figures = [f"error {each.error_percent:.3g} %", f"largest difference {each.largest:.3g}"]
        figures.append(f"{each.snr_db:.1f} dB")
        if each.agreement is not None:
            figures.append(f"arg-max agrees in {each.agreement:.2f} %")
        rows.append((f"output {each.output}", ", ".join(figures)))
    rows += [
        ("inputs", f"{found.n:,}"),
        ("time per image (batch 1, median)", f"{found.ms_per_image:.2f} ms"),
        ("peak memory of the process", f"{found.peak_rss_mib:.0f} MiB"),
    ]
    present(found.to_json(), lambda: tables.show(("", ""), rows), json)


def run(
    file: options.Ret,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to show for each.")] = 5,
    scale: options.Scale = None,
    mean: options.Mean = "",
    std: options.Std = "",
    resize: options.Resize = "",
    crop: options.Crop = "",
    interpolation: options.Interpolation = "",
    background: options.Background = "",
    json: options.Json = False,
) -> None:
    """Show what the network sees in images: labels with probabilities."""
    opened = stored_network(file)
    stored = opened.about.preprocessing
    sizes = dict(resize=resize, crop=crop, interpolation=interpolation, background=background)
    check_known(is_known(scale, mean, std, stored), opened)
    prepare = preprocessing_of(scale, mean, std, stored, **sizes)
    model = Model(opened.packed, replace(opened.about, preprocessing=prepare))
    if len(model.graph.inputs) != 1 or len(model.input_shape) != 3:
        raise ModelError(f"{file}: takes inputs of shape {model.input_shape}, not images")
    answers = [_answer(model, prepare, path, top) for path in images]

    def text() -> None:
        for answer in answers:
            rows = [(entry["label"], f"{entry['probability']:.4f}") for entry in answer["top"]]
            tables.show((answer["image"], "probability"), rows)

    present({"images": answers}, text, json)


def _answer(model: Model, prepare: Preprocessing, path: Path, top: int) -> dict[str, Any]:
    """The best classes for one image file."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    channels, height, width = model.input_shape
    pixels = prepare.resized(decode(path, str(path), prepare.background), str(path))
    check_image(pixels.shape, (channels, height, width), str(path), prepare.geometry.changes)
    pixels = to_channels(pixels, channels, str(path))
    logits = first_output(model(prepare.apply(pixels[None])))[0]
    probabilities = _probabilities(model, logits)
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
