"""``reticule analyze``: a network as a complex network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reticule import tables
from reticule.cli import options
from reticule.cli.opening import (
    check_known,
    is_known,
    note_assumed,
    open_model,
    preprocessing_of,
)
from reticule.cli.output import note, present
from reticule.data import Data
from reticule.progress import Terminal
from reticule.report import check_available
from reticule.report.analysis import measure_rows, unit_figures, write_analysis
from reticule.science.analysis import Analysis, fitting, summary
from reticule.science.analysis import analyze as look_at


def analyze(
    model: options.Model,
    data: Annotated[Path | None, typer.Option(metavar="DATA", help=options.DATA)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.html", help="Write a page.")
    ] = None,
    before: Annotated[
        str,
        typer.Option(metavar="MODEL", help="What it was pruned from: its degrees and strengths."),
    ] = "",
    images: Annotated[int, typer.Option(min=1, help="How many images to judge removals on.")] = 200,
    times: Annotated[int, typer.Option(min=1, help="Random removals for each community.")] = 100,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    scale: options.Scale = None,
    mean: options.Mean = "",
    std: options.Std = "",
    resize: options.Resize = "",
    crop: options.Crop = "",
    interpolation: options.Interpolation = "",
    background: options.Background = "",
    skip_bad: options.SkipBad = False,
    input_shape: options.InputShape = "",
    like: options.Like = "",
    json: options.Json = False,
) -> None:
    """Look at the network as a complex network: communities, hubs, robustness."""
    if output is not None:
        check_available()
    sizes = dict(resize=resize, crop=crop, interpolation=interpolation, background=background)
    told = preprocessing_of(scale, mean, std, None, **sizes)
    pictures = Data(data, skip_bad=skip_bad).with_preprocessing(told) if data else None
    opened = open_model(model, input_shape, pictures, like)
    earlier = open_model(before, input_shape, pictures).packed if before else None
    remarks: tuple[str, ...] = ()
    stored = opened.about.preprocessing
    known = pictures is None or not pictures.holds_images or is_known(scale, mean, std, stored)
    if pictures is not None:
        check_known(known, opened)
        prepare = preprocessing_of(scale, mean, std, stored, **sizes)
        pictures = fitting(pictures.with_preprocessing(prepare), opened.packed, opened.about.labels)
        remarks = pictures.remarks
    found = look_at(
        opened.packed,
        pictures,
        before=earlier,
        images=images,
        times=times,
        seed=seed,
        progress=Terminal(),
    )
    for remark in remarks:
        note(remark)
    note_assumed(known, model)
    name = Path(model).name
    if output is not None:
        write_analysis(found, name, output)
        note(f"wrote {output}")
    present(found.to_json(), lambda: _show(found, name), json)


def _show(found: Analysis, name: str) -> None:
    tables.show(
        (
            "units of",
            "units",
            "degree",
            "largest",
            "strengths, Gini",
            "dead",
            "duplicates",
            "communities",
        ),
        [
            (
                group.name,
                *unit_figures(found, group),
                f"{group.dead}",
                f"{group.duplicates}",
                f"{group.communities}",
            )
            for group in found.groups
        ],
    )
    rows = [(row[0], *row[2:]) for row in measure_rows(found)]
    tables.show(("measure", name, "by chance", "z", "p"), rows)
    if found.removed:
        tables.show(
            ("without community", "units", "accuracy", "without others like them", "p"),
            [
                (
                    f"{each.community}",
                    f"{each.units}",
                    tables.percent(each.accuracy),
                    tables.percent(each.chance),
                    f"{each.p:.3f}",
                )
                for each in found.removed
            ],
        )
    if found.curves:
        shares = [f"{100 * share:.0f} %" for share, _ in next(iter(found.curves.values()))]
        tables.show(
            ("hidden units gone", *shares),
            [
                (name, *(f"{right:.0f}" for _, right in points))
                for name, points in found.curves.items()
            ],
        )
    for line in summary(found):
        print(line)
