"""Results as CSV files that survive an interruption: written whole after every row."""

from __future__ import annotations

import csv
import hashlib
import sys
from functools import cache
from pathlib import Path

import reticule
from reticule.files import write_whole

RESULTS = Path(__file__).parents[1] / "results"
SOURCES = Path(__file__).parents[2] / "src"


class Table:
    """Rows by their key columns.

    A row carries what was measured (``version``) and the command that did it.  A row that
    was made by the same version is kept, any other is measured again.
    """

    def __init__(self, name: str, key: tuple[str, ...], values: tuple[str, ...]) -> None:
        self.path = RESULTS / f"{name}.csv"
        self.key = key
        self.columns = (*key, *values, "version", "command")
        self.rows: dict[tuple[str, ...], dict[str, str]] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    if tuple(row) == self.columns:
                        self.rows[tuple(row[name] for name in key)] = row

    def has(self, *key: object, version: str) -> bool:
        row = self.rows.get(tuple(map(str, key)))
        return row is not None and row["version"] == version

    def value(self, *key: object, column: str) -> str:
        return self.rows[tuple(map(str, key))][column]

    def put(self, *key: object, version: str, **values: object) -> None:
        texts = dict(zip(self.key, map(str, key), strict=True))
        texts |= {name: _text(value) for name, value in values.items()}
        texts |= {"version": version, "command": command()}
        self.rows[tuple(texts[name] for name in self.key)] = {c: texts[c] for c in self.columns}
        print(", ".join(texts[name] for name in self.columns[:-1]), flush=True)
        self.write()

    def forget(self, version: str, **of: str) -> None:
        """Drop the rows with these entries that another version made."""

        def stays(row: dict[str, str]) -> bool:
            return row["version"] == version or any(row[k] != v for k, v in of.items())

        self.rows = {key: row for key, row in self.rows.items() if stays(row)}

    def write(self) -> None:
        lines: list[str] = []
        writer = csv.DictWriter(_Lines(lines), self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows.values())
        self.path.parent.mkdir(exist_ok=True)
        write_whole(self.path, "".join(lines).encode())


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def command() -> str:
    """The command line; of absolute paths only the last part."""
    words = []
    for word in sys.argv:
        path = Path(word)
        words.append(path.name if path.is_absolute() else word)
    return " ".join(["python", *words])


@cache
def own_version() -> str:
    """The package's version and a digest of its sources, Python and native."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in (".py", ".yaml", ".cpp", ".hpp"):
            digest.update(path.relative_to(SOURCES).as_posix().encode() + path.read_bytes())
    return f"reticule {reticule.__version__} {digest.hexdigest()[:8]}"
