"""A shell library of our own, tested with bats: a skip, odd names, and a helper that was a submodule."""

from __future__ import annotations

from projects.ruby import text

FILES = {
    "till.sh": text("""
        total() { local sum=0 price; for price; do sum=$((sum + price)); done; echo "$sum"; }
        change() { echo $(($2 - $1)); }
    """),
    ".gitmodules": text("""
        [submodule "support"]
        \tpath = test/test_helper/bats-support
        \turl = https://example.org/bats-support
        [submodule "assert"]
        \tpath = test/test_helper/bats-assert
        \turl = https://example.org/bats-assert
    """),
    "test/till.bats": text("""
        setup() {
          load 'test_helper/bats-support/load'
          load 'test_helper/bats-assert/load'
          source "$BATS_TEST_DIRNAME/../till.sh"
        }

        @test "adds" { [ "$(total 1 2 3)" = 6 ]; }

        @test "gives change" {
          run change 15 10
          assert_output 5
        }

        @test 'reads cards #1' { skip "no card reader"; }
    """),
    "test/nothing.bats": text("""
        load ../till.sh

        @test "nothing" { [ "$(total)" -eq 0 ]; }
    """),
}

STATUSES = {
    "test/till.bats > adds": "passed",
    "test/till.bats > gives change": "failed",
    "test/till.bats > reads cards #1": "skipped",
    "test/nothing.bats > nothing": "passed",
}
MESSAGES = {
    "test/till.bats > gives change": "actual   : -5",
    "test/till.bats > reads cards #1": "no card reader",
}

LOG_COMMAND = ("prove", "-v", "-e", "bats --tap", "test/nothing.bats", "test/till.bats")
LOG_REPORT = "tap"

GOLD = {"till.sh": FILES["till.sh"].replace("$2 - $1", "$1 - $2")}
HIDDEN = {"test/till.bats": FILES["test/till.bats"].replace('"adds"', '"adds up"')}
FAIL_TO_PASS = ("test/till.bats > gives change",)
PASS_TO_PASS = ("test/till.bats > adds up", "test/nothing.bats > nothing")

BROKEN = {"till.sh": "total() { if ; }\n"}
BROKEN_MISSING = ("test/nothing.bats > nothing",)
