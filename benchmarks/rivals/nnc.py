"""NNCodec, the reference software of ISO/IEC 15938-17, run in an environment of its own.

To make one (a C++ compiler is needed; the packages it asks for besides numpy and torch are not)::

    python3 -m venv nncenv
    nncenv/bin/pip install "numpy<2" torch==2.13.0
    nncenv/bin/pip install --no-deps nncodec==2.1.3
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SERVER = Path(__file__).with_name("nnc_server.py")


@dataclass(frozen=True)
class Coded:
    """``size`` in bytes, ``payload`` without headers; ``tensors`` what the decoder gave back."""

    size: int
    payload: int
    encode_seconds: float
    decode_seconds: float
    tensors: dict[str, np.ndarray]


class NNCodec:
    """A process in which NNCodec waits for jobs; raises RuntimeError where it cannot start."""

    def __init__(self, python: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="nncodec-")
        self.log = (Path(self.folder.name) / "log.txt").open("w")
        try:
            self.process = subprocess.Popen(
                [python, str(SERVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
            )
        except OSError as problem:
            raise RuntimeError(f"{python}: {problem.strerror}") from None
        self.version = "nncodec " + self._ask(op="version")["version"]

    def _ask(self, **job: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            self.log.flush()
            reason = Path(self.log.name).read_text().strip().splitlines() or ["it ended"]
            raise RuntimeError(f"NNCodec: {reason[-1]}")
        return json.loads(line)

    def _file(self, name: str, tensors: Mapping[str, np.ndarray]) -> str:
        path = Path(self.folder.name) / name
        np.savez(path, **tensors)
        return str(path)

    def integers(self, tensors: Mapping[str, np.ndarray]) -> Coded:
        """Integers through DeepCABAC, a payload for each tensor; the round trip is checked."""
        done = self._ask(op="integers", tensors=self._file("integers.npz", tensors))
        return Coded(
            done["bytes"], done["bytes"], done["encode_seconds"], done["decode_seconds"], {}
        )

    def compress(self, tensors: Mapping[str, np.ndarray], **settings: Any) -> Coded:
        """A whole network as one stream, and what the decoder makes of it.

        ``settings`` are those of ``nncodec.nnc.compress``.
        """
        back = str(Path(self.folder.name) / "decoded.npz")
        given = self._file("tensors.npz", tensors)
        done = self._ask(op="compress", tensors=given, decoded=back, settings=settings)
        with np.load(back) as file:
            decoded = {name: file[name] for name in file.files}
        return Coded(
            done["bytes"],
            done["payload"],
            done["encode_seconds"],
            done["decode_seconds"],
            decoded,
        )

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()
