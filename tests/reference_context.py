"""The decoder of adaptive chunks, written from docs/format.md alone, in plain Python."""

from __future__ import annotations


def decode(preset, data, calls):
    raise NotImplementedError
