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

from codec_samples import SAMPLES, described  # noqa: E402

from reticule.codec import load, save  # noqa: E402
from reticule.codec.chunks import PRESETS  # noqa: E402
from reticule.forms import Packed  # noqa: E402


def fingerprint(packed: Packed) -> dict[str, str]:
    """For each tensor the SHA-256 of its float32 weights, little-endian in C order."""
    return {
        name: hashlib.sha256(form.dense().astype("<f4").tobytes()).hexdigest()
        for name, form in packed.forms.items()
    }


def main() -> None:
    expected = {}
    for sample, make in SAMPLES.items():
        for preset in PRESETS:
            path = HERE / f"{sample}-{preset}.ret"
            if not path.exists():
                save(path, make(), described(), preset)
            expected[path.name] = fingerprint(load(path).packed)
    text = json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
    (HERE / "expected.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
