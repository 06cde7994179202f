"""Another program's library, in a process of its own environment that waits for jobs."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class Waiting:
    """A Python of another environment that runs ``server`` (a file beside this one).

    A job is a JSON object in a line of its standard input, and so is the answer on its standard
    output.  ``folder`` is for what is too large for that.  Raises RuntimeError where it cannot
    start, or ends.
    """

    def __init__(self, title: str, python: str, server: str) -> None:
        self.title = title
        self._holder = tempfile.TemporaryDirectory(prefix=f"{title.lower()}-")
        self.folder = Path(self._holder.name)
        self.log = (self.folder / "log.txt").open("w")
        try:
            self.process = subprocess.Popen(
                [python, str(Path(__file__).with_name(server).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                text=True,
            )
        except OSError as problem:
            raise RuntimeError(f"{python}: {problem.strerror}") from None

    def ask(self, limit: float | None = None, **job: Any) -> dict[str, Any]:
        """The answer to a job; after ``limit`` seconds TimeoutError, and the process is ended."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.process.kill()
            raise TimeoutError(f"{self.title}: no answer in {limit:g} seconds")
        line = self.process.stdout.readline()
        if not line:
            self.log.flush()
            reason = Path(self.log.name).read_text().strip().splitlines() or ["it ended"]
            raise RuntimeError(f"{self.title}: {reason[-1]}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
        self._holder.cleanup()
