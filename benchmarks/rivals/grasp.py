"""graspologic, run in an environment of its own, as it wants an older numpy.

To make one::

    python3 -m venv graspenv
    graspenv/bin/pip install graspologic==3.4.4
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from rivals.waiting import Waiting

MOST = 16  # blocks on a side, where their number is to be found


class Graspologic(Waiting):
    """A process in which graspologic waits; raises RuntimeError where it cannot start."""

    def __init__(self, python: str) -> None:
        super().__init__("graspologic", python, "grasp_server.py")
        self.version = "graspologic " + self.ask(op="version")["version"]

    def fit(
        self, matrix: Any, blocks: int | None, signed: bool, limit: float
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Labels of rows and columns, seconds, and GiB at the peak.

        ``blocks`` is how many each side has, None lets the library find it.  ``signed`` embeds
        the weights as they are, otherwise only their sizes count.  Raises TimeoutError after
        ``limit`` seconds, after which the process is gone, and RuntimeError with its problem.
        """
        given, labels = self.folder / "matrix.npz", self.folder / "labels.npz"
        sparse = scipy.sparse.csr_matrix(matrix, dtype=np.float64)
        scipy.sparse.save_npz(given, sparse if signed else abs(sparse), compressed=False)
        job = {"matrix": str(given), "labels": str(labels), "signed": signed, "most": MOST}
        done = self.ask(limit, op="fit", blocks=blocks, **job)
        if "problem" in done:
            raise RuntimeError(done["problem"])
        with np.load(labels) as found:
            return found["rows"], found["columns"], done["seconds"], done["gib"]
