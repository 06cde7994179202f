"""safetensors out: the weights alone, under their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reticule.errors import MissingExtra
from reticule.files import write_whole
from reticule.graph.network import Network


def to_safetensors(network: Network, path: str | Path) -> None:
    """Write all tensors as float32; the file appears whole or not at all.

    Raises ModelError where it cannot be written, MissingExtra without ``safetensors``.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise MissingExtra("writing safetensors files", "safetensors", "onnx") from None
    tensors = {
        name: np.array(tensor, dtype=np.float32, order="C")
        for name, tensor in network.tensors.items()
    }
    write_whole(path, save(tensors))
