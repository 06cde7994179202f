"""The journal of a long run: what is done, so that a crash loses one stage at most.

A journal is a folder beside the result.  ``journal.jsonl`` holds one line for each finished
stage; the network as it was after it lies beside it: ``.ret`` keeps every form exactly, so it
serves as the checkpoint too.  A stage is known by its *key*, which stands for everything that
its outcome depends on: network, recipe up to it, inputs, seed, device.  So whatever stands in a
journal is either what the run at hand would compute itself, or not its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reticule.codec import About, load, save
from reticule.errors import ReticuleError
from reticule.files import write_whole
from reticule.forms import Packed
from reticule.records import StageRecord

_FORMAT = 2


@dataclass(frozen=True)
class _Line:
    key: str
    record: StageRecord


class Journal:
    """Finished stages in a folder.

    ``keys`` are those of the run's stages, in order.  Stages of an interrupted run with the same
    keys are taken up.  A journal that belongs to another run is moved aside, never deleted; what
    both have in common is taken along.  With ``resume``, where the user says that it is the
    same run, it is an error instead.  ``remarks`` say, in plain sentences, what was found.
    """

    def __init__(self, folder: Path, keys: Sequence[str], *, resume: bool = False) -> None:
        self._folder = folder
        self._resume = resume
        self._keys = list(keys)
        self.remarks: list[str] = []
        self._lines = folder / "journal.jsonl"
        self._done: list[StageRecord] = []
        try:
            self._open()
        except OSError as problem:
            raise ReticuleError(
                f"{folder}: the journal cannot be written ({problem.strerror})"
            ) from None

    def finished(self, number: int) -> tuple[Packed, StageRecord] | None:
        """Network and record of a stage that an earlier run finished."""
        if number >= len(self._done):
            return None
        return load(self._checkpoint(self._keys[number])).packed, self._done[number]

    def add(self, number: int, packed: Packed, record: StageRecord) -> None:
        """Keep a finished stage: the checkpoint first, then the line that says so."""
        preset = "small" if packed.hints else "instant"  # the one that keeps hints
        key = self._keys[number]
        save(self._checkpoint(key), packed, About(), preset)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(_text(_Line(key, record)))

    def remove(self) -> None:
        """Delete the journal: the run is complete."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # What was found ---------------------------------------------------------------------------

    def _open(self) -> None:
        earlier = self._earlier()
        lines = {line.key: line for line in earlier or ()}
        common: list[_Line] = []
        for key in self._keys:
            if key not in lines or not self._checkpoint(key).is_file():
                break
            common.append(lines[key])
        before = self._folder
        if earlier is None or set(lines) - set(self._keys):
            if self._resume:
                raise ReticuleError(
                    f"{self._folder}: belongs to a run with other settings; repeat them, "
                    "or leave out --resume: it is then moved aside, and the run starts anew"
                )
            before = self._moved_aside()
        self._folder.mkdir(parents=True, exist_ok=True)
        if before != self._folder:
            for line in common:
                name = self._checkpoint(line.key).name
                shutil.copyfile(before / name, self._folder / name)
        head = json.dumps({"journal": _FORMAT}) + "\n"
        write_whole(self._lines, "".join([head, *map(_text, common)]).encode())
        self._done = [line.record for line in common]
        if common:
            number = len(common)
            stages = f"{number} stage" + ("s" if number > 1 else "")
            self.remarks.append(f"{self._folder}: {stages} of an earlier run taken up")

    def _earlier(self) -> list[_Line] | None:
        """The lines of a journal that is there (none: an empty list); None if it is no journal."""
        if not self._folder.exists() or not any(self._folder.iterdir()):
            return []
        try:
            first, *rest = self._lines.read_text("utf-8").splitlines()
            if json.loads(first) != {"journal": _FORMAT}:
                return None
        except (OSError, ValueError):
            return None
        found = []
        for text in rest:
            try:
                found.append(_line_of(json.loads(text)))
            except ValueError:
                self.remarks.append(f"{self._lines}: a damaged line was passed over")
        return found

    def _moved_aside(self) -> Path:
        number = 1
        while (aside := self._folder.with_name(f"{self._folder.name}.{number}")).exists():
            number += 1
        self._folder.rename(aside)
        self.remarks.append(f"the journal of another run was moved to {aside}")
        return aside

    def _checkpoint(self, key: str) -> Path:
        return self._folder / f"{key[:32]}.ret"


def _text(line: _Line) -> str:
    plain = {"key": line.key, "record": line.record.to_json()}
    return json.dumps(plain, allow_nan=False) + "\n"


def _line_of(value: object) -> _Line:
    """A line read back; ValueError if it is none."""
    if not isinstance(value, dict) or set(value) != {"key", "record"}:
        raise ValueError("no line of a journal")
    if not isinstance(value["key"], str):
        raise ValueError("a line without a key")
    return _Line(value["key"], StageRecord.from_json(value["record"]))
