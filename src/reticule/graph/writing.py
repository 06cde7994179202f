"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from reticule.errors import ModelError


def write_whole(path: str | Path, data: bytes) -> None:
    """Write to a temporary file beside ``path``, then rename it into place.

    Raises ModelError naming the file where that fails; an old file then stays as it was.
    """
    path = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())  # a temporary file is private, the result is not
        os.replace(temporary, path)
    except OSError as problem:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        reason = problem.strerror or str(problem)
        raise ModelError(f"{path}: cannot be written: {reason}; choose another place") from None


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
