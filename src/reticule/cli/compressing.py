"""``reticule compress``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reticule import tables
from reticule.budget import Budget
from reticule.cli import options
from reticule.cli.opening import is_known, note_assumed, open_model, preprocessing_of
from reticule.cli.output import note, present
from reticule.codec import DEFAULT_PRESET, PRESETS, check_preset
from reticule.data import Data
from reticule.errors import ReticuleError
from reticule.progress import Terminal, duration
from reticule.recipes import recipe_text

if TYPE_CHECKING:
    from reticule.result import Result

BUDGET_NOT_MET = 1


def compress(
    model: options.Model,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.ret", help="To write.")],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.yaml",
            help="See 'reticule recipes'.  [default: deep-compression; for a .net file, recode]",
        ),
    ] = "",
    train: Annotated[
        Path | None, typer.Option(metavar="DATA", help=f"To retrain on. {options.DATA}")
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="To decide on. [default: a tenth of --train]"),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(metavar="DATA", help="To report on; decides nothing.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Points of accuracy that may be lost.")
    ] = None,
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT", help="Error of the answers, beside the original's, that may be made."
        ),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Bytes that the file may have.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="M", help="About what training may take. [default: by the network]"),
    ] = None,
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
    preset: Annotated[
        str,
        typer.Option(
            metavar="|".join(PRESETS),
            help="The entropy coder: fewest bytes (small), or faster to open.",
        ),
    ] = DEFAULT_PRESET,
    provenance: Annotated[
        bool,
        typer.Option(
            "--provenance/--no-provenance",
            help="Whether the file keeps recipe, seed and accuracy; a tiny one may not want to.",
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option(min=0, help="The same command and seed give the same file.")
    ] = 0,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="Where training runs.")
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run of this command.")
    ] = False,
    anyway: options.Anyway = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a report as well.")
    ] = None,
    json: options.Json = False,
) -> int:
    """Compress a network into a .ret file and measure the decoded file.

    Exit code 1 means that the file was written, but keeps less than was asked for (--max-drop,
    --max-error, --max-bytes), or that a stage was undone as it destroyed the network.
    """
    _check_places(output, report)
    Budget(max_drop, max_error, max_bytes, minutes).check()
    check_preset(preset)
    recipe = recipe or ("recode" if model.endswith(".net") else "deep-compression")
    recipe_text(recipe)
    sizes = dict(resize=resize, crop=crop, interpolation=interpolation, background=background)
    told = preprocessing_of(scale, mean, std, None, **sizes)
    given = {
        name: Data(path, role=name, skip_bad=skip_bad).with_preprocessing(told)
        for name, path in _named(train, val, test)
        if path
    }
    opened = open_model(model, input_shape, next(iter(given.values()), None), like)
    stored = opened.about.preprocessing
    prepare = preprocessing_of(scale, mean, std, stored, **sizes)
    known = is_known(scale, mean, std, stored) or any(sizes.values())
    shown = any(images.holds_images for images in given.values())
    data = {name: images.with_preprocessing(prepare) for name, images in given.items()}
    from reticule.compression import compress as compress_network

    journal = _journal(output, resume)
    result = compress_network(
        opened.packed,
        train=data.get("train"),
        val=data.get("val"),
        test=data.get("test"),
        recipe=recipe,
        max_drop=max_drop,
        max_error=max_error,
        max_bytes=max_bytes,
        minutes=minutes,
        seed=seed,
        device=device,
        preprocessing=prepare if known or shown else None,
        labels=opened.about.labels,
        preset=preset,
        provenance=provenance,
        progress=Terminal(),
        output=output,
        journal=journal,
        resume=resume,
        anyway=anyway,
    )
    if data:
        note_assumed(known or not shown, model)
    if report:
        result.report(report)
    present(result.to_json(), lambda: summary(result, output, report), json)
    return BUDGET_NOT_MET if result.budget_met is False or result.undone else 0


def _named(
    train: Path | None, val: Path | None, test: Path | None
) -> tuple[tuple[str, Path | None], ...]:
    return ("train", train), ("val", val), ("test", test)


def _check_places(output: Path, report: Path | None) -> None:
    """What can be known about the files to write before hours of work."""
    if output.suffix != ".ret":
        raise ReticuleError(f"{output}: the output's name must end in .ret")
    check_writable(output)
    if report:
        from reticule.report import check_available

        check_available()
        check_writable(report)


def check_writable(path: Path) -> None:
    """Raise ReticuleError if a file cannot be written there."""
    if path.is_dir():
        raise ReticuleError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise ReticuleError(f"{path}: the folder {path.parent} does not exist; make it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as problem:
        raise ReticuleError(f"{path}: cannot be written ({problem.strerror})") from None


def _journal(output: Path, resume: bool) -> Path:
    """The journal's folder; says what becomes of one that is there."""
    journal = output.with_name(f"{output.name}.journal")
    if resume and not journal.is_dir():
        note(f"{journal}: no interrupted run is there, starting from the beginning")
    return journal


def summary(result: Result, output: Path, report: Path | None) -> None:
    """The result for people."""
    with_accuracy = any(stage.accuracy is not None for stage in result.stages)
    columns = ("stage", *(("accuracy",) if with_accuracy else ()), "error", "weights", "time")
    rows = [
        (
            stage.name + (" (undone)" if stage.undone else ""),
            *((tables.percent(stage.accuracy),) if with_accuracy else ()),
            tables.percent(stage.error_percent),
            f"{stage.nonzero:,}",
            duration(stage.seconds),
        )
        for stage in result.stages
    ]
    tables.show(columns, rows)
    tables.show(
        ("", "before", "after", ""),
        [
            ("weights", tables.size(result.bytes_original), tables.size(result.bytes_weights),
             tables.ratio(result.ratio)),
            ("file", tables.size(result.bytes_original), tables.size(result.bytes_file),
             tables.ratio(result.ratio_file)),
            *_accuracy_row(result),
            ("error of the answers", "", tables.percent(result.error_percent), _inputs(result)),
        ],
    )  # fmt: skip
    parts = ", ".join(f"{name} {size:,}" for name, size in result.part_bytes.items() if size)
    print(f"{output}: {result.bytes_file:,} bytes ({parts})")
    if report:
        print(f"{report}: the report, for a browser")
    for name, reason in result.undone.items():
        print(f"stage '{name}' was undone, as it destroyed the network: {reason}")
    if result.budget_met is False:
        print(f"budget not met: {'; '.join(result.broken)}")


def _accuracy_row(result: Result) -> list[tuple[str, str, str, str]]:
    if result.drop_points is None:
        return []
    margin = tables.margin(result.accuracy_after, result.images)
    change = f"{-result.drop_points:+.2f} points, +- {margin:.2f}"
    before, after = (tables.percent(a) for a in (result.accuracy_before, result.accuracy_after))
    return [(f"accuracy on {_inputs(result)}", before, after, change)]


def _inputs(result: Result) -> str:
    """The inputs that figures belong to, in words."""
    kinds = {"test": "test", "val": "held-out", "generated": "generated"}
    return f"{result.images:,} {kinds[result.fidelity_on]} inputs"
