"""Warm graders: the in-process one, a child of this process with limits; and the frames that jobs travel in.

The child imports everything once and forks a limited process for each workbook (see `inside/serve.py`), so a
hostile file costs that process alone. Only ironcalc works there; what it cannot decide is `needs_authority`
or `unsupported`, and goes to the container (`verifiers.spreadsheet.authority`).
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verifiers.spreadsheet.spec import SpreadsheetSpec
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside"


def frame(job: Mapping[str, Any], data: bytes) -> bytes:
    """A job as it is sent."""
    head = json.dumps(job).encode()
    return struct.pack(">II", len(head), len(data)) + head + data


def grade_job(spec: SpreadsheetSpec, name: str, *, hasty: bool = False) -> dict[str, Any]:
    """The job of grading a file called `name`."""
    return {"do": "grade", "spec": spec.document(), "name": name, "hasty": hasty}


def values_job(name: str, areas: Sequence[str]) -> dict[str, Any]:
    """The job of telling what each engine there calculates in `areas` (`Sheet!A1:B9`)."""
    return {"do": "values", "name": name, "areas": list(areas)}


class WarmChild:
    """A grader beside this process. Any thread may ask; one job runs at a time."""

    def __init__(self, program: Path = INSIDE / "serve.py") -> None:
        self._program = program
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, job: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        """The answer to a job. Raises FactoryError where this machine cannot hold such a child."""
        if not sys.platform.startswith("linux"):
            raise FactoryError(
                "Workbooks are graded in process on Linux only; grade in a container here (the authority)."
            )
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(frame(job, data))
                process.stdin.flush()
                (size,) = struct.unpack(">I", _exactly(process.stdout, 4))
                return json.loads(_exactly(process.stdout, size))
            except (OSError, EOFError) as error:
                self._end()
                raise FactoryError(
                    f"The grader of workbooks ended ({error}); run the command again."
                ) from error

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(self._program)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, cwd="/", env={},
            )  # fmt: skip
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End the child. Idempotent."""
        with self._lock:
            self._end()

    def __enter__(self) -> WarmChild:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _exactly(stream: Any, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("no answer")
    return data
