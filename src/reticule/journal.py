"""The journal of a long run: what is done, so that a crash loses one stage at most.

A journal is a folder beside the result.  ``journal.jsonl`` holds one line per
finished stage, ``stage-N.ret`` the network as it was after it: ``.ret`` keeps every
form exactly, so it serves as the checkpoint too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reticule.codec import About, load, save
from reticule.errors import ReticuleError
from reticule.forms import Packed


class Journal:
    """Records finished stages in a folder; with ``resume``, gives back those of an earlier run.

    ``fingerprint`` identifies the run (network, recipe, seed, data): stages of another
    run are never taken up.
    """

    def __init__(self, folder: Path, fingerprint: str, *, resume: bool) -> None:
        self._folder = folder
        self._lines = folder / "journal.jsonl"
        self._records: list[dict[str, Any]] = []
        if resume:
            self._records = self._earlier(fingerprint)
        if not self._records:
            self._start(fingerprint)

    def _start(self, fingerprint: str) -> None:
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self._lines.write_text(json.dumps({"run": fingerprint}) + "\n", "utf-8")
        except OSError as problem:
            raise ReticuleError(
                f"{self._folder}: the journal cannot be written ({problem.strerror})"
            ) from None

    def _earlier(self, fingerprint: str) -> list[dict[str, Any]]:
        try:
            lines = self._lines.read_text("utf-8").splitlines()
            parsed = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []
        if not parsed or parsed[0].get("run") != fingerprint:
            raise ReticuleError(
                f"{self._folder}: belongs to a run with other settings; "
                "repeat them, or leave out --resume to start anew"
            )
        return parsed[1:]

    def finished(self, number: int) -> tuple[Packed, dict[str, Any]] | None:
        """Network and record of a stage that an earlier run finished."""
        if number >= len(self._records):
            return None
        return load(self._checkpoint(number)).packed, self._records[number]

    def add(self, number: int, packed: Packed, record: Mapping[str, Any]) -> None:
        """Keep a finished stage: the checkpoint first, then the line that says so."""
        preset = "small" if packed.hints else "instant"  # the one that keeps hints
        save(self._checkpoint(number), packed, About(), preset)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _checkpoint(self, number: int) -> Path:
        return self._folder / f"stage-{number}.ret"

    def remove(self) -> None:
        """Delete the journal: the run is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)
