"""``reticule demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reticule.cli import options
from reticule.cli.output import present
from reticule.progress import Terminal


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the files go.")] = Path("demo"),
    json: options.Json = False,
) -> None:
    """Train a small network, compress it, and show what that did.

    Uses the handwritten digits that come with scikit-learn: nothing is downloaded.
    """
    from reticule.demo import run_demo, show_demo

    outcome = run_demo(out, Terminal())
    present(outcome.to_json(), lambda: show_demo(outcome), json)
