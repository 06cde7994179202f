"""NNCodec, the reference software of ISO/IEC 15938-17, run in an environment of its own.

To make one (a C++ compiler is needed; the packages it asks for besides numpy and torch are not)::

    python3 -m venv nncenv
    nncenv/bin/pip install "numpy<2" torch==2.13.0
    nncenv/bin/pip install --no-deps nncodec==2.1.3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rivals.waiting import Waiting


@dataclass(frozen=True)
class Coded:
    """``size`` in bytes, ``payload`` without headers; ``tensors`` what the decoder gave back."""

    size: int
    payload: int
    encode_seconds: float
    decode_seconds: float
    tensors: dict[str, np.ndarray]


class NNCodec(Waiting):
    """A process in which NNCodec waits for jobs; raises RuntimeError where it cannot start."""

    def __init__(self, python: str) -> None:
        super().__init__("NNCodec", python, "nnc_server.py")
        self.version = "nncodec " + self.ask(op="version")["version"]

    def _file(self, name: str, tensors: Mapping[str, np.ndarray]) -> str:
        path = self.folder / name
        np.savez(path, **tensors)
        return str(path)

    def integers(self, tensors: Mapping[str, np.ndarray]) -> Coded:
        """Integers through DeepCABAC, a payload for each tensor; the round trip is checked."""
        done = self.ask(op="integers", tensors=self._file("integers.npz", tensors))
        return Coded(
            done["bytes"], done["bytes"], done["encode_seconds"], done["decode_seconds"], {}
        )

    def compress(self, tensors: Mapping[str, np.ndarray], **settings: Any) -> Coded:
        """A whole network as one stream, and what the decoder makes of it.

        ``settings`` are those of ``nncodec.nnc.compress``.
        """
        back = str(self.folder / "decoded.npz")
        given = self._file("tensors.npz", tensors)
        done = self.ask(op="compress", tensors=given, decoded=back, settings=settings)
        with np.load(back) as file:
            decoded = {name: file[name] for name in file.files}
        return Coded(
            done["bytes"],
            done["payload"],
            done["encode_seconds"],
            done["decode_seconds"],
            decoded,
        )
