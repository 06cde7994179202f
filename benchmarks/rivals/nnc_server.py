"""Runs NNCodec in an environment of its own; started by rivals/nnc.py, never imported by it.

    python nnc_server.py

One job on each line of standard input, as a JSON object; one JSON object on standard output for
each.  Tensors travel through ``.npz`` files.  Jobs (``op``):

* ``compress``: the whole network ``tensors`` with ``settings`` (keyword arguments of
  ``nncodec.nnc.compress``), decoded again from the bytes alone into ``decoded``; answers with the
  bytes of the stream, those of its payloads without headers, and the processor seconds of
  both directions.
* ``integers``: each tensor of integers through the DeepCABAC extension with a stream of its own,
  decoded and compared; answers with the bytes of all payloads and the seconds.

NNCodec imports packages that coding does not need (torchvision, OpenCV, pandas, Flower, ...).
Those that are absent are replaced by empty modules.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import time
import types
from collections.abc import Iterator

import numpy as np

UNNEEDED = {
    "cv2",
    "flwr",
    "h5py",
    "pandas",
    "sentencepiece",
    "sklearn",
    "tensorflow",
    "torchvision",
    "tqdm",
    "transformers",
    "wandb",
}
UNARY_LENGTH = 10  # NNCodec's default of cabac_unary_length_minus1


class _Nothing(type):
    """Metaclass of a class that has every attribute and answers every call."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __call__(cls, *arguments: object, **settings: object) -> type:
        return cls


class Nothing(metaclass=_Nothing):
    """Stands for every name of an absent package; may even be inherited from."""


class Empty(types.ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # a package: its submodules are looked for

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the unneeded packages that no finder before it has found."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in UNNEEDED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Empty(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def counted_payloads() -> Iterator[list[int]]:
    """The lengths of what the arithmetic coder gives out, without NNCodec's headers."""
    from nncodec.extensions import deepCABAC

    lengths: list[int] = []
    coder = deepCABAC.Encoder

    class Counting(coder):
        def finish(self):
            payload = super().finish()
            lengths.append(len(payload))
            return payload

    deepCABAC.Encoder = Counting
    try:
        yield lengths
    finally:
        deepCABAC.Encoder = coder


def compress(job: dict) -> dict:
    from nncodec import nnc

    with np.load(job["tensors"]) as file:
        tensors = {name: np.array(file[name]) for name in file.files}
    start = time.process_time()
    with counted_payloads() as lengths:
        stream = nnc.compress(
            tensors, bitstream_path=None, return_bitstream=True, verbose=False, **job["settings"]
        )
    encoded = time.process_time()
    decoded = nnc.decompress(
        bytearray(stream), reconstruct_lsa=bool(job["settings"].get("bnf")), verbose=False
    )
    end = time.process_time()
    if job.get("decoded"):
        np.savez(job["decoded"], **decoded)
    return {
        "bytes": len(stream),
        "payload": sum(lengths),
        "encode_seconds": encoded - start,
        "decode_seconds": end - encoded,
    }


def integers(job: dict) -> dict:
    from nncodec.extensions import deepCABAC
    from nncodec.nnc_core.hdsp.hdsp_tool import HDSP_OPTS_OFF

    total, encode_seconds, decode_seconds = 0, 0.0, 0.0
    with np.load(job["tensors"]) as file:
        tensors = [np.ascontiguousarray(file[name], np.int32) for name in file.files]
    for values in tensors:
        start = time.process_time()
        encoder = deepCABAC.Encoder()
        encoder.initCtxModels(UNARY_LENGTH + 1, 1)
        empty_rows = (~values.reshape(len(values), -1).any(1)).astype(np.int32)
        skip = int(empty_rows.any())
        encoder.encodeLayer(values, 0, 0, 1, 0, skip, empty_rows, *HDSP_OPTS_OFF(), 0, 0)
        payload = encoder.finish()
        encode_seconds += time.process_time() - start
        total += len(payload)
        found = np.zeros_like(values)
        start = time.process_time()
        decoder = deepCABAC.Decoder()
        decoder.setStream(payload)
        decoder.initCtxModels(UNARY_LENGTH + 1)
        decoder.decodeLayer(found, 0, 0, 1, 0, *HDSP_OPTS_OFF(), 0, 0)
        decoder.finish()
        decode_seconds += time.process_time() - start
        if not np.array_equal(found, values):
            raise ValueError("DeepCABAC gave back other integers")
    return {"bytes": total, "encode_seconds": encode_seconds, "decode_seconds": decode_seconds}


def version(job: dict) -> dict:
    from importlib.metadata import version

    import nncodec.nnc  # noqa: F401  (fails here rather than at the first job)

    return {"version": version("nncodec")}


def main() -> None:
    answers = sys.stdout
    sys.meta_path.append(EmptyModules())
    for line in sys.stdin:
        job = json.loads(line)
        with contextlib.redirect_stdout(sys.stderr):
            answer = {"compress": compress, "integers": integers, "version": version}[job["op"]](
                job
            )
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
