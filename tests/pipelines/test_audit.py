"""The audit of statements: warnings without a model; with one, verdicts and additions that are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted_model import KEY, Raw, Say, Script, Use, in_turn, serving

from pipelines.family import Rejected
from pipelines.swe.audit import Audit, Audited, audit, leaked
from pipelines.swe.statement import Statement
from warehouse.settings import Settings

TOLD = "Refunds cannot be made for a negative sum. They tell how much was given back, in euros."
GOLD = b"""diff --git a/till.py b/till.py
--- a/till.py
+++ b/till.py
@@ -1 +1,7 @@
 class Till:
+    def refund(self, sum):
+        if sum < 0:
+            raise ValueError(f"cannot refund {sum} euros")
+        self.balance = self.balance - sum
+        return {"refunded_total": sum, "balance_left": self.balance}
"""
TESTS = b"""diff --git a/test_till.py b/test_till.py
--- a/test_till.py
+++ b/test_till.py
@@ -1 +1,6 @@
+def test_refund():
+    till = Till(10)
+    assert till.refund(3)["refunded_total"] == 3
+    with raises(ValueError, match="cannot refund -1 euros"):
+        till.refund(-1)
"""
TEXTS = Audited(
    Statement(TOLD, "issue"), "", {"till.py": b"class Till: pass\n"},
    {"test_till.py": "\n".join(line[1:] for line in TESTS.decode().splitlines()[4:]).encode()}, TESTS, GOLD,
)  # fmt: skip
WARNINGS = (
    "the name 'refund' (test_till.py:3)",
    "the literal 'refunded_total' (test_till.py:3)",
    "the message 'cannot refund -1 euros' (test_till.py:4)",
)
GOOD = [
    "A sum is given back with `Till.refund(sum)`, which returns a dictionary with the key `refunded_total`.",
    'A negative sum is refused with a ValueError that says, for instance, "cannot refund -1 euros".',
]


def verdict(kind: str, statement: str = "Refunds cannot be made", tests: str = "till.refund(-1)") -> Use:
    quotes = {"statement_quote": statement, "tests_quote": tests}
    return Use("answer", {"verdict": kind, "why": "as quoted", **quotes})


async def audited(tmp_path: Path, script: Script, texts: Audited = TEXTS) -> tuple[Any, list[dict[str, Any]]]:
    with serving(script) as endpoint:
        settings = Settings(
            home=tmp_path, model_base_url=endpoint.url, model_name="scripted", model_api_key=KEY
        )
        outcome = await audit(texts, settings)
    assert endpoint.refused == []
    return outcome, endpoint.requests


async def test_without_a_model_there_are_warnings(tmp_path: Path) -> None:
    outcome = await audit(TEXTS, Settings(home=tmp_path))
    assert not isinstance(outcome, Rejected)
    statement, found = outcome
    assert statement == TEXTS.statement
    assert found == Audit("rules", WARNINGS, ())
    assert found.metadata() == {"statement_check": "rules", "undetermined": 3}
    (event,) = found.events("t", "r")
    assert (event.event, event.value, event.reason) == ("audit", "spec_undetermined", "; ".join(WARNINGS))


async def test_an_addition_makes_the_statement_stand_alone(tmp_path: Path) -> None:
    script = in_turn(verdict("underspecified"), Use("answer", {"points": GOOD}))
    (statement, found), requests = await audited(tmp_path, script)
    assert statement.text == f"{TOLD}\n\n### Details\n\n- {GOOD[0]}\n- {GOOD[1]}"
    assert statement.source == "issue+model"
    assert (found.check, found.warnings) == ("model", ())
    assert [code for code, _ in found.notes] == ["statement_underspecified", "statement_enriched"]
    assert found.metadata()["statement_audit"] == ["statement_underspecified", "statement_enriched"]
    # the model never sees the solution
    assert "balance_left" in GOLD.decode()
    assert "balance_left" not in str(requests)
    assert all(warning in requests[-1]["messages"][1]["content"] for warning in WARNINGS)


LEAKS = {
    "code_line": "This is what happens:\nself.balance = self.balance - sum",
    "12 tokens of the gold patch": "It does return refunded_total sum balance_left self balance: "
    'self.balance - sum return {"refunded_total": sum, "balance_left": self.balance}',
    "12 tokens of the tests": "One calls def test_refund(): till = Till(10) assert till and so on.",
}


@pytest.mark.parametrize("rule", LEAKS)
async def test_an_addition_that_leaks_is_left_out(rule: str, tmp_path: Path) -> None:
    script = in_turn(
        verdict("underspecified"), Use("answer", {"points": [GOOD[0], *LEAKS[rule].split("\n")]})
    )
    (statement, found), _ = await audited(tmp_path, script)
    assert statement == TEXTS.statement
    assert (found.check, found.warnings) == ("model", WARNINGS)
    code, words = found.notes[-1]
    assert code == "enrichment_leaks"
    assert words


def test_what_tests_insist_on_may_be_told_and_no_more() -> None:
    open_points = TEXTS.undetermined()
    assert leaked(GOOD, open_points, TEXTS) == ""
    for rule, text in LEAKS.items():
        assert leaked(text.split("\n"), open_points, TEXTS), rule
    assert leaked(["Unrelated words of any length that nobody ever wrote in code."], (), TEXTS) == ""


async def test_a_contradiction_ends_the_task_with_its_quotes(tmp_path: Path) -> None:
    outcome, _ = await audited(tmp_path, in_turn(verdict("contradict")))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "statement_contradicts_tests"
    assert "Refunds cannot be made" in outcome.detail
    assert "till.refund(-1)" in outcome.detail


async def test_quotes_have_to_be_there_word_for_word(tmp_path: Path) -> None:
    script = in_turn(
        verdict("contradict", statement="Refunds are free"), verdict("contradict", tests=""),
        verdict("underspecified"), Use("answer", {"points": []}),
    )  # fmt: skip
    (statement, found), requests = await audited(tmp_path, script)
    assert statement == TEXTS.statement
    assert found.check == "model"
    told = [m["content"] for m in requests[2]["messages"] if m["role"] == "tool"]
    assert "statement_quote is not in the statement" in told[0]
    assert "tests_quote is empty" in told[1]


@pytest.mark.parametrize(("script", "reason"), [
    (in_turn(Say("They agree, I think.")), "model_invalid_answer"),
    (in_turn(Raw(500, "{}")), "model_unavailable"),
    (in_turn(verdict("contradict", statement="made up")), "model_invalid_answer"),
])  # fmt: skip
async def test_a_model_that_is_no_use_leaves_the_rules(script: Script, reason: str, tmp_path: Path) -> None:
    (statement, found), _ = await audited(tmp_path, script)
    assert statement == TEXTS.statement
    assert (found.check, found.warnings, found.notes[0][0]) == ("rules", WARNINGS, reason)


async def test_agreement_with_nothing_open_asks_once(tmp_path: Path) -> None:
    said = f"{TOLD} {' '.join(GOOD)}"
    texts = Audited(Statement(said, "issue"), "", TEXTS.base, TEXTS.hidden, TESTS, GOLD)
    (statement, found), requests = await audited(tmp_path, in_turn(verdict("agree")), texts)
    assert (statement.text, found.warnings, len(requests)) == (said, (), 1)
    assert found.notes[0][0] == "statement_agree"
