"""Damaged and forged files: a valid network or a ReticuleError, soon, and with little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from codec_mutations import files_of_many_chunks, mutations, outcome

from reticule.codec.chunks import PRESETS

HANG = 10.0  # seconds of processor time: no bound on speed, only on running away


@pytest.mark.parametrize("preset", PRESETS)
def test_changed_files_are_refused_or_valid(preset):
    networks, files = files_of_many_chunks(preset)
    refused = 0
    tracemalloc.start()
    try:
        for mutation in mutations(files, 600, PRESETS.index(preset)):
            found = outcome(mutation, networks)
            assert found.valid and found.within_memory and found.seconds < HANG, mutation.kind
            refused += bool(found.problem)
    finally:
        tracemalloc.stop()
    assert 300 < refused < 600  # some changes of weights are as good as what they replaced
