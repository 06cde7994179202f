"""The fuzzing corpus under sanitizers, and the same bits from builds that differ.

``fuzz/run`` fuzzes for as long as one likes; this replays what it starts from, with a few
changes to each file.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
SOURCES = [
    ROOT / "src/native/coders.cpp",
    *sorted((ROOT / "src/native").glob("context_*.cpp")),
    ROOT / "fuzz/decoders.cpp",
    ROOT / "fuzz/replay.cpp",
]
BUILDS = {
    "sanitizers": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "optimised": ["-O3", "-march=native"],
}
COPIES = "10"


@pytest.fixture(scope="module")
def replays(tmp_path_factory):
    """The replay program, once with each set of options."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler on the path")
    folder = tmp_path_factory.mktemp("replay")
    running = {}
    for name, options in BUILDS.items():
        command = [compiler, "-std=c++20", *options, *map(str, SOURCES), "-o", str(folder / name)]
        running[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for process in running.values():
        _, problem = process.communicate()
        if "cannot find" in problem and ("asan" in problem or "ubsan" in problem):
            pytest.skip("the compiler has no sanitizer runtime")
        assert process.returncode == 0, problem
    return folder


def test_the_corpus_and_changed_copies_of_it_decode_without_a_report(replays):
    found = {}
    for name in BUILDS:
        command = [str(replays / name), str(CORPUS), COPIES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found[name] = done.stdout
    count = len(list(CORPUS.iterdir()))
    assert found["sanitizers"].startswith(f"{count} files")
    assert found["sanitizers"] == found["optimised"]
