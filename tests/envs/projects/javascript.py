"""A package of our own for Node's test runner: two files, a suite, and a change that is a bug fix."""

from __future__ import annotations

from textwrap import dedent


def text(code: str) -> str:
    return dedent(code).lstrip("\n")


FILES = {
    "package.json": text("""
        {
          "name": "calc",
          "version": "1.0.0",
          "scripts": { "pretest": "eslint .", "test": "node --test test/" }
        }
    """),
    "calc.js": text("""
        exports.add = (...numbers) => numbers.slice(0, -1).reduce((a, b) => a + b, 0);
    """),
    "text.js": text("""
        exports.empty = (s) => s === '';
    """),
    "test/calc.test.js": text("""
        const test = require('node:test');
        const assert = require('node:assert');
        const { add } = require('../calc');

        test('nothing', () => assert.strictEqual(add(), 0));
        test('wrong', () => assert.strictEqual(add(1, 1), 3));
        test('later', { skip: 'not today' }, () => {});
    """),
    "test/text.test.js": text("""
        const { describe, it } = require('node:test');
        const assert = require('node:assert');
        const { empty } = require('../text');

        describe('empty', () => {
          it('none', () => assert.ok(empty('')));
          it('blank # of all', () => {
            console.log('not ok 1 - said by a test');
            assert.ok(!empty(' '));
          });
        });
    """),
}

STATUSES = {
    "test/calc.test.js > nothing": "passed",
    "test/calc.test.js > wrong": "failed",
    "test/calc.test.js > later": "skipped",
    "test/text.test.js > empty > none": "passed",
    "test/text.test.js > empty > blank # of all": "passed",
}
MESSAGES = {"test/calc.test.js > wrong": "1 !== 3", "test/calc.test.js > later": "not today"}

# Node's report is its log.
LOG_COMMAND = (
    "sh", "-c",
    'for f in test/*.js; do echo "$f .."; node --test --test-reporter=tap "$f"; done',
)  # fmt: skip
LOG_REPORT = "tap"

GOLD = {"calc.js": FILES["calc.js"].replace(".slice(0, -1)", "")}
HIDDEN = {
    "test/calc.test.js": FILES["test/calc.test.js"].replace("add(1, 1), 3", "add(1, 1), 2")
    + "test('more', () => assert.strictEqual(add(1, 2, 3), 6));\n",
}
FAIL_TO_PASS = ("test/calc.test.js > wrong", "test/calc.test.js > more")
PASS_TO_PASS = ("test/calc.test.js > nothing", "test/text.test.js > empty > none")

BROKEN = {"calc.js": "exports.add = (\n"}
BROKEN_MISSING = ("test/calc.test.js > nothing", "test/calc.test.js > wrong")
