"""What holds for every test: a process for each core, and one thread in each process."""

from __future__ import annotations

import os

# Before numpy and torch are imported, here and in the commands that tests start: threads of
# several workers would wait for each other.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
