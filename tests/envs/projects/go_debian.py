"""A module with a dependency that no proxy gives: its source comes as a Debian package, through a GOPATH."""

from __future__ import annotations

from textwrap import dedent

LANGUAGE = "go"


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "go.mod": "module example.org/words\n\ngo 1.13\n\nrequire github.com/stretchr/testify v1.7.0\n",
    "words.go": text("""
        package words

        // Count counts blanks.
        func Count(s string) (n int) {
        \tfor _, r := range s {
        \t\tif r == ' ' {
        \t\t\tn++
        \t\t}
        \t}
        \treturn n
        }
    """),
    "words_test.go": text("""
        package words_test

        import (
        \t"testing"

        \t"example.org/words"
        \t"github.com/stretchr/testify/assert"
        )

        func TestNone(t *testing.T)  { assert.Equal(t, 0, words.Count("")) }
        func TestTwo(t *testing.T)   { assert.Equal(t, 2, words.Count("a b")) }
        func TestLater(t *testing.T) { t.Skip("not today") }
    """),
}

STATUSES = {
    "example.org/words::TestNone": "passed",
    "example.org/words::TestTwo": "failed",
    "example.org/words::TestLater": "skipped",
}
MESSAGES = {"example.org/words::TestTwo": "Not equal"}

LOG_COMMAND = ("sh", "-c", "cd /opt/cache/go/src/example.org/words && go test -v -vet=off ./...")
LOG_REPORT = "go_text"

COUNT = text("""
    package words

    import "strings"

    // Count counts words.
    func Count(s string) (n int) {
    \treturn len(strings.Fields(s))
    }
""")
GOLD = {"words.go": COUNT}
HIDDEN = {"words_test.go": FILES["words_test.go"].replace('"a b"', '" a  b "')}
FAIL_TO_PASS = ("example.org/words::TestTwo",)
PASS_TO_PASS = ("example.org/words::TestNone",)

BROKEN = {"words.go": "package words\n\nfunc Count(s string) int { return nowhere }\n"}
BROKEN_MISSING = ("example.org/words::TestNone", "example.org/words::TestTwo")
