"""CMake and CTest: programs of our own that speak Unity's words, one that is skipped, and a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "CMakeLists.txt": text("""
        cmake_minimum_required(VERSION 3.10)
        project(calc C)
        option(CALC_BUILD_TESTS "Build the tests" OFF)
        add_library(calc STATIC calc.c)
        target_include_directories(calc PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
        if(CALC_BUILD_TESTS)
          enable_testing()
          add_subdirectory(tests)
        endif()
    """),
    "calc.h": "int add(int a, int b);\nint twice(int a);\n",
    "calc.c": text("""
        #include "calc.h"

        int add(int a, int b) { return a - b; }

        int twice(int a) { return 2 * a; }
    """),
    "tests/CMakeLists.txt": text("""
        foreach(name test_add test_twice test_later)
          add_executable(${name} ${name}.c)
          target_link_libraries(${name} calc)
          add_test(NAME ${name} COMMAND ${name})
        endforeach()
        set_tests_properties(test_later PROPERTIES SKIP_RETURN_CODE 77)
    """),
    "tests/check.h": text("""
        #include <stdio.h>
        #include "calc.h"
        static int failures;
        #define CHECK(name, ok)                                                              \\
          do {                                                                               \\
            if (ok) printf("%s:%d:" name ":PASS\\n", __FILE__, __LINE__);                     \\
            else { failures++; printf("%s:%d:" name ":FAIL: not so\\n", __FILE__, __LINE__); } \\
          } while (0)
    """),
    "tests/test_add.c": text("""
        #include "check.h"

        int main(void) {
          CHECK("add_nothing", add(1, 0) == 1);
          CHECK("add_one", add(1, 1) == 2);
          return failures;
        }
    """),
    "tests/test_twice.c": text("""
        #include "check.h"

        int main(void) {
          CHECK("twice_two", twice(2) == 4);
          CHECK("twice_nothing", twice(0) == 0);
          return failures;
        }
    """),
    "tests/test_later.c": "int main(void) { return 77; }\n",
}

STATUSES = {
    "test_add": "failed",
    "test_add::add_nothing": "passed",
    "test_add::add_one": "failed",
    "test_twice": "passed",
    "test_twice::twice_two": "passed",
    "test_twice::twice_nothing": "passed",
    "test_later": "skipped",
}
MESSAGES = {"test_add::add_one": "not so", "test_add": "add_one:FAIL"}

LOG_COMMAND = ("sh", "-c", "cmake --build .build > /dev/null && cd .build && ctest -V")
LOG_REPORT = "c"

GOLD = {"calc.c": FILES["calc.c"].replace("a - b", "a + b")}
HIDDEN = {
    "tests/test_add.c": FILES["tests/test_add.c"].replace(
        "  return", '  CHECK("add_more", add(2, 3) == 5);\n  return'
    ),
}
FAIL_TO_PASS = ("test_add", "test_add::add_one", "test_add::add_more")
PASS_TO_PASS = ("test_add::add_nothing", "test_twice", "test_twice::twice_two")

BROKEN = {"calc.c": '#include "calc.h"\nint add(int a, int b) { return nowhere; }\n'}
BROKEN_MISSING = ("test_add", "test_add::add_nothing", "test_twice", "test_twice::twice_two")
