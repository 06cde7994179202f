"""What long work says while it runs: one line per stage, with the time that is left.

Everything goes to standard error, so that standard output stays machine-readable.
On a terminal a rich progress bar is drawn; elsewhere a plain line appears every
few seconds, so that logs stay readable.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

PLAIN_INTERVAL = 15.0  # seconds between two plain lines


class Bar(Protocol):
    """One running piece of work."""

    def advance(self, steps: int = 1, note: str = "") -> None: ...

    def shorten(self, total: int) -> None: ...


class Progress(Protocol):
    """Where long work reports to."""

    def bar(self, title: str, total: int) -> AbstractContextManager[Bar]: ...

    def say(self, text: str) -> None: ...


class Silent:
    """Reports nothing (the default of the Python functions)."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        yield _Quiet()

    def say(self, text: str) -> None:
        pass


class _Quiet:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass

    def shorten(self, total: int) -> None:
        pass


class Terminal:
    """Bars on a terminal, plain lines elsewhere."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        if not sys.stderr.isatty():
            yield _Plain(title, total)
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich:
            yield _Rich(rich, rich.add_task(title, total=total, note=""))

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Rich:
    def __init__(self, rich: Any, task: Any) -> None:
        self._rich, self._task = rich, task

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._rich.update(self._task, advance=steps, **({"note": note} if note else {}))

    def shorten(self, total: int) -> None:
        self._rich.update(self._task, total=total)


class _Plain:
    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, max(total, 1), 0
        self._start = self._last = time.monotonic()

    def shorten(self, total: int) -> None:
        self._total = max(total, 1)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL:
            return
        self._last = now
        left = (now - self._start) / self._done * max(self._total - self._done, 0)
        print(
            f"  {self._title}: {self._done}/{self._total} {note}, {duration(left)} left",
            file=sys.stderr,
            flush=True,
        )


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(9), duration(75), duration(7300)
    ('9 s', '1 min 15 s', '2 h 1 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
