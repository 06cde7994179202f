"""Makes the golden files: run it only when a new file joins them, never to make a test pass.

A change of what an existing file decodes to, or of the bytes that it encodes to, is a
change of the format; docs/format.md says when that is allowed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from codec_samples import described, odd_shapes, small_cnn  # noqa: E402

from reticule.codec import About, load, save  # noqa: E402
from reticule.forms import Packed  # noqa: E402

FILES = {
    "small_cnn.ret": (small_cnn(), described()),
    "odd_shapes.ret": (odd_shapes(), About()),
}


def fingerprint(packed: Packed) -> dict[str, str]:
    """For each tensor the SHA-256 of its float32 weights, little-endian in C order."""
    return {
        name: hashlib.sha256(form.dense().astype("<f4").tobytes()).hexdigest()
        for name, form in packed.forms.items()
    }


def main() -> None:
    expected = {}
    for name, (packed, about) in FILES.items():
        path = HERE / name
        if not path.exists():
            save(path, packed, about)
        expected[name] = fingerprint(load(path).packed)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
