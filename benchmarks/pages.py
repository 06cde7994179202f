"""Tables of the documentation, written from results between their marks.

A mark is a line ``<!-- table: NAME -->``; the table stands behind it, up to the next empty line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reticule.files import write_whole

DOCS = Path(__file__).parents[1] / "docs"


def write_tables(page: Path, tables: Mapping[str, Sequence[str]]) -> None:
    """Put tables (lines, by the name of their mark) into a page."""
    text = page.read_text("utf-8")
    for name, table in tables.items():
        lines = "\n".join(table)
        mark = f"<!-- table: {name} -->\n"
        pattern = re.escape(mark) + r"(?:\|.*\n)*"
        text = re.sub(pattern, lambda _, m=mark, t=lines: f"{m}{t}\n" if t else m, text)
    write_whole(page, text.encode())


def table_of(head: Iterable[str], body: Iterable[Iterable[str]]) -> list[str]:
    columns = list(head)
    rule = "|---|" + "---:|" * (len(columns) - 1)
    return [_line(columns), rule, *(_line(row) for row in body)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
