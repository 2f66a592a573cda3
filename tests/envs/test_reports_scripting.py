"""Reports of Ruby, PHP, Perl, Lua and R suites: real logs of real tools, over mini-projects of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import formats

LOGS = Path(__file__).parent / "logs"

TILL = {
    "minitest": (
        "minitest.txt",
        {
            "Till#adds = up": "passed",
            "Till#gives change": "failed",
            "TestTill#test_change": "failed",
            "TestTill#test_card": "skipped",
            "TestTill#test_total": "passed",  # prints a line before its outcome
            "TestTill#test_boom": "error",
            "TestTill#test_noise": "passed",  # prints what looks like an outcome
            "Till::nested#x": "passed",
        },
    ),
    "test_unit": (
        "test_unit.txt",
        {
            "TillTest#test: words in name": "passed",
            "TillTest#test_boom": "error",
            "TillTest#test_card": "skipped",
            "TillTest#test_change": "failed",
            "TillTest#test_data[one]": "passed",
            "TillTest#test_data[two three]": "failed",
            "TillTest#test_later": "skipped",
            "TillTest#test_total": "passed",
            "TillTest::Inner#test_in": "passed",
        },
    ),
    "rspec_log": (
        "rspec.txt",
        {
            "Till adds": "passed",
            "Till gives change": "failed",
            "Till reads cards": "skipped",
            "Till later": "skipped",
            "Till pends": "skipped",
            "Till pends but passes": "failed",
            "Till booms": "failed",
            "Till is expected to eq 1": "passed",
            "Till dup": "failed",
        },
    ),
    "tap": (
        "prove.txt",
        {
            "t/dies.t > one": "passed",
            "t/skipall.t": "skipped",
            "t/till.t > adds": "passed",
            "t/till.t > gives change": "failed",
            "t/till.t > 3": "skipped",
            "t/till.t > todo fails": "xfailed",
            "t/till.t > todo passes": "xpassed",
            "t/till.t > nested > in": "passed",
            "t/till.t > nested > in two": "failed",
            "t/till.t > 7": "passed",
        },
    ),
    "busted": (
        "busted.txt",
        {
            "spec/till_spec.lua::till adds": "passed",
            "spec/till_spec.lua::till gives change": "failed",
            "spec/till_spec.lua::till reads cards": "skipped",
            "spec/till_spec.lua::till booms": "failed",
            "spec/till_spec.lua::till nested x": "passed",
        },
    ),
    "scripts": (
        "luaunit.txt",
        {
            "test/lu.lua": "failed",
            "test/lu.lua::TestTill.testBoom": "failed",
            "test/lu.lua::TestTill.testCard": "skipped",
            "test/lu.lua::TestTill.testChange": "failed",
            "test/lu.lua::TestTill.testTotal": "passed",  # prints between its name and its outcome
            "test/lu.lua::test_plain": "passed",
        },
    ),
    "testthat": (
        "testthat.txt",
        {
            "tests/testthat/test-till.R::adds": "passed",
            "tests/testthat/test-till.R::gives change": "failed",
            "tests/testthat/test-till.R::reads cards": "skipped",
            "tests/testthat/test-till.R::empty": "skipped",
            "tests/testthat/test-till.R::warns": "passed",
            'tests/testthat/test-till.R::booms "x"': "error",
            "tests/testthat/test-till.R::till: does x": "passed",
        },
    ),
}


def worst(name: str, log: bytes, files: dict[str, bytes] | None = None) -> dict[str, str]:
    """Status by id, of equal ids the one that did not pass."""
    found: dict[str, str] = {}
    for result in formats.parse(name, log, files or {}):
        if found.get(result.id, "passed") == "passed":
            found[result.id] = result.status.value
    return found


@pytest.mark.parametrize("name", TILL)
def test_a_log_is_read(name: str) -> None:
    file, statuses = TILL[name]
    assert worst(name, (LOGS / file).read_bytes()) == statuses


@pytest.mark.parametrize("version", ["9", "11"])
def test_phpunit_tells_tests_as_they_end(version: str) -> None:
    """The same of every version, in a file or in the log, and of a run that a fatal error cut off."""
    log = (LOGS / f"phpunit_{version}.txt").read_bytes()
    case = r"Shop\Tests\TillTest::"
    expected = {
        f"{case}testTotal": "passed",
        f"{case}testChange": "failed",
        f"{case}testCard": "skipped",
        f"{case}testLater": "skipped",
        f"{case}testRisky": "passed",  # PHPUnit's exit status counts it as passed
        f"{case}testBoom": "failed",
        f'{case}testSums with data set "one two"': "passed",
        f"{case}testSums with data set #0": "failed",
    }
    assert worst("phpunit_log", log) == expected
    assert worst("phpunit_log", b"noise", {"phpunit.teamcity": log}) == expected
    said = {r.id: r.message for r in formats.parse("phpunit_log", log, {})}
    assert "such 'coin' | [x]" in said[f"{case}testBoom"]
    cut = log[: log.index(b"testFailed name='testBoom'")]
    assert worst("phpunit_log", cut)[f"{case}testBoom"] == "error"


def test_rspec_names_examples_by_file() -> None:
    report = (LOGS / "rspec.json").read_bytes()
    found = worst("rspec_json", b"", {"rspec.json": report})
    by_log = {f"spec/till_spec.rb::{name}": status for name, status in TILL["rspec_log"][1].items()}
    assert found == by_log
    unloaded = b'{"version":"3.12.0","messages":["\\nAn error occurred while loading ./spec/a_spec.rb.\\n"]'
    parsed = formats.read("rspec_json", b"progress\n" + unloaded + b',"examples":[]}\n', {})
    assert [error.id for error in parsed.collection_errors] == ["spec/a_spec.rb"]


@pytest.mark.parametrize(
    ("name", "log", "file"),
    [
        ("minitest", b"verifactory: cannot load test/a.rb: LoadError: x\n", "test/a.rb"),
        ("test_unit", b"verifactory: cannot load test/a.rb: LoadError: x\n", "test/a.rb"),
        ("tap", (LOGS / "prove.txt").read_bytes(), "t/dies.t"),
        ("busted", (LOGS / "busted.txt").read_bytes(), "spec/bad_spec.lua"),
    ],
)
def test_what_cannot_be_loaded_is_no_test(name: str, log: bytes, file: str) -> None:
    """A file that breaks off is named, so that the exit status of its run is accounted for."""
    parsed = formats.read(name, log, {})
    assert file in [error.id for error in parsed.collection_errors]
    assert file not in [result.id for result in parsed.results]


def test_a_test_that_ends_its_process_is_an_error() -> None:
    for name, log in (
        ("minitest", b"# Running:\n\nTestTill#test_a = 0.00 s = .\nTestTill#test_b = out"),
        ("test_unit", b"TillTest: \n  test_a:\t\t.: (0.000505)\n  test_b:\t\tout"),
        ("busted", b"# spec/a_spec.lua @ 3: a\nok 1 - a\n# spec/a_spec.lua @ 4: b\nout"),
        ("testthat", b"verifactory: script tests/a.R\nStart test: a\n  'a.R:1' [success]\nEnd test: a\n\n"
                     b"Start test: b\n"),
    ):  # fmt: skip
        statuses = list(worst(name, log).values())
        assert statuses == ["passed", "error"], name


def test_hand_made_marks_are_tests() -> None:
    """In the forms that scripts without a framework use; a reason behind a failing name is no part of it."""
    log = b"""verifactory: script test/a.lua
