"""Damaged and forged files: a valid network or a ReticuleError, soon, and with little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from codec_mutations import mutations, outcome
from codec_samples import described, odd_shapes, small_cnn

from reticule.codec import About, dumps

NETWORKS = [small_cnn(), odd_shapes()]
FILES = [dumps(NETWORKS[0], described()), dumps(NETWORKS[1], About())]
HANG = 10.0  # seconds of processor time: no bound on speed, only on running away


@pytest.mark.parametrize("seed", range(5))
def test_changed_files_are_refused_or_valid(seed):
    refused = 0
    tracemalloc.start()
    try:
        for mutation in mutations(FILES, 300, seed):
            found = outcome(mutation, NETWORKS)
            assert found.valid and found.within_memory and found.seconds < HANG, mutation.kind
            refused += bool(found.problem)
    finally:
        tracemalloc.stop()
    assert 150 < refused < 300  # some changes of weights are as good as what they replaced
