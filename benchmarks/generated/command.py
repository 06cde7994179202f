"""``reticule`` on the command line: what it said, how it ended, what it took."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OUTCOMES = {0: "done", 1: "budget not met", 2: "refused", 3: "internal error"}


@dataclass(frozen=True)
class Ran:
    """How a command ended: ``figures`` is its JSON object, ``line`` the last of its complaints.

    ``lines`` counts the complaints that begin with the program's name; ``peak_mib`` is the most
    memory that the process had (None for a call in this one).
    """

    code: int
    figures: dict[str, Any]
    line: str
    lines: int
    seconds: float
    peak_mib: float | None = None

    @property
    def outcome(self) -> str:
        return OUTCOMES.get(self.code, f"exit code {self.code}")


def run(*arguments: str) -> Ran:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "reticule", *arguments, "--json"]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as complaints:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=complaints)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, complaints):
            file.seek(0)
        peak = usage.ru_maxrss / 1024  # of the process, or one that it waited for
        return _ran(process.returncode, out.read(), complaints.read(), seconds, peak)


def called(*arguments: str) -> Ran:
    """The same in this process, which has loaded everything already."""
    from reticule.cli import main

    out, complaints = io.StringIO(), io.StringIO()
    start = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        try:
            main([*arguments, "--json"])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return _ran(code, out.getvalue(), complaints.getvalue(), time.monotonic() - start, None)


def _ran(code: int, out: str, complaints: str, seconds: float, peak: float | None) -> Ran:
    said = _lines(complaints)
    last = _lines(out)[-1:]
    figures = json.loads(last[0]) if last and last[0].startswith("{") else {}
    own = [line for line in said if line.startswith("reticule:")]
    return Ran(code, figures, (own or said or [""])[-1], len(own), seconds, peak)


def _lines(text: str | Sequence[str]) -> list[str]:
    return [line for line in str(text).splitlines() if line.strip()]
