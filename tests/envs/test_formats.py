"""Parsers of Go's and C's reports: words of real runs, and what is no report."""

from __future__ import annotations

import json

import pytest

from envs import formats
from warehouse.errors import FactoryError


def events(*lines: dict[str, object]) -> bytes:
    return "\n".join(json.dumps(line) for line in lines).encode()


def told(name: str, log: bytes, files: dict[str, bytes] | None = None) -> dict[str, str]:
    parsed = formats.read(name, log, files or {})
    return {e.id: "uncollected" for e in parsed.collection_errors} | {
        r.id: r.status.value for r in parsed.results
    }


P = "example.org/p"
# name → (parser, log, what it says)
LOGS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    # Go before 1.24: the build speaks plain text, between the events of other packages.
    "a package that does not build": (
        "go_json",
        b"# example.org/p [example.org/p.test]\n./p_test.go:5:2: undefined: Nowhere\n"
        b"FAIL\texample.org/p [build failed]\n"
        + events(
            {"Action": "run", "Package": "example.org/q", "Test": "TestQ"},
            {"Action": "pass", "Package": "example.org/q", "Test": "TestQ", "Elapsed": 0.5},
            {"Action": "pass", "Package": "example.org/q"},
        ),
        {"example.org/q::TestQ": "passed", P: "uncollected"},
    ),
    "a build that is told in events": (
        "go_json",
        events(
            {"ImportPath": f"{P} [{P}.test]", "Action": "build-output", "Output": "undefined: Nowhere\n"},
            {"ImportPath": f"{P} [{P}.test]", "Action": "build-fail"},
            {"Action": "start", "Package": P},
            {"Action": "output", "Package": P, "Output": f"FAIL\t{P} [build failed]\n"},
            {"Action": "fail", "Package": P, "Elapsed": 0, "FailedBuild": f"{P} [{P}.test]"},
        ),
        {P: "uncollected"},
    ),
    "a panic leaves a test without an end": (
        "go_json",
        events(
            {"Action": "run", "Package": P, "Test": "TestA"},
            {"Action": "pass", "Package": P, "Test": "TestA", "Elapsed": 0},
            {"Action": "run", "Package": P, "Test": "TestB"},
            {"Action": "output", "Package": P, "Test": "TestB", "Output": "panic: no\n"},
            {"Action": "fail", "Package": P},
        ),
        {f"{P}::TestA": "passed", f"{P}::TestB": "error", P: "uncollected"},
    ),
    "a panic that Go tells as a failure": (
        "go_json",
        events(
            {"Action": "run", "Package": P, "Test": "TestB"},
            {"Action": "output", "Package": P, "Test": "TestB", "Output": "--- FAIL: TestB (0.00s)\n"},
            {"Action": "output", "Package": P, "Test": "TestB", "Output": "panic: no [recovered]\n"},
            {"Action": "fail", "Package": P, "Test": "TestB", "Elapsed": 0},
            {"Action": "output", "Package": P, "Output": f"FAIL\t{P}\t0.004s\n"},
            {"Action": "fail", "Package": P},
        ),
        {f"{P}::TestB": "failed", P: "uncollected"},
    ),
    "a package that fails beside its tests": (
        "go_json",
        events(
            {"Action": "run", "Package": P, "Test": "TestA"},
            {"Action": "pass", "Package": P, "Test": "TestA"},
            {"Action": "output", "Package": P, "Output": "coverage too low\n"},
            {"Action": "fail", "Package": P},
        ),
        {f"{P}::TestA": "passed", P: "error"},
    ),
    "text of two packages": (
        "go_text",
        b"=== RUN   TestA\n=== RUN   TestA/one\n    a_test.go:9: no\n--- FAIL: TestA (0.10s)\n"
        b"    --- FAIL: TestA/one (0.00s)\nFAIL\nFAIL\texample.org/p\t0.1s\n"
        b"=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\nok  \texample.org/q\t0.1s\n"
        b"?   \texample.org/r\t[no test files]\nFAIL\texample.org/s [build failed]\nFAIL\n",
        {
            "example.org/p::TestA": "failed",
            "example.org/p::TestA/one": "failed",
            "example.org/q::TestA": "passed",
            "example.org/s": "uncollected",
        },
    ),
    "ctest -V": (
        "c",
        b"test 1\n      Start  1: parse\n\n1: Test command: /b/parse\n1: t/parse.c:9:empty:PASS\n"
        b"1: t/parse.c:12:array:FAIL: Expected 1 Was 2\n"
        b"1/5 Test  #1: parse  ....***Failed    0.01 sec\n"
        b"test 2\n      Start  2: gone\nCould not find executable gone\n"
        b"2/5 Test  #2: gone  ....***Not Run   0.00 sec\n"
        b"test 3\n      Start  3: later\n3/5 Test  #3: later  ....***Skipped   0.00 sec\n"
        b"test 4\n      Start  4: off\n4/5 Test  #4: off ....Not Run (Disabled)   0.00 sec\n"
        b"test 5\n      Start  5: hangs\n5/5 Test  #5: hangs  ....***Timeout   9.01 sec\n",
        {
            "parse": "failed", "parse::empty": "passed", "parse::array": "failed", "gone": "uncollected",
            "later": "skipped", "off": "skipped", "hangs": "timeout",
        },
    ),
    "a crash inside GoogleTest": (
        "c",
        b"      Start  1: unit\n1: [ RUN      ] A.One\n1: [       OK ] A.One (2 ms)\n1: [ RUN      ] A.Two\n"
        b"1/1 Test  #1: unit  ....***Exception: SegFault  0.01 sec\n",
        {"unit": "failed", "unit::A.One": "passed", "unit::A.Two": "error"},
    ),
    "automake in two folders": (
        "c",
        b"make[1]: Entering directory '/app'\nmake[2]: Entering directory '/app/a'\nPASS: one\nFAIL: two.sh\n"
        b"# PASS:  1\nmake[2]: Leaving directory '/app/a'\nmake[2]: Entering directory '/app/b'\nXFAIL: one\n"
        b"SKIP: three\nERROR: four\nmake[2]: Leaving directory '/app/b'\n",
        {"a/one": "passed", "a/two.sh": "failed", "b/one": "xfailed", "b/three": "skipped",
         "b/four": "error"},
    ),
    "a plain make whose tests speak TAP": (
        "c",
        b"./t/basic\n1..3\nok 1 - adds\nnot ok 2 - divides\nok 3 - later # SKIP not today\n"
        b"make: *** [Makefile:9: test] Error 1\n[make test] exit status 2\n",
        {"adds": "passed", "divides": "failed", "later": "skipped"},
    ),
    "a plain make that says nothing": (
        "c",
        b"cc -o t t.c\n./t\nall good\n[make check] exit status 0\n",
        {"make check": "passed"},
    ),
    "a plain make that does not compile": (
        "c",
        b"t.c:3:5: error: unknown type name 'in'\n[make check] exit status 2\n",
        {"make check": "uncollected"},
    ),
    "Boost.Test and Check": (
        "c",
        b'Entering test module "m"\na.cpp(3): Entering test suite "s"\na.cpp(4): Entering test case "one"\n'
        b'a.cpp(4): Leaving test case "one"; testing time: 9us\na.cpp(9): Entering test case "two"\n'
        b'a.cpp(9): error: in "s/two": check 1 == 2 has failed\na.cpp(9): Leaving test case "two"\n'
        b'a.cpp(3): Leaving test suite "s"; testing time: 9us\n'
        b"check_x.c:12:P:Core:test_new:0: Passed\ncheck_x.c:20:F:Core:test_old:0: Assertion failed\n",
        {"s/one": "passed", "s/two": "failed", "Core:test_new:0": "passed", "Core:test_old:0": "failed"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "log", "expected"), LOGS.values(), ids=LOGS)
