"""Float32 weights, bit for bit: the recipe ``lossless`` against general compressors and ZipNN.

Everybody gets the same tensors, those of the ONNX file; the others as one piece of bytes, in
graph order.  Our figure is the weight section of a file that was read again.
"""

from __future__ import annotations

from rivals import general

from coding import ours
from coding.networks import Subject
from coding.table import Table, own_version


def run(subjects: list[Subject]) -> None:
    results = Table("codec_lossless", ("network", "coder"), ("bytes", "percent_of_raw"))
    coders = list(general.installed(general.xz, general.zstd, general.brotli, general.zipnn))
    for subject in subjects:
        raw = b"".join(tensor.tobytes() for tensor in subject.network.tensors.values())
        for coder in coders:
            if not results.has(subject.name, coder.name, version=coder.version):
                size = coder.size(raw)
                put(results, subject.name, coder.name, coder.version, size, len(raw))
        version = own_version()
        if not results.has(subject.name, "reticule file", version=version):
            weights, file = ours.lossless(subject.network)
            put(results, subject.name, "reticule weight section", version, weights, len(raw))
            put(results, subject.name, "reticule file", version, file, len(raw))


def put(results: Table, network: str, coder: str, version: str, size: int, raw: int) -> None:
    results.put(network, coder, version=version, bytes=size, percent_of_raw=100 * size / raw)
