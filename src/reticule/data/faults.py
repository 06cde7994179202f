"""Images that cannot be used, told in one line.

>>> told({3: "cat/a.png is missing"}, 20, "pets")
'cat/a.png is missing'
>>> told({3: "cat/a.png is missing", 4: "cat/b.png is missing"}, 20, "pets", skipped=True)
'pets: passed over 2 of 20 images: cat/a.png is missing; cat/b.png is missing'
"""

from __future__ import annotations

from reticule.data.geometry import ADVICE
from reticule.data.store import Faults

_SHOWN = 10


def told(faults: Faults, of: int, name: str, skipped: bool = False) -> str:
    """The first faults and how many there are; one alone speaks for itself."""
    if len(faults) == 1 and not skipped:
        return next(iter(faults.values()))
    plain = {reason: reason.removesuffix(f": {ADVICE}") for reason in faults.values()}
    reasons = list(plain.values())
    text = "; ".join(reasons[:_SHOWN])
    if len(reasons) > _SHOWN:
        text += f"; and {len(reasons) - _SHOWN} more"
    if skipped:
        return f"{name}: passed over {len(faults)} of {of} images: {text}"
    resize = f"For those of another size, {ADVICE}. " if plain.keys() - set(reasons) else ""
    return (
        f"{name}: {len(faults)} of {of} images cannot be used: {text}. {resize}"
        "Mend or remove them, or pass them over with --skip-bad (skip_bad=True)"
    )
