"""Small images on disk, for tests of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int = 0, height: int = 6, width: int = 7, grey: bool = False) -> Image.Image:
    """An image of noise."""
    shape = (height, width) if grey else (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def write_tree(root: Path, files: Sequence[str], contents: Mapping[str, bytes] = {}) -> Path:
    """Images under the given names, ``name/`` being an empty folder; ``contents`` as they are."""
    for seed, name in enumerate(files):
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            picture(seed).save(file, "PNG")
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
