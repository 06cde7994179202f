"""Golden files: what a file decodes to, and what a network encodes to, does not change.

``tests/golden/make.py`` made them.  If one of these tests fails, the format has changed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from codec_mutations import Parts

from reticule.codec import dumps, forms, load, streams
from reticule.codec.chunks import PRESETS

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_golden_file_decodes_to_the_recorded_weights(name):
    forms = load(GOLDEN / name).packed.forms
    found = {
        tensor: hashlib.sha256(form.dense().astype("<f4").tobytes()).hexdigest()
        for tensor, form in forms.items()
    }
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_encoding_a_golden_file_again_gives_its_bytes(name):
    loaded = load(GOLDEN / name)
    golden = (GOLDEN / name).read_bytes()
    again = dumps(loaded.packed, loaded.about, loaded.preset)
    assert Parts.of(again) == Parts.of(golden)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng deflates the same text differently
        assert again == golden


def test_the_weights_do_not_depend_on_the_preset():
    samples = {name.rpartition("-")[0] for name in EXPECTED}
    assert set(EXPECTED) == {f"{sample}-{preset}.ret" for sample in samples for preset in PRESETS}
    for sample in samples:
        fast, *others = (EXPECTED[f"{sample}-{preset}.ret"] for preset in PRESETS)
        assert all(other == fast for other in others)


def test_the_golden_files_use_every_coder_and_every_form(monkeypatch):
    seen = set()

    class Spy:
        def __init__(self, tag, coder):
            self.tag, self.coder = tag, coder

        def decode(self, *arguments):
            seen.add(("coder", self.tag))
            return self.coder.decode(*arguments)

    def watched(tag, read):
        def wrapper(*arguments):
            seen.add(("form", tag))
            return read(*arguments)

        return wrapper

    for tag, coder in list(streams.REGISTRY.items()):
        monkeypatch.setitem(streams.REGISTRY, tag, Spy(tag, coder))
    for tag, entry in list(forms.REGISTRY.items()):
        spied = SimpleNamespace(kind=entry.kind, write=entry.write, read=watched(tag, entry.read))
        monkeypatch.setitem(forms.REGISTRY, tag, spied)
    for name in EXPECTED:
        load(GOLDEN / name)
    every = {("coder", tag) for tag in streams.REGISTRY} | {("form", tag) for tag in forms.REGISTRY}
    assert seen == every