[pass] numbers
[FAIL] strings : test.lua:3: expected "a" : "b"
ok - plain
PASS: words (3 ms)
lists ... ok
trees .......... FAILED
an error: nothing
status: ok
\xe2\x9c\x93 sign
verifactory: status 0 test/a.lua
verifactory: script test/b.sh
verifactory: status 77 test/b.sh
verifactory: script test/c.sh
Segmentation fault
"""
    assert worst("scripts", log) == {
        "test/a.lua": "passed",
        "test/a.lua::numbers": "passed",
        "test/a.lua::strings": "failed",
        "test/a.lua::plain": "passed",
        "test/a.lua::words": "passed",
        "test/a.lua::lists": "passed",
        "test/a.lua::trees": "failed",
        "test/a.lua::sign": "passed",
        "test/b.sh": "skipped",
        "test/c.sh": "error",
    }


NAMES = ("minitest", "test_unit", "rspec_json", "rspec_log", "phpunit_log", "scripts", "testthat", "busted")
REAL = tuple(path.read_bytes() for path in sorted(LOGS.iterdir()))


@given(st.sampled_from(NAMES), st.sampled_from(REAL), st.integers(0, 14_000), st.binary(max_size=40))
def test_no_report_breaks_a_parser(name: str, log: bytes, cut: int, noise: bytes) -> None:
    """Cut off, spoilt or another's: results, or a ValueError."""
    for files in ({}, {"report": log[:cut] + noise + log[cut:]}):
        try:
            results = formats.parse(name, log[:cut] + noise, files)
        except ValueError:
            continue
        assert all(result.id for result in results)
