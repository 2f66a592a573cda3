"""The in-process grader: full, zero, malformed, the same again; forgeries; files that must not be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from bad_files import BAD, heavy
from small_task import FILE, saved, solved, specification, start

from verifiers.spreadsheet.child import INSIDE, WarmChild, grade_job
from verifiers.spreadsheet.forgeries import FORGERIES, Forger

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="graded in process on Linux only"
)


@pytest.fixture(scope="module")
def child() -> Iterator[WarmChild]:
    with WarmChild() as warm:
        yield warm


def grade(child: WarmChild, data: bytes, name: str = FILE) -> dict[str, Any]:
    return child.ask(grade_job(specification(), name), data)


def failed(report: dict[str, Any]) -> set[str]:
    return {check["name"] for check in report["checks"] if not check["passed"]}


def test_a_right_workbook_is_paid_every_time(child: WarmChild) -> None:
    first, second = (grade(child, saved(solved())) for _ in range(2))
    assert (first["kind"], first["reward"]) == ("scored", 1.0)
    assert first == second
    assert first["report"]["engines"] == {"ironcalc": "0.9.1"}


def test_an_untouched_workbook_is_not(child: WarmChild) -> None:
    report = grade(child, saved(start()))
    assert (report["kind"], report["reward"]) == ("scored", 0.0)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_not(child: WarmChild, name: str) -> None:
    forged = FORGERIES[name](Forger(saved(start()), saved(solved()), specification()))
    report = grade(child, forged)
    assert (report["kind"], report["reward"]) == ("scored", 0.0), report
    assert failed(report)


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [
        ({"B3": "=B2*0.2"}, {"live", "other inputs"}),
        ({"B4": '=IF(B2>=Stock!F2,"TRUE","FALSE")'}, {"figures", "other inputs"}),
        ({"B2": "=SUMPRODUCT(Stock!B2:B4,Stock!C2:C4)"}, {"figures", "other inputs"}),
        ({"B2": "=B2"}, {"figures", "live", "other inputs"}),
        ({"B4": True}, {"live", "other inputs"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(child: WarmChild, cells: dict[str, Any], wrong: set[str]) -> None:
    assert failed(grade(child, saved(solved(**cells)))) == wrong


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_one_sentence(child: WarmChild, name: str) -> None:
    file, make, word = BAD[name]
    report = grade(child, make(), file)
    assert (report["kind"], report["reward"]) == ("malformed", 0.0), report
    assert word in report["reason"]
    assert "\n" not in report["reason"]


def test_memory_is_bounded(child: WarmChild) -> None:
    job = grade_job(specification(), FILE) | {"memory_bytes": 300 << 20}
    report = child.ask(job, heavy())
    assert (report["kind"], report["reward"]) == ("malformed", 0.0), report
    assert "memory" in report["reason"]
    assert grade(child, saved(solved()))["reward"] == 1.0  # the child lives on


def test_opendocument_needs_the_authority(child: WarmChild) -> None:
    book = saved(solved())
    assert grade(child, book, "stock.csv")["kind"] == "malformed"


CONFINED = """
import os, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
from limits import confine
confine(memory_bytes=1 << 30, cpu_seconds=10)
def refused(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
print(refused(socket.socket), refused(os.fork), refused(lambda: os.execv("/bin/true", ["true"])),
      refused(lambda: bytearray(2 << 30)), os.getuid())
"""


def test_a_child_has_no_network_no_programs_and_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, str(INSIDE)], capture_output=True, text=True, check=True, timeout=60
    )
    *refused, uid = done.stdout.split()
    assert refused == ["PermissionError", "PermissionError", "PermissionError", "MemoryError"]
    assert int(uid) == (65534 if os.getuid() == 0 else os.getuid())
