"""The hostile files of ``attacks/``: each is refused, for the reason that it was made for."""

from __future__ import annotations

import json
import runpy
import tracemalloc
import zlib
from pathlib import Path

import pytest
from codec_mutations import MEMORY, Parts, believable_weights

from reticule.codec import load
from reticule.errors import Fault, FormatError

ROOT = Path(__file__).parents[1]
ATTACKS = ROOT / "attacks"
EXPECTED: dict[str, str] = json.loads((ATTACKS / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_an_attack_is_refused_for_its_reason_and_with_little_memory(name):
    data = (ATTACKS / name).read_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            load(ATTACKS / name, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.fault is Fault[EXPECTED[name]]
    message = str(caught.value)
    assert message.isprintable() and message.startswith(str(ATTACKS / name))
    assert peak <= MEMORY + 24 * believable_weights(data)


def test_the_folder_holds_what_its_script_makes_and_the_page_names_all_of_it():
    made = runpy.run_path(str(ATTACKS / "make.py"))["ATTACKS"]
    assert {path.name for path in ATTACKS.glob("*.ret")} == set(EXPECTED)
    assert {f"{name}.ret": fault for name, (_, fault) in made.items()} == EXPECTED
    page = (ROOT / "docs" / "attacks.md").read_text("utf-8")
    for name, (attack, _) in made.items():
        assert f"`{name}`" in page, name
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng deflates the same differently
            data = attack.bytes() if isinstance(attack, Parts) else attack
            assert (ATTACKS / f"{name}.ret").read_bytes() == data
    assert sum(path.stat().st_size for path in ATTACKS.iterdir()) < 1 << 18
