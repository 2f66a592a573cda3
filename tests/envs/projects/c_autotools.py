"""Autotools: `make check` of automake, in two folders, and a bug fix."""

from __future__ import annotations

from textwrap import dedent

LANGUAGE = "c"


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


def program(expression: str) -> str:
    return f'#include "calc.h"\n\nint main(void) {{ return !({expression}); }}\n'


FILES = {
    "configure.ac": text("""
        AC_INIT([calc], [1.0])
        AM_INIT_AUTOMAKE([foreign])
        AC_PROG_CC
        AC_PROG_RANLIB
        AC_CONFIG_FILES([Makefile tests/Makefile])
        AC_OUTPUT
    """),
    "Makefile.am": text("""
        SUBDIRS = . tests
        noinst_LIBRARIES = libcalc.a
        libcalc_a_SOURCES = calc.c calc.h
    """),
    "tests/Makefile.am": text("""
        AM_CPPFLAGS = -I$(top_srcdir)
        LDADD = ../libcalc.a
        TESTS = nothing one later
        check_PROGRAMS = $(TESTS)
    """),
    "calc.h": "int add(int a, int b);\n",
    "calc.c": '#include "calc.h"\n\nint add(int a, int b) { return a - b; }\n',
    "tests/nothing.c": program("add(1, 0) == 1"),
    "tests/one.c": program("add(1, 1) == 2"),
    "tests/later.c": "int main(void) { return 77; }\n",
}

STATUSES = {"tests/nothing": "passed", "tests/one": "failed", "tests/later": "skipped"}
MESSAGES: dict[str, str] = {}

LOG_COMMAND = ("make", "check")
LOG_REPORT = "c"

GOLD = {"calc.c": FILES["calc.c"].replace("a - b", "a + b")}
HIDDEN = {"tests/one.c": program("add(1, 1) == 2 && add(2, 2) == 4")}
FAIL_TO_PASS = ("tests/one",)
PASS_TO_PASS = ("tests/nothing",)

BROKEN = {"calc.c": '#include "calc.h"\n\nint add(int a, int b) { return nowhere; }\n'}
BROKEN_MISSING = ("tests/nothing", "tests/one")
