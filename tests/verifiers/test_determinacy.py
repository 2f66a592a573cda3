"""What tests insist on and nobody said: names, literals and messages, in several languages."""

from __future__ import annotations

import time

import pytest

from verifiers.tests.determinacy import MOST, Undetermined, undetermined
from verifiers.tests.overlap import added_lines, repeated

BASE = {
    "till.py": b'class Till:\n    def pay(self, sum):\n        raise ValueError("the till is closed")\n',
    "tests/test_till.py": b"from till import Till\n\ndef test_old():\n    assert Till\n",
}
GOLD = b"""diff --git a/till.py b/till.py
--- a/till.py
+++ b/till.py
@@ -1,3 +1,9 @@
 class Till:
+    # never flagged: overdrawn
+    def refund(self, sum, *, reason="unknown-reason"):
+        if sum < 0:
+            raise ValueError(f"cannot refund {sum} euros twice")
+        receipt = {"refunded_total": sum, "currency": "EUR"}
+        return receipt
     def pay(self, sum):
         raise ValueError("the till is closed")
"""


def found(told: str, *lines: str) -> dict[str, str]:
    hidden = {"tests/test_till.py": BASE["tests/test_till.py"] + "\n".join(lines).encode()}
    return {one.text: one.kind for one in undetermined(told, BASE, hidden, GOLD)}


def test_a_name_that_only_the_solution_has() -> None:
    assert found("Money can be given back.", "assert Till().refund(3)") == {"refund": "name"}
    assert found("Money can be given back by `Till.refund`.", "assert Till().refund(3)") == {}


def test_keys_and_literals() -> None:
    lines = ('assert till["refunded_total"] == 3', "assert till['currency'] == 'EUR'")
    expected = {"refunded_total": "literal", "currency": "literal", "EUR": "literal"}
    assert found("It tells what was given back.", *lines) == expected
    assert found('It tells refunded_total and currency, as "EUR".', *lines) == {}


def test_messages_are_compared_by_their_words() -> None:
    line = 'with pytest.raises(ValueError, match="Cannot refund .* euros twice"): pass'
    assert found("Nobody gets it twice.", line) == {"Cannot refund .* euros twice": "message"}
    assert found('It fails with "cannot refund N euros twice".', line) == {}
    assert found("Nothing.", 'raises("the till is closed")') == {}, "the base says so"


@pytest.mark.parametrize("line", [
    "receipt = pay()", "for receipt in all_of_them: pass", "def receipt(): pass", "x = lambda receipt: 1",
    "import x as receipt", "it('tells refunded_total and EUR', () => {",
    "# receipt and refund", 'assert add(1, 2) == "3 EUROS"', "assert overdrawn",
])  # fmt: skip
def test_what_is_the_test_s_own_or_follows_is_not_found(line: str) -> None:
    assert found("Money can be given back.", line) == {}


def test_other_languages() -> None:
    patch = b"+++ b/q.js\n+exports.stringifyAll = (o) => fail('depth must be finite');\n"
    hidden = {
        "test/q.test.js": b"const q = require('..');\n"
        b"expect(() => q.stringifyAll()).toThrow('depth must be finite');\n"
    }
    assert undetermined("", {"q.js": b"exports.parse = 1;\n"}, hidden, patch) == (
        Undetermined("name", "stringifyAll", "test/q.test.js:2"),
        Undetermined("message", "depth must be finite", "test/q.test.js:2"),
    )


def test_hostile_trees_cost_little() -> None:
    """Long lines, many names, bytes that are no text: bounded in time and in what is told."""
    names = [f"name_{i}" for i in range(3000)]
    patch = ("+++ b/x.py\n+" + "\n+".join(f"{n}()" for n in names) + '\n+"' + '\\"' * 200_000).encode()
    hidden = {
        "t.py": ("\n".join(f"call.{n}" for n in names) + "\n'" + "\"'" * 200_000).encode(),
        "b.bin": b"\0" * 100, "big.py": b"x" * (2 << 20),
    }  # fmt: skip
    began = time.monotonic()
    told = undetermined("", {"a.py": b"\xff\xfe" * 1000, "b.bin": b"\0" * 2000}, hidden, patch)
    assert len(told) == MOST
    assert time.monotonic() - began < 60


def test_runs_of_tokens() -> None:
    lines = added_lines(GOLD)
    assert "    # never flagged: overdrawn" in lines
    assert not any("b/till.py" in line for line in lines)
    told = 'It should say raise ValueError(f"cannot refund {sum} euros twice") and stop.'
    assert repeated(told, lines, 8) == 'raise ValueError ( f " cannot refund {'
    assert repeated(told, lines, 40) == ""
    assert repeated("", lines, 2) == ""
