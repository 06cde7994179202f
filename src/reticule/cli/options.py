"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reticule.data.geometry import INTERPOLATIONS

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="An .onnx, .ret or .net file, or file.py:function.")
]
Ret = Annotated[Path, typer.Argument(metavar="FILE.ret", help="A compressed network.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Scale = Annotated[
    float | None,
    typer.Option(help="Input = (pixel/scale - mean)/std.  [default: as stored, else 255]"),
]
Mean = Annotated[
    str,
    typer.Option(metavar="a,b,c", help="One for all channels or one each. [as stored, else 0]"),
]
Std = Annotated[
    str,
    typer.Option(metavar="a,b,c", help="One for all channels or one each. [as stored, else 1]"),
]
Resize = Annotated[
    str,
    typer.Option(metavar="N|H,W", help="Shorter side that images get, or both. [as stored]"),
]
Crop = Annotated[
    str, typer.Option(metavar="N|H,W", help="What is cut out of their centre. [as stored]")
]
Interpolation = Annotated[
    str, typer.Option(metavar="|".join(INTERPOLATIONS), help="[as stored, else bilinear]")
]
Background = Annotated[
    str,
    typer.Option(metavar="R,G,B", help="Behind transparent pixels. [as stored, else white]"),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Pass over images that cannot be used, and say so.")
]
InputShape = Annotated[
    str, typer.Option(metavar="C,H,W", help="Where the model leaves its input shape open.")
]
Like = Annotated[
    str, typer.Option(metavar="MODEL", help="The network that a .net file was made from.")
]
Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Go on where accuracy is no better than chance, or classes are unclear."
    ),
]
DATA = (
    "A parquet file, a folder with one sub-folder per class, or of images alone, an .npz, "
    "or an idx file pair."
)
