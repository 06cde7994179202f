"""Reading and writing bytes and bits, never behind the end.

>>> writer = ByteWriter()
>>> writer.varint(300)
>>> reader = ByteReader(writer.bytes(), "example")
>>> reader.varint(), reader.left
(300, 0)
"""

from __future__ import annotations

import zlib

from reticule.errors import Fault, FormatError

VARINT_BYTES = 9  # 63 bits: far more than any length can be


class ByteWriter:
    """A growing string of bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def raw(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes as they are."""
        self._bytes += data

    def varint(self, value: int) -> None:
        """Append a non-negative integer as LEB128: 7 bits a byte, low bits first."""
        while value > 0x7F:
            self._bytes.append(value & 0x7F | 0x80)
            value >>= 7
        self._bytes.append(value)

    def checksum(self) -> None:
        """Append the CRC-32 of everything so far (4 bytes, little-endian)."""
        self._bytes += zlib.crc32(self._bytes).to_bytes(4, "little")

    def bytes(self) -> bytes:
        """All that was written."""
        return bytes(self._bytes)


class ByteReader:
    """A view of bytes and a position; ``where`` names it in errors."""

    def __init__(self, data: bytes | memoryview, where: str) -> None:
        self._data = memoryview(data)
        self._at = 0
        self.where = where

    @property
    def at(self) -> int:
        """Bytes read so far."""
        return self._at

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def fail(self, fault: Fault, detail: str = "") -> FormatError:
        """The error to raise for something wrong here."""
        return FormatError(fault, self.where, detail)

    def raw(self, count: int) -> memoryview:
        """The next bytes; TRUNCATED if there are fewer."""
        if count > self.left:
            raise self.fail(Fault.TRUNCATED, f"{count} bytes wanted, {self.left} left")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        """The next byte."""
        return self.raw(1)[0]

    def varint(self) -> int:
        """The next LEB128 integer; only its shortest form is accepted."""
        value = 0
        for index in range(VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    raise self.fail(Fault.TOO_LARGE, "an integer is padded")
                return value
        raise self.fail(Fault.TOO_LARGE, "an integer of more than 63 bits")

    def checksum(self, start: int = 0) -> None:
        """Read a CRC-32 and compare it with that of everything since ``start``."""
        expected = zlib.crc32(self._data[start : self._at])
        if int.from_bytes(self.raw(4), "little") != expected:
            raise self.fail(Fault.CHECKSUM)

    def finish(self) -> None:
        """TRAILING unless everything has been read."""
        if self.left:
            raise self.fail(Fault.TRAILING, f"{self.left} bytes")


class BitWriter:
    """Bits into bytes, most significant bit first; the last byte is filled with zeros."""

    def __init__(self) -> None:
        self._value = 0
        self._count = 0

    def put(self, value: int, width: int) -> None:
        """Append the low ``width`` bits of a value."""
        self._value = self._value << width | value
        self._count += width

    def golomb(self, value: int, order: int) -> None:
        """Append an exponential Golomb code: short for small values."""
        value += 1 << order
        length = value.bit_length()
        self.put(0, length - 1 - order)
        self.put(value, length)

    def bytes(self) -> bytes:
        """All bits, padded to whole bytes."""
        size = (self._count + 7) // 8
        return (self._value << (8 * size - self._count)).to_bytes(size, "big")
