"""A crate of our own: tests in a folder and in a module, a crate that Debian has not, and a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "Cargo.toml": text("""
        [package]
        name = "calc"
        version = "1.0.0"
        edition = "2018"

        [features]
        extra = ["a-crate-that-nobody-packages/std"]

        [dependencies]
        a-crate-that-nobody-packages = { version = "0.3.1", optional = true, features = ["more"] }
    """),
    "src/lib.rs": text("""
        //! Adds.

        #[cfg(test)]
        mod tests;

        /// Adds all but the last.
        pub fn add(numbers: &[i32]) -> i32 {
            numbers.iter().rev().skip(1).sum()
        }

        /// Whether there is no text.
        pub fn empty(s: &str) -> bool {
            s.is_empty()
        }

        #[cfg(test)]
        mod inline {
            #[test]
            fn is_no_part_of_the_suite() {}
        }
    """),
    "src/tests.rs": text("""
        use super::empty;

        #[test]
        fn none() {
            assert!(empty(""));
        }

        #[test]
        #[should_panic]
        fn blank() {
            assert!(empty(" "));
        }
    """),
    "tests/calc.rs": text("""
        use calc::add;

        #[test]
        fn nothing() {
            assert_eq!(add(&[]), 0);
        }

        #[test]
        fn wrong() {
            assert_eq!(add(&[1, 1]), 3, "one and one");
        }

        #[test]
        #[ignore]
        fn later() {}
    """),
}

STATUSES = {
    "calc src/lib.rs::tests::none": "passed",
    "calc src/lib.rs::tests::blank": "passed",
    "calc tests/calc.rs::nothing": "passed",
    "calc tests/calc.rs::wrong": "failed",
    "calc tests/calc.rs::later": "skipped",
}
MESSAGES = {"calc tests/calc.rs::wrong": "one and one"}

# Cargo's report is its log.
LOG_COMMAND = (
    "sh", "-c",
    "cargo test --offline --no-fail-fast --lib -- tests::; cargo test --offline --no-fail-fast --test '*'",
)  # fmt: skip
LOG_REPORT = "cargo"

GOLD = {"src/lib.rs": FILES["src/lib.rs"].replace(".rev().skip(1)", "")}
HIDDEN = {
    "tests/calc.rs": FILES["tests/calc.rs"].replace("add(&[1, 1]), 3", "add(&[1, 1]), 2")
    + text("""

        #[test]
        fn more() {
            assert_eq!(add(&[1, 2, 3]), 6);
        }
    """),
}
FAIL_TO_PASS = ("calc tests/calc.rs::wrong", "calc tests/calc.rs::more")
PASS_TO_PASS = ("calc src/lib.rs::tests::none", "calc tests/calc.rs::nothing")

BROKEN = {"src/lib.rs": "pub fn add(numbers: &[i32]) -> i32 { nowhere }\n"}
BROKEN_MISSING = ("calc tests/calc.rs::nothing", "calc src/lib.rs::tests::none")
