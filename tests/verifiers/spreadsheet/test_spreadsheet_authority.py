"""The container authority: the same verdicts by LibreOffice, .ods, and functions that an engine lacks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from small_task import FILE, saved, solved, specification, start

from envs.docker.backend import DockerBackend
from verifiers.spreadsheet.authority import Authority
from verifiers.spreadsheet.child import grade_job, values_job
from verifiers.spreadsheet.forgeries import FORGERIES, Forger
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

TO_ODS = """
mkdir -p /tmp/ods && cd /tmp/ods && cat > book.xlsx
soffice --headless -env:UserInstallation=file:///tmp/ods/profile --convert-to ods book.xlsx >/dev/null 2>&1
cat book.ods
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, docker: object) -> dict[str, dict[str, Any]]:
    """Everything that is asked, in one warm container."""
    settings = Settings(home=tmp_path_factory.mktemp("authority"))
    return asyncio.run(_ask(settings))


async def _ask(settings: Settings) -> dict[str, dict[str, Any]]:
    spec = specification()
    right = saved(solved())
    books: dict[str, tuple[str, bytes]] = {
        "right": (FILE, right), "again": (FILE, right), "untouched": (FILE, saved(start())),
        "corrupt": (FILE, right[:500]),
        "lambda": (FILE, saved(solved(B3="=_xlfn.LAMBDA(_xlpm.x,_xlpm.x*Stock!F1)(B2)"))),
        "lambda of a constant": (FILE, saved(solved(B3="=_xlfn.LAMBDA(_xlpm.x,_xlpm.x+B2*0)(13.4)"))),
        "cube": (FILE, saved(solved(B3='=IF(FALSE,CUBEVALUE("x"),B2*Stock!F1)'))),
    }  # fmt: skip
    forger = Forger(saved(start()), right, spec)
    books |= {f"forged {name}": (FILE, forge(forger)) for name, forge in FORGERIES.items()}
    async with DockerBackend(settings) as backend, Authority(backend, settings) as authority:
        assert authority.sandbox is not None
        ods = await authority.sandbox.exec(["/bin/sh", "-c", TO_ODS], timeout=180, stdin=right)
        books["ods"] = (FILE.replace(".xlsx", ".ods"), ods.stdout)
        reports = await authority.ask_all([(grade_job(spec, name), data) for name, data in books.values()])
        found = dict(zip(books, reports, strict=True))
        found["values"] = await authority.ask(values_job(FILE, ["Result!B2:B4"]), right)
    return found


def test_libreoffice_decides_and_says_so(answers: dict[str, dict[str, Any]]) -> None:
    report = answers["right"]
    assert (report["kind"], report["reward"]) == ("scored", 1.0), report
    assert report == answers["again"]
    assert report["report"]["decided_by"] == "LibreOffice"
    major, minor, *_ = report["report"]["engines"]["LibreOffice"].split(".")
    assert (int(major), int(minor)) >= (25, 2)
    (engines,) = [check for check in report["checks"] if check["name"] == "engines"]
    assert "ironcalc 0.9.1 agrees on 6 of 6 values" in engines["evidence"]


def test_both_engines_say_the_same(answers: dict[str, dict[str, Any]]) -> None:
    values = answers["values"]["values"]
    cells = [["Result", 2, 2, "number", 77.0], ["Result", 3, 2, "number", pytest.approx(15.4)]]
    assert values["LibreOffice"]["cells"][:2] == cells
    assert values["ironcalc"]["cells"][:2] == cells


def test_opendocument_is_read(answers: dict[str, dict[str, Any]]) -> None:
    assert (answers["ods"]["kind"], answers["ods"]["reward"]) == ("scored", 1.0), answers["ods"]


def test_what_is_not_right_is_not_paid(answers: dict[str, dict[str, Any]]) -> None:
    assert (answers["untouched"]["kind"], answers["untouched"]["reward"]) == ("scored", 0.0)
    assert (answers["corrupt"]["kind"], answers["corrupt"]["reward"]) == ("malformed", 0.0)
    forged = {name: report["reward"] for name, report in answers.items() if name.startswith("forged ")}
    assert len(forged) == len(FORGERIES)
    assert set(forged.values()) == {0.0}


def test_a_function_that_the_authority_lacks_is_the_second_engines(
    answers: dict[str, dict[str, Any]],
) -> None:
    assert answers["lambda"]["reward"] == 1.0, answers["lambda"]
    assert answers["lambda"]["report"]["decided_by"] == "ironcalc"
    assert answers["lambda of a constant"]["reward"] == 0.0  # and it is no way out


def test_a_function_that_both_lack_makes_the_task_unsupported(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["cube"]["kind"] == "unsupported"
    assert "CUBEVALUE" in answers["cube"]["reason"]
    assert "reward" not in answers["cube"]
