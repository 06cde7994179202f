"""The page of the report: figures and tables of a result, put into the template."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import yaml

from reticule import tables
from reticule.errors import MissingExtra
from reticule.evaluation.fidelity import Fidelity
from reticule.files import write_whole
from reticule.layers import Layer, layers_of
from reticule.progress import duration
from reticule.records import StageRecord
from reticule.report import figures
from reticule.result import Result

_SHOWN_LAYERS = 4  # as maps and histograms
_SHOWN_NOTES = 200  # characters


def write_report(result: Result, path: str | os.PathLike[str]) -> None:
    """Write a report of a compressed network: self-contained HTML.

    Raises MissingExtra without ``jinja2`` and ``plotly``, ReticuleError where the file
    cannot be written.
    """
    write_whole(path, render(result).encode("utf-8"))


def check_available() -> None:
    """Raise MissingExtra if a package that reports need is not installed."""
    for package in ("jinja2", "plotly"):
        if find_spec(package) is None:
            raise MissingExtra("the HTML report", package, "report")


def render(result: Result) -> str:
    """The report as one string of HTML."""
    check_available()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    layers = layers_of(result.packed, result.tensor_bytes)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters.update(size=tables.size, percent=tables.percent, ratio=tables.ratio)
    return environment.from_string(text_of("page.html")).render(
        result=result,
        headline=_headline(result),
        inputs=inputs_of(result),
        fidelity=[_fidelity_row(each) for each in result.fidelity],
        stages=[_stage_row(stage) for stage in result.stages],
        layers=[_layer_row(layer, result.bytes_file) for layer in layers],
        around=result.bytes_file - result.bytes_weights,
        skipped=_skipped(result),
        recipe=yaml.safe_dump(result.recipe.to_json(), sort_keys=False, allow_unicode=True),
        figures=_figures(result, layers),
        style=Markup(text_of("page.css")),
        script=Markup(text_of("page.js")),
        plotly=Markup(get_plotlyjs()),
        as_json=lambda value: Markup(json_of(value)),
    )


def text_of(name: str) -> str:
    return (files("reticule.report") / name).read_text("utf-8")


def json_of(value: Any) -> str:
    """JSON that may stand inside a script element: no character of it can end that."""
    plain = json.dumps(value, allow_nan=False)
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _headline(result: Result) -> list[tuple[str, str, str]]:
    """The figures at the top: value, what it is, what it is compared with."""
    weights = sum(form.size for form in result.packed.forms.values())
    nonzero = sum(form.nonzero for form in result.packed.forms.values())
    tiles = [
        (
            tables.ratio(result.ratio),
            "smaller weights",
            f"{tables.size(result.bytes_original)} to {tables.size(result.bytes_weights)}",
        ),
        (
            tables.size(result.bytes_file),
            "the whole file",
            f"{tables.ratio(result.ratio_file)} smaller than the float32 weights",
        ),
    ]
    if result.drop_points is not None:
        tiles.append(
            (
                tables.percent(result.accuracy_after),
                f"accuracy on {inputs_of(result)}",
                f"{tables.percent(result.accuracy_before)} before, {-result.drop_points:+.2f} "
                f"points, +- {tables.margin(result.accuracy_after, result.images):.2f}",
            )
        )
    tiles.append(
        (
            tables.percent(result.error_percent),
            "error of the answers",
            f"beside the original's, on {inputs_of(result)}",
        )
    )
    tiles.append(
        (f"{100 * nonzero / max(weights, 1):.3g} %", "density", f"{nonzero:,} weights left")
    )
    return tiles


def inputs_of(result: Result) -> str:
    """The inputs that figures belong to, in words."""
    names = {"test": "test", "val": "held-out", "generated": "generated"}
    return f"{result.images:,} {names[result.fidelity_on]} inputs"


def _fidelity_row(each: Fidelity) -> dict[str, str]:
    agreement = "-" if each.agreement is None else tables.percent(each.agreement)
    return {
        "output": each.output,
        "error": f"{each.error_percent:.3g} %",
        "largest": f"{each.largest:.3g}",
        "snr": f"{each.snr_db:.1f} dB",
        "agreement": agreement,
    }


def _stage_row(stage: StageRecord) -> dict[str, str]:
    notes = [f"{key}: {_value(value)}" for key, value in stage.notes.items() if _is_plain(value)]
    return {
        "name": stage.name,
        "accuracy": tables.percent(stage.accuracy),
        "error": tables.percent(stage.error_percent),
        "undone": stage.undone,
        "weights": f"{stage.nonzero:,}",
        "time": duration(stage.seconds),
        "notes": "; ".join(notes)[:_SHOWN_NOTES],
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float, bool)) or value is None


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _layer_row(layer: Layer, total: int) -> dict[str, str]:
    return {
        "name": layer.name,
        "op": layer.op,
        "form": layer.form,
        "shape": " x ".join(map(str, layer.shape)),
        "density": f"{100 * layer.density:.3g} %",
        "bits": f"{layer.bits_per_weight:.2f}",
        "bytes": f"{layer.bytes:,}",
        "share": f"{100 * layer.bytes / max(total, 1):.1f} %",
    }


def _skipped(result: Result) -> list[tuple[str, str, str]]:
    """Stage, reason, and the tensors that were left alone for it."""
    rows = []
    for stage in result.stages:
        by_reason: dict[str, list[str]] = {}
        for tensor, reason in stage.skipped.items():
            by_reason.setdefault(reason, []).append(tensor)
        rows += [(stage.name, reason, ", ".join(names)) for reason, names in by_reason.items()]
    return rows


def _figures(result: Result, layers: list[Layer]) -> dict[str, dict[str, Any]]:
    """Everything that is drawn, by the id of its place on the page."""
    drawn = {
        "stages": figures.stages(result.stages),
        "levels": figures.levels(result.stages),
        "bytes": figures.where_the_bytes_are(layers, result.bytes_file - result.bytes_weights),
    }
    largest = sorted(layers, key=lambda layer: -layer.weights)[:_SHOWN_LAYERS]
    for number, layer in enumerate(largest):
        form = result.packed.forms[layer.largest]
        drawn[f"map-{number}"] = figures.density_map(layer, form)
        drawn[f"values-{number}"] = figures.histogram(layer, form)
    return {name: figure for name, figure in drawn.items() if figure}
