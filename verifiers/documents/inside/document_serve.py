"""The warm grader of decks and texts: it has everything imported and forks a limited child for each file.

It reads framed jobs from its standard input and answers on its standard output, as the grader of workbooks
does (`verifiers/spreadsheet/inside/serve.py`). A job's bytes are the file and, behind it, the original.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "spreadsheet" / "inside")]  # in a bundle all lie together

import document_judge  # noqa: E402
from forks import answer, forked, frames  # noqa: E402  # ty: ignore[import-not-found]
from limits import Unconfined, confine  # noqa: E402  # ty: ignore[import-not-found]
from samples import rehearse  # noqa: E402

MEMORY_BYTES = 1024 << 20
CPU_SECONDS = 60
WALL_SECONDS = 90.0


def work(job: dict[str, Any], data: bytes, original: bytes | None) -> dict[str, Any]:
    """One job in the child."""
    try:
        confine(memory_bytes=job.get("memory_bytes", MEMORY_BYTES), cpu_seconds=CPU_SECONDS)
        return document_judge.judge(job["spec"], job["name"], data, original)
    except Unconfined as error:
        return {"kind": "broken", "reason": str(error)}
    except MemoryError:
        told = f"{job['name']} needs more memory than a graded document may."
        return document_judge.report("malformed", told)


def graded(job: dict[str, Any], data: bytes, original: bytes | None) -> dict[str, Any]:
    """The job's answer from a child of its own, or how the child ended."""
    seconds = job.get("seconds", WALL_SECONDS)
    return forked(lambda: work(job, data, original), job["name"], seconds)


def main() -> int:
    rehearse()
    for job, data in frames(sys.stdin.buffer):
        size = job["bytes"]
        answer(sys.stdout.buffer, graded(job, data[:size], data[size:] or None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
