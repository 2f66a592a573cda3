"""CMake with GoogleTest from Debian: parameters, a skipped and a failing test, and a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "CMakeLists.txt": text("""
        cmake_minimum_required(VERSION 3.14)
        project(words CXX)
        set(CMAKE_CXX_STANDARD 14)
        add_library(words words.cc)
        target_include_directories(words PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
        include(CTest)
        if(BUILD_TESTING)
          find_package(GTest REQUIRED)
          add_executable(words_test words_test.cc)
          target_link_libraries(words_test words GTest::GTest GTest::Main)
          add_test(NAME words COMMAND words_test)
        endif()
    """),
    "words.hpp": "#include <string>\nint count(const std::string& text);\n",
    "words.cc": text("""
        #include "words.hpp"

        int count(const std::string& text) {
          int words = 1;
          for (char c : text) words += c == ' ';
          return words;
        }
    """),
    "words_test.cc": text("""
        #include "words.hpp"
        #include <gtest/gtest.h>

        TEST(Count, Two) { EXPECT_EQ(2, count("a b")); }
        TEST(Count, None) { EXPECT_EQ(0, count("")) << "no word at all"; }
        TEST(Count, Later) { GTEST_SKIP() << "not today"; }

        class One : public ::testing::TestWithParam<const char*> {};
        TEST_P(One, Counts) { EXPECT_EQ(1, count(GetParam())); }
        INSTANTIATE_TEST_SUITE_P(Words, One, ::testing::Values("a", "bb"));
    """),
}

STATUSES = {
    "words": "failed",
    "words::Count.Two": "passed",
    "words::Count.None": "failed",
    "words::Count.Later": "skipped",
    "words::Words/One.Counts/0": "passed",
    "words::Words/One.Counts/1": "passed",
}
MESSAGES = {"words::Count.None": "no word at all", "words::Count.Later": "not today"}

LOG_COMMAND = ("sh", "-c", "cmake --build .build > /dev/null && cd .build && ctest -V")
LOG_REPORT = "c"

GOLD = {"words.cc": FILES["words.cc"].replace("words = 1", "words = !text.empty()")}
HIDDEN = {
    "words_test.cc": FILES["words_test.cc"].replace(
        "TEST(Count, Later)", 'TEST(Count, Three) { EXPECT_EQ(3, count("a b c")); }\nTEST(Count, Later)'
    ),
}
FAIL_TO_PASS = ("words", "words::Count.None")
PASS_TO_PASS = ("words::Count.Two", "words::Words/One.Counts/0")

BROKEN = {"words.cc": '#include "words.hpp"\nint count(const std::string& text) { return nowhere; }\n'}
BROKEN_MISSING = ("words", "words::Count.Two", "words::Count.None")
