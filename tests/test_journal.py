"""The journal: what it gives back, to whom, and what becomes of one that is somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_files

from reticule.errors import ReticuleError
from reticule.forms import Packed
from reticule.journal import Journal
from reticule.records import StageRecord, plain

PACKED = Packed.of(tiny_files.network())


def record(name: str) -> StageRecord:
    return StageRecord(name, 50.0, 1.5, 12, {"w": "small"}, {"kept": True})


def filled(folder: Path, keys: str, count: int) -> None:
    journal = Journal(folder, list(keys))
    for number in range(count):
        journal.add(number, PACKED, record(keys[number]))


def taken_up(journal: Journal, most: int) -> list[str]:
    found = [journal.finished(number) for number in range(most)]
    return [each[1].name for each in found if each]


def test_the_same_run_continues(tmp_path: Path) -> None:
    filled(tmp_path / "j", "abc", 2)
    journal = Journal(tmp_path / "j", list("abc"))
    assert taken_up(journal, 3) == ["a", "b"]
    packed, kept = journal.finished(1) or (None, None)
    assert packed is not None and kept == record("b")
    for name, form in PACKED.forms.items():
        assert np.array_equal(form.dense(), packed.forms[name].dense())
    journal.add(2, PACKED, record("c"))
    assert taken_up(Journal(tmp_path / "j", list("abc")), 3) == ["a", "b", "c"]


def test_another_run_takes_the_common_beginning_and_loses_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "j", "abc", 3)
    journal = Journal(tmp_path / "j", list("abxy"))
    assert taken_up(journal, 4) == ["a", "b"]
    assert any("moved to" in remark and "j.1" in remark for remark in journal.remarks)
    assert taken_up(Journal(tmp_path / "j.1", list("abc")), 3) == ["a", "b", "c"]
    journal.add(2, PACKED, record("x"))
    Journal(tmp_path / "j", list("q"))
    assert (tmp_path / "j.2").is_dir()


def test_resuming_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    filled(tmp_path / "j", "ab", 1)
    with pytest.raises(ReticuleError, match="other settings"):
        Journal(tmp_path / "j", list("xy"), resume=True)
    assert taken_up(Journal(tmp_path / "j", list("ab"), resume=True), 2) == ["a"]


def test_what_is_no_journal_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "letters.txt").write_text("mine")
    assert taken_up(Journal(tmp_path / "j", ["a"]), 1) == []
    assert (tmp_path / "j.1" / "letters.txt").read_text() == "mine"


def test_a_damaged_line_costs_what_came_after_it_only(tmp_path: Path) -> None:
    filled(tmp_path / "j", "abc", 3)
    lines = (tmp_path / "j" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "j" / "journal.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    journal = Journal(tmp_path / "j", list("abc"))
    assert taken_up(journal, 3) == ["a", "b"]
    journal.add(2, PACKED, record("c"))
    assert taken_up(Journal(tmp_path / "j", list("abc")), 3) == ["a", "b", "c"]


def test_a_record_holds_whatever_a_method_notes() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "odd"

    notes = {"shares": np.arange(3), 4: np.float32(0.5), "odd": Odd(), "nan": np.nan, "set": {1}}
    made = StageRecord("a", None, 1.0, 2, notes=notes)
    text = json.dumps(made.to_json(), allow_nan=False)
    assert StageRecord.from_json(json.loads(text)) == made
    assert made.notes["shares"] == [0, 1, 2] and made.notes["4"] == 0.5
    nested: list = []
    nested.append(nested)
    json.dumps(plain(nested))


@pytest.mark.parametrize("broken", [[], {}, {"name": "a"}, None, 3])
def test_what_is_no_record_is_refused(broken: object) -> None:
    with pytest.raises(ValueError, match="record"):
        StageRecord.from_json(broken)
    changed = {**record("a").to_json(), "seconds": "long"}
    with pytest.raises(ValueError, match="seconds"):
        StageRecord.from_json(changed)
