"""A plain Makefile whose test program speaks TAP, and a bug fix."""

from __future__ import annotations

from textwrap import dedent

LANGUAGE = "c"


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "Makefile": text("""
        CFLAGS = -Wall -I.

        all: libcalc.a

        libcalc.a: calc.o
        \tar rcs $@ calc.o

        tests/basic: tests/basic.c libcalc.a
        \t$(CC) $(CFLAGS) -o $@ tests/basic.c libcalc.a

        check: tests/basic
        \t./tests/basic

        .PHONY: all check
    """),
    "calc.h": "int add(int a, int b);\n",
    "calc.c": '#include "calc.h"\n\nint add(int a, int b) { return a - b; }\n',
    "tests/basic.c": text("""
        #include <stdio.h>
        #include "calc.h"

        static int number, failures;

        static void ok(int good, const char *what) {
          printf("%sok %d - %s\\n", good ? "" : "not ", ++number, what);
          failures += !good;
        }

        int main(void) {
          ok(add(1, 0) == 1, "adds nothing");
          ok(add(1, 1) == 2, "adds one");
          printf("ok %d - divides # SKIP not today\\n", ++number);
          printf("1..%d\\n", number);
          return failures;
        }
    """),
}

STATUSES = {"adds nothing": "passed", "adds one": "failed", "divides": "skipped"}
MESSAGES: dict[str, str] = {}

LOG_COMMAND = ("make", "check")
LOG_REPORT = "c"

GOLD = {"calc.c": FILES["calc.c"].replace("a - b", "a + b")}
HIDDEN = {
    "tests/basic.c": FILES["tests/basic.c"].replace(
        '  printf("ok', '  ok(add(2, 3) == 5, "adds more");\n  printf("ok'
    ),
}
FAIL_TO_PASS = ("adds one", "adds more")
PASS_TO_PASS = ("adds nothing",)

BROKEN = {"calc.c": '#include "calc.h"\n\nint add(int a, int b) { return nowhere; }\n'}
BROKEN_MISSING = ("adds nothing", "adds one")
