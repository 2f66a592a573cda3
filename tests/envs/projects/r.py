"""A package of our own, tested with testthat: several expectations in a test, a skip, and compiled code."""

from __future__ import annotations

from projects.ruby import text

FILES = {
    "DESCRIPTION": text("""
        Package: till
        Version: 0.1
        Title: Adds Prices Up
        Description: Adds prices up.
        Author: Somebody
        Maintainer: Somebody <somebody@example.org>
        License: MIT
        Depends:
            R (>= 3.5)
        Suggests: testthat (>= 3.0.0), verifactory.was.never.published
        Config/testthat/edition: 3
    """),
    "NAMESPACE": "export(total, change)\n",
    "R/till.R": text("""
        total <- function(prices) sum(prices)
        change <- function(paid, due) due - paid
    """),
    "tests/testthat.R": 'library(testthat)\nlibrary(till)\ntest_check("till")\n',
    "tests/testthat/helper.R": "six <- 6\n",
    "tests/testthat/test-till.R": text("""
        test_that("adds & counts", {
          cat("counting\\n")
          expect_equal(total(c(1, 2, 3)), six)
          expect_true(is.numeric(total(1)))
        })

        test_that("gives change", expect_equal(change(15, 10), 5))

        test_that("reads cards", {
          skip("no card reader")
        })
    """),
}

_FILE = "tests/testthat/test-till.R"
STATUSES = {
    f"{_FILE}::adds & counts": "passed",
    f"{_FILE}::gives change": "failed",
    f"{_FILE}::reads cards": "skipped",
}
MESSAGES = {f"{_FILE}::gives change": "change(15, 10)", f"{_FILE}::reads cards": "no card reader"}

LOG_COMMAND = ("Rscript", "-e", f'cat("verifactory: script {_FILE}\\n"); testthat::test_file("{_FILE}", '
               'reporter = "location", package = "till", load_package = "installed")')  # fmt: skip
LOG_REPORT = "testthat"

GOLD = {"R/till.R": FILES["R/till.R"].replace("due - paid", "paid - due")}
HIDDEN = {_FILE: FILES[_FILE].replace("adds & counts", "adds up")}
FAIL_TO_PASS = (f"{_FILE}::gives change",)
PASS_TO_PASS = (f"{_FILE}::adds up",)

BROKEN = {"R/till.R": "total <- function(prices {\n"}
BROKEN_MISSING = tuple(STATUSES)
