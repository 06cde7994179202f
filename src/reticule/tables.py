"""Tables and figures as text, for a terminal or a pipe.

>>> size(950), size(21_300), size(4_600_000)
('950 B', '21.3 kB', '4.60 MB')
>>> percent(97.304), percent(None), ratio(51.26)
('97.30 %', '-', '51.3x')
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.text import Text

_UNLIMITED = 10_000  # columns of what is no terminal


def show(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    file: TextIO | None = None,
) -> None:
    """Print a table: the first column is text, the others are figures, aligned to the right.

    On a terminal the table has rules and fits its width; elsewhere it is plain and as wide
    as it needs to be.  A column whose name starts with "<" is aligned to the left.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=file, highlight=False)
    plain = not console.is_terminal
    if plain:
        console.width = _UNLIMITED
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=None if plain else box.SIMPLE_HEAD,
        pad_edge=not plain,
        padding=(0, 2, 0, 0) if plain else (0, 1),
    )
    for number, name in enumerate(columns):
        left = number == 0 or name.startswith("<")
        table.add_column(
            _literal(name.removeprefix("<")),
            justify="left" if left else "right",
            overflow="fold",
            no_wrap=not left,
        )
    for row in rows:
        table.add_row(*(_literal(cell) for cell in row))
    with console.capture() as captured:  # rich would end the process if nobody reads
        console.print(table)
    print(captured.get(), end="", file=file)


def _literal(text: str) -> Text:
    """Text that is shown as it is: brackets in names are no markup."""
    from rich.text import Text

    return Text(text)


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit, power in (("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{_three_digits(count / power)} {unit}"
    return f"{count:.0f} B"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f}"


def percent(value: float | None) -> str:
    """An accuracy with two digits, "-" where there is none."""
    return "-" if value is None else f"{value:.2f} %"


def margin(accuracy: float | None, images: int) -> float:
    """The standard error, in points, of an accuracy that was measured on so many images.

    >>> round(margin(90.0, 100), 2)
    3.0
    """
    share = min(max((accuracy or 0.0) / 100, 0.0), 1.0)
    return 100 * (share * (1 - share) / max(images, 1)) ** 0.5


def ratio(value: float) -> str:
    """How many times smaller."""
    return f"{_three_digits(value)}x"
