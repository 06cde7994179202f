"""Whether builds that differ decode the same files to the same bits.

    python benchmarks/builds.py

Builds the decoders with each compiler and set of options that is there, decodes the fuzzing
corpus with fifty changed copies of each file, and compares the digests.  Writes
benchmarks/results/builds.csv.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [
    ROOT / "src/native/coders.cpp",
    *sorted((ROOT / "src/native").glob("context_*.cpp")),
    ROOT / "fuzz/decoders.cpp",
    ROOT / "fuzz/replay.cpp",
]
OPTIONS = [["-O0"], ["-O2"], ["-O3", "-march=native"], ["-Os", "-m32"]]


def main() -> int:
    rows = []
    for compiler in ("g++", "clang++"):
        if shutil.which(compiler) is None:
            print(f"{compiler}: skipped, it is not there")
            continue
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
        for options in OPTIONS:
            with tempfile.TemporaryDirectory() as folder:
                program = Path(folder) / "replay"
                command = [compiler, "-std=c++20", *options, *map(str, SOURCES), "-o", str(program)]
                built = subprocess.run(command, capture_output=True, text=True)
                if built.returncode:
                    print(f"{compiler} {' '.join(options)}: skipped, it does not build here")
                    continue
                corpus = str(ROOT / "fuzz" / "corpus")
                done = subprocess.run([str(program), corpus, "50"], capture_output=True, text=True)
            digest = done.stdout.split()[-1] if done.returncode == 0 else "failed"
            rows.append([version.splitlines()[0], " ".join(options), digest])
            print(*rows[-1], sep="  ")
    with open(ROOT / "benchmarks/results/builds.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["compiler", "options", "digest"], *rows])
    same = len({digest for _, _, digest in rows}) == 1
    print("all the same" if same else "THEY DIFFER")
    return 0 if same and rows else 1


if __name__ == "__main__":
    sys.exit(main())
