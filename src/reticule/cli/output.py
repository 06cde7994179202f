"""What the commands print: text for people, or one JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def present(plain: Mapping[str, Any], text: Callable[[], None], as_json: bool) -> None:
    """Print the figures as one line of JSON, or let ``text`` print them for people."""
    try:
        if as_json:
            print(json.dumps(plain, ensure_ascii=False, allow_nan=False))
        else:
            text()
        sys.stdout.flush()
    except BrokenPipeError:  # who reads our output has seen enough, as in "reticule ... | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """A remark on standard error."""
    print(text, file=sys.stderr, flush=True)
