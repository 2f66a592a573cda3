"""Reports of JavaScript, Rust and Java suites: real logs of real tools, over mini-projects of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import formats

LOGS = Path(__file__).parent / "logs"
MATH = ("math > adds", "math > fails", "math > skipped", "math > todo", "math > deep > works 3 > 2", "top")
TOLD = ("passed", "failed", "skipped", "skipped", "passed", "passed")
ADDER = "org.example.AdderTest"

REPORTS = {
    ("jest_json", "jest.json"): {f"/w/jest.test.js > {name}": s for name, s in zip(MATH, TOLD, strict=True)},
    ("jest_json", "vitest.json"): {f"/w/vi.spec.mjs > {name}": s for name, s in zip(MATH, TOLD, strict=True)},
    ("jest_log", "jest.txt"): {f"jest.test.js > {name}": s for name, s in zip(MATH, TOLD, strict=True)},
    ("jest_log", "vitest.txt"): {
        f"vi.spec.mjs > {name}": s for name, s in zip(MATH, TOLD, strict=True) if s != "skipped"
    },
    ("mocha_json", "mocha_json.txt"): {  # between what the tests print, which looks like a report
        "/w/mocha/m.js > top": "passed",
        "/w/mocha/m.js > math adds": "passed",
        "/w/mocha/m.js > math fails": "failed",
        "/w/mocha/m.js > math skipped": "skipped",
        "/w/mocha/m.js > math pending": "skipped",
        '/w/mocha/m.js > math hooked "before all" hook for "never"': "failed",
    },
    ("mocha_json", "mocha_spec.txt"): {
        "top": "passed",
        "math adds": "passed",
        "math fails": "failed",
        "math skipped": "skipped",
        "math pending": "skipped",
        'math hooked "before all" hook for "never"': "failed",
    },
    ("tap", "node.txt"): {  # a test prints "not ok"
        "adds # things": "passed",
        "fails": "failed",
        "skipped": "skipped",
        "todo failing": "xfailed",
        "group > inner": "passed",
        "group > inner bad": "failed",
        "parent > child": "passed",
        "parent > child2": "passed",
        "parent": "failed",  # by itself: its children passed
    },
    ("tap", "tape.txt"): {
        "adds": "passed",
        "fails": "failed",
        "nested": "passed",
        "skipped": "skipped",
        "todo": "xfailed",
    },
    ("tap", "ava.txt"): {
        "adds": "passed",
        "fails": "failed",
        "skipped": "skipped",
        "later": "xfailed",
        "expected": "passed",
    },
    ("tap", "node_tap.txt"): {
        "tap/a.js > should be strictly equal": "passed",
        "tap/a.js > one": "passed",
        "tap/a.js > four": "failed",
        "tap/a.js > ok": "passed",
        "tap/a.js > (unnamed assert)": "passed",
        "tap/a.js > later": "xfailed",
    },
    ("cargo", "cargo.txt"): {
        "mini_crate src/lib.rs::tests::adds": "passed",
        "mini_crate src/lib.rs::tests::fails": "failed",
        "mini_crate src/lib.rs::tests::skipped": "skipped",
        "mini_crate src/lib.rs::tests::skipped2": "skipped",
        "mini_crate src/lib.rs::tests::panics": "passed",
        "it tests/it.rs::adds": "passed",
        "it tests/it.rs::fails": "failed",
        "mini-crate documentation::src/lib.rs -": "passed",
        "mini-crate documentation::src/lib.rs - add": "failed",
    },
    ("junit", "surefire.xml"): {
        f"{ADDER}::adds": "passed",
        f"{ADDER}::fails": "failed",
        f"{ADDER}::errs": "error",
        f"{ADDER}::skipped": "skipped",
    },
    ("junit", "surefire_junit5.xml"): {
        f"{ADDER}::adds": "passed",
        f"{ADDER}::fails": "failed",
        f"{ADDER}::skipped": "skipped",
        f"{ADDER}::many{{int}}[1]": "passed",
        f"{ADDER}::many{{int}}[2]": "passed",
        f"{ADDER}$Inner::deep": "passed",
    },
    ("surefire_log", "surefire.txt"): {
        f"{ADDER}::adds": "passed",
        f"{ADDER}::fails": "failed",
        f"{ADDER}::errs": "error",
        f"{ADDER}::skipped": "skipped",
    },
    ("surefire_log", "surefire_junit5.txt"): {  # which does not name a nested class
        f"{ADDER}::adds": "passed",
        f"{ADDER}::fails": "failed",
        f"{ADDER}::skipped": "skipped",
        f"{ADDER}::many{{int}}[1]": "passed",
        f"{ADDER}::many{{int}}[2]": "passed",
        f"{ADDER}::deep": "passed",
    },
}
NAMES = ("cargo", "jest_json", "jest_log", "junit", "mocha_json", "surefire_log", "tap")


@pytest.mark.parametrize(("parser", "file"), REPORTS)
def test_a_real_report_is_read_whole(parser: str, file: str) -> None:
    data = (LOGS / file).read_bytes()
    as_log = file.endswith(".txt")
    found = formats.parse(parser, data if as_log else b"", {} if as_log else {file: data})
    assert {result.id: result.status.value for result in found} == REPORTS[parser, file]
    assert len(found) == len(REPORTS[parser, file])


@pytest.mark.parametrize(
    ("parser", "file", "name", "words"),
    [
        ("jest_json", "jest.json", "/w/jest.test.js > math > fails", "Expected: 4"),
        ("mocha_json", "mocha_json.txt", "/w/mocha/m.js > math fails", "3 == 4"),
        ("tap", "node.txt", "group > inner bad", "bad"),
        ("tap", "tape.txt", "fails", "expected: 4"),
        ("cargo", "cargo.txt", "it tests/it.rs::fails", "left: `3`"),
        ("junit", "surefire.xml", f"{ADDER}::errs", "IllegalStateException"),
    ],
)
def test_a_failure_says_why(parser: str, file: str, name: str, words: str) -> None:
    data = (LOGS / file).read_bytes()
    found = formats.parse(parser, data, {} if file.endswith(".txt") else {file: data})
    assert words in {result.id: result.message for result in found}[name]


def test_files_that_do_not_load_are_named() -> None:
    report = (LOGS / "jest.json").read_bytes()
    errors = formats.read("jest_json", b"", {"jest.json": report}).collection_errors
    assert [(error.id, "nowhere" in error.message) for error in errors] == [("/w/broken.test.js", True)]
    cargo = b'error: could not compile `calc` (test "it") due to 1 previous error\n'
    assert [e.id for e in formats.read("cargo", cargo, {}).collection_errors] == ['calc test "it"']
    javac = b"[ERROR] COMPILATION ERROR :\n[ERROR] /app/src/test/java/ATest.java:[5,20] cannot find symbol\n"
    assert [e.id for e in formats.read("surefire_log", javac, {}).collection_errors] == [
        "src/test/java/ATest.java"
    ]


def test_examples_of_one_item_are_one_test_whatever_their_line() -> None:
    lines = (
        "   Doc-tests calc",
        "test src/lib.rs - add (line 3) ... ok",
        "test src/lib.rs - add (line 9) ... FAILED",
    )
    found = formats.parse("cargo", "\n".join(lines).encode(), {})
    assert [(r.id, r.status.value) for r in found] == [("calc documentation::src/lib.rs - add", "failed")]


BOMB = '<?xml version="1.0"{}?><!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(encoding: str) -> None:
    data = BOMB.format(f' encoding="{encoding}"').encode(encoding)
    with pytest.raises(ValueError, match=r"entities|unreadable"):
        formats.parse("junit", b"", {"a.xml": data})


def test_junit_in_other_words() -> None:
    """Control characters, suites without classes, lines behind a file, states as attributes, half a file."""
    text = """<testsuites><testsuite name="outer"><testsuite name="inner">
      <testcase name="coloured"><failure message="&#27;[31mred">\x1b[0m</failure></testcase>
      <testcase classname="spec/till_spec.lua:12" name="adds" time="1,234.5"/>
      <testcase classname="gtest" name="off" status="notrun"/>
      <testcase name="expected"><skipped type="pytest.xfail" message="known"/></testcase>
      <testcase name="both"><skipped/><error/></testcase>
    </testsuite></testsuite></testsuites>"""
    found = formats.parse("junit", b"", {"a.xml": text.encode()})
    assert {r.id: r.status.value for r in found} == {
        "inner::coloured": "failed",
        "spec/till_spec.lua::adds": "passed",
        "gtest::off": "skipped",
        "inner::expected": "xfailed",
        "inner::both": "error",
    }
    assert found[1].seconds == 1234.5
    for broken in (text[: len(text) // 2], "", "<html></html>", "no report"):
        with pytest.raises(ValueError, match=r"a\.xml"):
            formats.parse("junit", b"", {"a.xml": broken.encode()})


def test_tap_of_any_depth_ends() -> None:
    deep = "\n".join(" " * n + "ok 1 - x" for n in range(3000, -1, -1))
    braces = "\n".join("ok 1 - x {" for _ in range(5000))
    assert formats.parse("tap", deep.encode(), {})
    formats.parse("tap", braces.encode(), {})


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=400))
def test_noise_is_no_report(name: str, data: bytes) -> None:
    for files in ({}, {"report": data}):
        try:
            found = formats.parse(name, data, files)
        except ValueError:
            continue
        assert all(result.id for result in found)
