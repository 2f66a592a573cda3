"""Suites that are a command: what counts as a report, and what a lying, crashing or flooding one is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from verifier_projects import make_project, observe_here, statuses

from verifiers.tests.spec import TestSpec

JUNIT = '<testsuite><testcase name="{}" status="{}"><system-out></system-out></testcase></testsuite>'
PASSES = "1/1 Test  #1: a ....   Passed    0.01 sec"


def run(tmp_path: Path, script: str, *options: str, **spec: Any) -> dict[str, Any]:
    """What the supervisor says of a shell script that plays a test runner."""
    project = make_project(tmp_path / "app", {"run.sh": script, "kept.xml": JUNIT.format("kept", "run")})
    values = {"command": ("sh", "run.sh", "{out}"), "report": "c", "log_report": "c"} | spec
    return observe_here(
        tmp_path, project, "--state", "base", *options, runner="command", python="", args=(), **values
    )


def xml(name: str, status: str = "run") -> str:
    return f"echo '{JUNIT.format(name, status)}'"


def test_reports_come_from_files_and_the_log_backs_them(tmp_path: Path) -> None:
    script = f"mkdir $1/deep; {xml('a')} > $1/deep/a.xml; {xml('b', 'fail')} > b.xml; exit 1"
    files = ("{out}/**/*.xml", "*.xml")
    report = run(tmp_path, script, report_files=files)
    # kept.xml is the project's own file: no report
    assert statuses(report) == {"a": "passed", "b": "failed"}
    assert (report["outcome"], report["disagreements"], report["exit_code"]) == ("finished", [], 1)


def test_without_a_report_file_the_log_is_read(tmp_path: Path) -> None:
    script = f"echo '  Start 1: a'; echo '{PASSES}'"
    report = run(tmp_path, script, report_files=("{out}/*.xml",))
    assert statuses(report) == {"a": "passed"}


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        (f"ln -s $PWD/kept.xml $1/a.xml; {xml('b')} > $1/b.xml", "report: not a report"),
        (f"{xml('a')} > x; ln x $1/a.xml; {xml('b')} > $1/b.xml", "report: not a report"),
        (f"mkfifo $1/a.xml; {xml('b')} > $1/b.xml", "report: not a report"),
        (f"truncate -s 65M $1/a.xml; {xml('b')} > $1/b.xml", "report: not a report"),
        ("echo '<testsuite><testcase name=' > $1/a.xml", "report: unreadable"),
        (f"{xml('b')} > $1/b.xml; exit 3", "exit: status 3, but no test failed"),
        (f"{xml('b', 'fail')} > $1/b.xml", "exit: status 0, but 1 tests failed"),
        (
            f"{xml('a', 'fail')} > $1/a.xml; echo ' Start 1: a'; echo '{PASSES}'; exit 1",
            "log: passed there, failed in the report: a",
        ),
        ("head -c 70000000 /dev/zero; " + xml("b") + " > $1/b.xml", "report: more output"),
    ],
    ids=["link", "hard link", "pipe", "size", "malformed", "exit", "hidden failure", "channels", "flood"],
)
def test_what_is_no_honest_report_is_told(tmp_path: Path, script: str, complaint: str) -> None:
    report = run(tmp_path, script, report_files=("{out}/*.xml",))
    assert any(text.startswith(complaint) for text in report["disagreements"]), report
    assert statuses(report).get("a") != "passed"


def test_reports_that_lay_there_before_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".gitignore").write_text("old.xml\n")
    project = make_project(tmp_path / "app", {"run.sh": "exit 0"})
    (project / "old.xml").write_text(JUNIT.format("a", "run"))
    report = observe_here(
        tmp_path, project, "--state", "base", runner="command", python="", args=(),
        command=("sh", "run.sh"), report="c", report_files=("*.xml",),
    )  # fmt: skip
    assert report["results"] == []


def test_a_build_that_fails_leaves_every_test_missing(tmp_path: Path) -> None:
    report = run(tmp_path, f"{xml('a')} > $1/a.xml", build=("sh", "-c", "echo broken; exit 2"))
    assert (report["results"], report["outcome"], report["exit_code"]) == ([], "build_failed", 2)
    assert "broken" in report["log"]


def test_a_log_without_tests_contradicts_nothing(tmp_path: Path) -> None:
    report = run(tmp_path, "echo 'calc.c:1:1: error: nowhere'; exit 2", log_report="")
    assert (report["results"], report["outcome"], report["disagreements"]) == ([], "no_tests", [])


def test_a_command_that_is_not_there_runs_no_test(tmp_path: Path) -> None:
    report = run(tmp_path, "", command=("./gone.sh",))
    assert (report["results"], report["outcome"], report["exit_code"]) == ([], "no_tests", 127)
    assert "gone.sh does not start" in report["log"]


def test_the_limit_of_the_suite_ends_it(tmp_path: Path) -> None:
    report = run(tmp_path, f"{xml('a')} > $1/a.xml; sleep 60", report_files=("{out}/*.xml",), suite_seconds=2)
    assert (report["outcome"], report["exit_code"]) == ("timeout", None)
    assert statuses(report) == {"a": "passed"}


def test_placeholders_are_filled_and_seeds_are_for_shuffled_runs_only(tmp_path: Path) -> None:
    script = 'echo " Start 1: $*:$ORDER"; echo "1/1 Test #1: x   Passed  0.01 sec"'
    spec = {
        "command": ("sh", "run.sh", "--seed={seed}", "-t{test_seconds}"),
        "env": {"ORDER": "random:{seed}"},
        "test_seconds": 1.5,
    }
    assert set(statuses(run(tmp_path / "natural", script, **spec))) == {"-t2:"}
    shuffled = run(tmp_path / "shuffled", script, "--seed", "70000", **spec)
    assert set(statuses(shuffled)) == {"--seed=4466 -t2:random:4466"}


def test_a_command_needs_a_report() -> None:
    with pytest.raises(ValidationError, match="needs `command` and `report`"):
        TestSpec(runner="command", command=("true",))
    with pytest.raises(ValidationError, match="needs `command` and `report`"):
        TestSpec(runner="pytest", command=("true",), report="c")
    assert TestSpec(runner="pytest", args=("tests",)).python == "/opt/venv/bin/python"
