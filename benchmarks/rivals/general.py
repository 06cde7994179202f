"""General-purpose compressors at their strongest setting: xz, zstd, brotli; ZipNN for floats."""

from __future__ import annotations

import lzma
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ByteCoder:
    """``pack`` and ``unpack`` turn bytes into bytes; ``version`` says what was measured."""

    name: str
    version: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]

    def size(self, data: bytes) -> int:
        """Bytes that ``data`` takes; raises ValueError where it does not come back whole."""
        packed = self.pack(data)
        if bytes(self.unpack(packed)) != data:
            raise ValueError(f"{self.name} gave back other bytes")
        return len(packed)


def xz() -> ByteCoder:
    def pack(data: bytes) -> bytes:
        return lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)

    return ByteCoder("xz -9e", f"python {platform.python_version()}", pack, lzma.decompress)


def zstd() -> ByteCoder:
    import zstandard

    coder = zstandard.ZstdCompressor(level=19)
    unpack = zstandard.ZstdDecompressor().decompress
    return ByteCoder("zstd -19", f"zstandard {zstandard.__version__}", coder.compress, unpack)


def brotli() -> ByteCoder:
    import brotli

    version = f"brotli {brotli.__version__}"
    return ByteCoder("brotli -q 11 -w 24", version, _brotli_strongest, brotli.decompress)


def _brotli_strongest(data: bytes) -> bytes:
    import brotli

    return brotli.compress(data, quality=11, lgwin=24)


def zipnn() -> ByteCoder:
    """ZipNN with its settings for float32."""
    from importlib.metadata import version

    from zipnn import ZipNN

    def pack(data: bytes) -> bytes:
        # It works in place, so that it gets a copy.
        return ZipNN(input_format="byte", bytearray_dtype="float32").compress(bytearray(data))

    def unpack(data: bytes) -> bytes:
        return ZipNN(input_format="byte", bytearray_dtype="float32").decompress(data)

    return ByteCoder("zipnn", f"zipnn {version('zipnn')}", pack, unpack)


def installed(*makers: Callable[[], ByteCoder]) -> Iterator[ByteCoder]:
    """The coders that are installed; says which ones are not."""
    for maker in makers:
        try:
            yield maker()
        except ImportError as problem:
            print(f"{maker.__name__}: skipped, {problem}")


def arrangements(integers: list[np.ndarray]) -> list[bytes]:
    """The integers of a network as bytes, in each order that a user might try.

    One byte each where they fit, else two; and all low bytes before all high bytes.
    """
    flat = np.concatenate([values.ravel() for values in integers])
    wide = flat.astype("<i2")
    if not np.array_equal(wide, flat):
        raise ValueError("integers of more than 16 bits")
    narrow = flat.astype("i1")
    if np.array_equal(narrow, flat):
        return [narrow.tobytes()]
    return [wide.tobytes(), wide.view("u1").reshape(-1, 2).T.tobytes()]


def integer_size(coder: ByteCoder, integers: list[np.ndarray]) -> int:
    """Bytes of a network's integers, in the arrangement that suits the coder best."""
    return min(coder.size(data) for data in arrangements(integers))