def test_words_of_real_runs(name: str, log: bytes, expected: dict[str, str]) -> None:
    assert told(name, log) == expected


CTEST_XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="(empty)" tests="3" failures="1" disabled="0" skipped="1" hostname="" time="0">
\t<testcase name="parse" classname="parse" time="0.25" status="fail">
\t\t<failure message="Failed"/>
\t\t<properties/>
\t\t<system-out>t/parse.c:9:empty:PASS
t/parse.c:12:array:FAIL: Expected 1 Was 2
</system-out>
\t</testcase>
\t<testcase name="gone" classname="gone" time="0" status="notrun">
\t\t<skipped message="Unable to find executable"/>
\t\t<system-out>Unable to find executable: gone</system-out>
\t</testcase>
\t<testcase name="later" classname="later" time="0" status="notrun">
\t\t<skipped message="SKIP_RETURN_CODE=77"/>
\t</testcase>
</testsuite>
"""


def test_the_junit_file_of_ctest() -> None:
    found = told("c", b"", {"ctest.xml": CTEST_XML})
    assert found == {
        "parse": "failed", "parse::empty": "passed", "parse::array": "failed", "gone": "uncollected",
        "later": "skipped",
    }  # fmt: skip
    parse, _, array, later = formats.parse("c", b"", {"ctest.xml": CTEST_XML})
    assert (parse.seconds, array.message, later.id) == (0.25, "Expected 1 Was 2", "later")


@pytest.mark.parametrize("name", ["go_json", "go_text", "c"])
@pytest.mark.parametrize("log", [b"", b"\xff\x00", b'{"Action": 1}', b"[" * 100_000, b"1/1 Test #1: x"])
def test_what_is_no_report_raises_value_error(name: str, log: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        formats.parse(name, log, {})


@pytest.mark.parametrize(
    "xml",
    [
        CTEST_XML[:-20],
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><testsuite/>',
        CTEST_XML.replace(b"?>", b"?><!DOCTYPE testsuite>", 1).decode().encode("utf-16"),
    ],
)
def test_a_hostile_or_broken_junit_file_is_refused(xml: bytes) -> None:
    with pytest.raises(ValueError, match="JUnit"):
        formats.parse("c", b"", {"ctest.xml": xml})


def test_a_crash_hides_the_tests_behind_it() -> None:
    _, log, _ = LOGS["a crash inside GoogleTest"]
    assert [error.id for error in formats.read("c", log, {}).collection_errors] == ["unit"]


def test_formats_are_known_by_name() -> None:
    assert {"c", "go_json", "go_text"} <= set(formats.names())
    assert b"def parse(" in formats.source("c")
    with pytest.raises(FactoryError, match="no report format"):
        formats.source("../c")
