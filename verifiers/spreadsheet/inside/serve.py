"""The warm grader: a process that has everything imported and forks a limited child for each workbook.

`serve.py` reads jobs from its standard input, or from connections to `--socket PATH`, and answers where they
came from. A job is two lengths of four bytes, JSON and the workbook's bytes; an answer is one length and
JSON. A child that hangs, crashes or runs out of memory ends alone. With `--office` a LibreOffice server runs
beside it and decides; without, ironcalc does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # `python3 -I` leaves it out

import engine_ironcalc
import engine_libreoffice
import judge
from forks import answer, forked, frames
from intake import admit
from limits import Unconfined, confine
from rehearsal import SPEC, workbook

MEMORY_BYTES = 1536 << 20
CPU_SECONDS = 60
WALL_SECONDS = 120.0
VENVS = Path("/opt/ironcalc/lib")
OFFICE_USER = (1001, 1001)  # `tester`: whom LibreOffice runs as where we are root


def second_engine() -> None:
    """Let ironcalc be found where an image keeps it apart."""
    for folder in sorted(VENVS.glob("python3*/site-packages")):
        sys.path.append(str(folder))


def engines(office_port: int | None) -> judge.Engines:
    """What there is here, LibreOffice first."""
    openers: list[tuple[str, judge.Opener]] = []
    to_xlsx = None
    if office_port is not None:
        office = engine_libreoffice.Office(office_port)
        openers.append(
            (engine_libreoffice.NAME, lambda copy, names: engine_libreoffice.Session(office, copy, names))
        )
        to_xlsx = office.to_xlsx
    try:
        import ironcalc  # noqa: F401

        openers.append((engine_ironcalc.NAME, engine_ironcalc.Session))
    except ImportError:
        pass  # the authority works alone, and the report names who calculated
    unreadable = (engine_ironcalc.Unreadable, engine_libreoffice.Unreadable)
    return judge.Engines(openers, unreadable, to_xlsx)


def work(job: dict[str, Any], data: bytes, office_port: int | None) -> dict[str, Any]:
    """One job in the child: `grade` with a spec, or `values` of a trusted or untrusted workbook."""
    try:
        confine(
            memory_bytes=job.get("memory_bytes", MEMORY_BYTES), cpu_seconds=CPU_SECONDS,
            network=office_port is not None,
        )  # fmt: skip
        there = engines(office_port)
        if job["do"] == "values":
            return {"values": all_values(job, data, there)}
        return judge.judge(job["spec"], job["name"], data, there, hasty=job.get("hasty", False))
    except judge.NeedsAuthority as error:
        return {"kind": "needs_authority", "reason": str(error)}
    except judge.Unsupported as error:
        return {"kind": "unsupported", "reason": str(error)}
    except (Unconfined, engine_libreoffice.ServerLost) as error:
        return {"kind": "broken", "reason": str(error)}
    except ImportError as error:  # ours to mend: something was not loaded before the limits came
        return {"kind": "broken", "reason": f"{type(error).__name__}: {error}"}
    except MemoryError:
        return judge.report("malformed", f"{job['name']} needs more memory than a graded workbook may.")


def all_values(job: dict[str, Any], data: bytes, there: judge.Engines) -> dict[str, Any]:
    """Values of the asked areas by each engine, for comparing engines."""
    book = judge.Book.open(job["name"], admit(job["name"], data))
    areas = [judge.area(text, "") for text in job["areas"]]
    copy = book.copy()
    found = {}
    for name, opener in there.openers:
        session = opener(copy, book.workbook.sheetnames)
        session.calculate()
        cells = [
            [where.sheet, *place, *content]
            for where in areas
            if where is not None
            for place, content in sorted(session.read(where).items())
        ]
        found[name] = {"version": session.version, "cells": cells}
        session.close()
    return found


def graded(job: dict[str, Any], data: bytes, office_port: int | None) -> dict[str, Any]:
    """The job's answer from a child of its own, or how the child ended."""
    return forked(lambda: work(job, data, office_port), job["name"], job.get("seconds", WALL_SECONDS))


class Desk:
    """Answers jobs, with a LibreOffice server of its own where one is wanted."""

    def __init__(self, *, office: bool) -> None:
        self.office = office
        self.server: engine_libreoffice.Server | None = None

    def __enter__(self) -> Desk:
        self._start()
        judge.judge(SPEC, "rehearsal.xlsx", workbook(), engines(None))
        job = {"do": "grade", "spec": SPEC, "name": "rehearsal.xlsx"}
        if (found := self.answer(job, workbook())).get("reward") != 1.0:
            raise Unconfined(f"the rehearsal failed: {found}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        if self.office:
            self.server = engine_libreoffice.Server(_unprivileged if os.getuid() == 0 else None, OFFICE_USER)
            self.server.wait()

    def _stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def answer(self, job: dict[str, Any], data: bytes) -> dict[str, Any]:
        if self.server is not None and self.server.process.poll() is not None:
            self._stop()
            self._start()
        found = graded(job, data, self.server.port if self.server else None)
        if found.get("crashed") or found.get("kind") == "broken":
            self._stop()  # in whatever state it is
            self._start()
        return found


def _unprivileged() -> None:
    os.setgroups([])
    os.setgid(OFFICE_USER[1])
    os.setuid(OFFICE_USER[0])


def main() -> int:
    second_engine()
    with Desk(office="--office" in sys.argv) as desk:
        if "--socket" not in sys.argv:
            for job, data in frames(sys.stdin.buffer):
                answer(sys.stdout.buffer, desk.answer(job, data))
            return 0
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(sys.argv[sys.argv.index("--socket") + 1])
            door.listen(8)
            while True:
                line, _ = door.accept()
                with line, line.makefile("rb") as asked, line.makefile("wb") as told:
                    for job, data in frames(asked):
                        with contextlib.suppress(BrokenPipeError):  # who asked is gone
                            answer(told, desk.answer(job, data))


if __name__ == "__main__":
    sys.exit(main())
