"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from reticule.errors import ReticuleError


def write_whole(path: str | os.PathLike[str], data: bytes | Iterable[bytes | bytearray]) -> None:
    """Write to a temporary file beside ``path``, then rename it into place.

    ``data`` may come in parts.

    Raises ReticuleError naming the file where that fails; an old file then stays as
    it was, and nothing half-written is left behind.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(beside, "xb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except (OSError, ValueError) as problem:  # ValueError: a null character in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ReticuleError(
            f"{target}: cannot be written ({reason}); check folder and free space"
        ) from None
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (OSError, ValueError):
        return  # the error that led here says what is wrong
