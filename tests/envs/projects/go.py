"""A module of our own: two packages, subtests, an example, and a change that is a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "go.mod": "module example.org/calc\n\ngo 1.13\n",
    "calc.go": text("""
        // Package calc adds.
        package calc

        // Add adds all but the last.
        func Add(numbers ...int) int {
        \tsum := 0
        \tfor i := 0; i < len(numbers)-1; i++ {
        \t\tsum += numbers[i]
        \t}
        \treturn sum
        }
    """),
    "calc_test.go": text("""
        package calc

        import "testing"

        func TestNothing(t *testing.T) {
        \tif Add() != 0 {
        \t\tt.Fatal("not nothing")
        \t}
        }

        func TestWrong(t *testing.T) {
        \tif Add(1, 1) != 3 {
        \t\tt.Error("one and one is", Add(1, 1))
        \t}
        }

        func TestLater(t *testing.T) {
        \tt.Skip("not today")
        }
    """),
    "text/text.go": text("""
        package text

        // Empty says whether there is no text.
        func Empty(s string) bool { return s == "" }
    """),
    "text/text_test.go": text("""
        package text

        import "testing"

        func TestEmpty(t *testing.T) {
        \tfor name, s := range map[string]string{"none": "", "blank": ""} {
        \t\tt.Run(name, func(t *testing.T) {
        \t\t\tif !Empty(s) {
        \t\t\t\tt.Fatal("not empty")
        \t\t\t}
        \t\t})
        \t}
        }
    """),
}

# What the runner says of the tree as it is.
STATUSES = {
    "example.org/calc::TestNothing": "passed",
    "example.org/calc::TestWrong": "failed",
    "example.org/calc::TestLater": "skipped",
    "example.org/calc/text::TestEmpty": "passed",
    "example.org/calc/text::TestEmpty/none": "passed",
    "example.org/calc/text::TestEmpty/blank": "passed",
}
MESSAGES = {"example.org/calc::TestWrong": "one and one is", "example.org/calc::TestLater": "not today"}

# The same run told in text, and by which parser it is read.
LOG_COMMAND = ("go", "test", "-v", "-vet=off", "-count=1", "./...")
LOG_REPORT = "go_text"

# A fix with its test, and which tests it turns.
GOLD = {"calc.go": FILES["calc.go"].replace("i < len(numbers)-1", "i < len(numbers)")}
HIDDEN = {
    "calc_test.go": FILES["calc_test.go"].replace("!= 3", "!= 2")
    + text("""

        func TestMore(t *testing.T) {
        \tif Add(1, 2, 3) != 6 {
        \t\tt.Error("they are", Add(1, 2, 3))
        \t}
        }
    """),
}
FAIL_TO_PASS = ("example.org/calc::TestWrong", "example.org/calc::TestMore")
PASS_TO_PASS = ("example.org/calc::TestNothing", "example.org/calc/text::TestEmpty")

# Source that does not compile: nothing of its package is reported.
BROKEN = {"calc.go": "package calc\n\nfunc Add(numbers ...int) int { return nowhere }\n"}
BROKEN_MISSING = ("example.org/calc::TestNothing", "example.org/calc::TestWrong")
