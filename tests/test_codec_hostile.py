"""Damaged and forged files: a valid network or a ReticuleError, soon, and with little memory."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from codec_mutations import mutations
from codec_samples import described, odd_shapes, same_form, small_cnn

from reticule.codec import About, dumps, loads
from reticule.errors import ReticuleError

NETWORKS = [small_cnn(), odd_shapes()]
FILES = [dumps(NETWORKS[0], described()), dumps(NETWORKS[1], About())]
MEMORY = 64 << 20  # besides 16 bytes for each weight that the file declares
HANG = 10.0  # seconds: no bound on speed, only on running away


@pytest.mark.parametrize("seed", range(5))
def test_changed_files_are_refused_or_valid(seed):
    tracemalloc.start()
    try:
        for mutation in mutations(FILES, 300, seed):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            start = time.process_time()
            weights = 0
            try:
                loaded = loads(mutation.data)
            except ReticuleError as problem:
                assert "\n" not in str(problem)
            else:
                weights = sum(form.size for form in loaded.packed.forms.values())
                if mutation.repaired:
                    loaded.packed.network().check()
                else:
                    original = NETWORKS[mutation.original].forms
                    assert all(
                        same_form(original[name], form)
                        for name, form in loaded.packed.forms.items()
                    )
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak <= MEMORY + 16 * weights, mutation.kind
            assert time.process_time() - start < HANG, mutation.kind
    finally:
        tracemalloc.stop()
