"""The runs of a suite that one grading takes, and what they say together.

Where tests can be inverted there are two runs: the first takes only the files that hold such tests, the
second takes the whole suite. Of a test that is inverted counts the run in which it was as it should be; in
the other it must fail. Another test may share code with an inverted one (an alias, a helper, an inherited
method): its failure counts only in a run without inversions, its pass in any. What cannot be paid mostly
shows in the first run, the short one; then one run without inversions completes the report or, where only the
reward is asked (`hasty`), nothing more is run.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import canaries
from account import Account
from segment import FAILED, PASSED, SKIPPED, XFAILED, XPASSED
from suite import Suite
from tree import Tree

MUST_PASS = (PASSED, XFAILED)
NOT_FAILED = (PASSED, XFAILED, XPASSED, SKIPPED)


class Rounds:
    """All runs of one grading."""

    def __init__(
        self, spec: dict[str, Any], account: Account, tree: Tree, private: Path, first: Suite, *,
        hasty: bool = False,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.account = account
        self.tree = tree
        self.private = private
        self.whole = first
        self.hasty = hasty
        self.true: dict[str, dict[str, Any]] = {}
        self.doubtful: dict[str, dict[str, Any]] = {}  # failed beside inverted tests: perhaps because of them
        self.inverted: dict[str, set[str]] = {}  # test → what became of it when it had to fail
        self.reports: list[dict[str, Any]] = []
        self.decide = frozenset((*spec["fail_to_pass"], *spec["new"]))
        self.needed = frozenset((*self.decide, *spec["pass_to_pass"]))

    def run(self) -> dict[str, Any]:
        self.tree.restore()
        if self.spec["runner"] == "command":
            files = {path: data for path, (mode, data) in self.tree.hidden.items() if mode != "120000"}
            self.plan = canaries.listed_plan(self.spec, files)
        else:
            self.plan = canaries.plan(self.spec, self.tree.test_sources())
        self.tree.remember()
        hidden = self.tree.hidden
        if self.plan.rounds > 1:
            self._round(0, self._part(self.plan.tests()), hidden)
        if self._hopeful():
            self._round(self.plan.rounds - 1, self.whole, hidden)
            if self._hopeful() and (left := set(self.needed) & self.doubtful.keys() - self.true.keys()):
                self._round(None, self._part(left), hidden)
        elif not self.hasty and not self._forged() and self.reports[-1]["outcome"] != "timeout":
            self._round(None, self.whole, hidden)
        return self._together()

    def _round(self, number: int | None, suite: Suite, hidden: dict[str, tuple[str, bytes]]) -> None:
        """One run; `None` inverts nothing."""
        files = {} if number is None else self.plan.files(number)
        changed = set() if number is None else {t for f in self.plan.inverted(number) for t in f.tests}
        modes = {path: hidden[path][0] if path in hidden else "100644" for path in files}
        self.tree.hidden = hidden | {path: (modes[path], data) for path, data in files.items()}
        if self.reports:
            self.tree.forget()
        if self.hasty:
            suite.enough = lambda: self._lost(suite, changed, number)
            suite.decisive = lambda result: self._decisive(result, changed, number)
        missed = self._unseen()  # a test that kept away from its own run has had its chance
        suite.run()
        report = suite.report()
        self.reports.append(report)
        for result in report["results"]:
            name = result["id"]
            if name in missed:
                continue
            if name in changed:
                self.inverted.setdefault(name, set()).add(result["status"])
            elif self._conclusive(result, number):
                self.true[name] = self.true.get(name, result)
            else:
                self.doubtful[name] = result
        self.tree.hidden = hidden

    def _conclusive(self, result: dict[str, Any], number: int | None) -> bool:
        """Whether a result, of a test that is as it should be, tells about the code under test."""
        alone = number is None or not self.plan.inverted(number)
        return alone or result["id"] in self.plan.tests() or result["status"] in NOT_FAILED

    def _part(self, tests: set[str]) -> Suite:
        """A suite of the files that hold `tests`, as fresh as the whole one."""
        paths = self.spec["args"]  # of a command it is not known what its arguments select
        if self.spec["runner"] != "command":
            paths = sorted({self._file(name) for name in tests} - {""})
        folder = self.private / secrets.token_hex(8)
        folder.mkdir()
        os.chmod(folder, 0o755)
        suite = type(self.whole)(self.spec | {"args": paths}, self.account, self.tree, folder)
        suite.begin, suite.deadline = self.whole.begin, self.whole.deadline
        return suite

    def _file(self, name: str) -> str:
        return canaries.parts(name, self.spec["runner"], self.plan.sources)[0]

    def _forged(self) -> bool:
        return any(r["disagreements"] for r in self.reports) or bool(self._passed_inverted())

    def _hopeful(self) -> bool:
        """Whether what was seen so far could still earn the reward."""
        unfinished = any(report["outcome"] != "finished" for report in self.reports)
        return not (unfinished or self._forged() or self._unseen() or self._caught()) and not any(
            map(self._misses, self.true.values())
        )

    def _unseen(self) -> set[str]:
        """Tests whose true run is over, and that it did not report."""
        due = (f for f in self.plan.functions if f.true_round < len(self.reports))
        return {name for function in due for name in function.tests} - self.true.keys()

    def _caught(self) -> bool:
        """Whether a test that passed where it must fail settles the reward: it does unless it may be expected
        to fail, and its true run alone says whether that is tampering, which who is in haste does not ask.
        """
        excused = self.plan.expected_failures
        return self.hasty and any(
            PASSED in statuses and excused is not None and name in self.decide - excused
            for name, statuses in self.inverted.items()
        )

    def _misses(self, result: dict[str, Any]) -> bool:
        """Whether a test, as it should be, ended in a way that the reward is lost with."""
        name, status = result["id"], result["status"]
        return name in self.needed and status not in (MUST_PASS if name in self.decide else NOT_FAILED)

    def _lost(self, suite: Suite, changed: set[str], number: int | None) -> bool:
        """Whether a run can be given up before all its tests are done."""
        lost = {str(self.tree.root / self._file(name)) for name in self.needed}
        missed = any(self._decisive(result, changed, number) for result in suite.results.values())
        return missed or bool(suite.disagreements or lost & set(suite.ignored))

    def _decisive(self, result: dict[str, Any], changed: set[str], number: int | None) -> bool:
        return result["id"] not in changed and self._conclusive(result, number) and self._misses(result)

    def _together(self) -> dict[str, Any]:
        found = [text for report in self.reports for text in report["disagreements"]]
        found += self._passed_inverted()
        bad = [r["outcome"] for r in self.reports if r["outcome"] != "finished"]
        return self.reports[-1] | {
            "results": [self._believed(result) for result in (self.doubtful | self.true).values()],
            "disagreements": list(dict.fromkeys(found))[:100],
            "outcome": bad[0] if bad else "finished",
            "inverted": sum(1 for f in self.plan.functions if f.tests & self.decide),
            "seconds": round(time.monotonic() - self.whole.begin, 3),
        }

    def _passed_inverted(self) -> list[str]:
        """Tests that pass as they are and whatever they say."""
        return [
            f"canary: a test that must fail was reported as {min(statuses & set(NOT_FAILED))}: {name}"
            for name, statuses in sorted(self.inverted.items())
            if self.true.get(name, {}).get("status") == PASSED and statuses & set(NOT_FAILED)
        ]

    def _believed(self, result: dict[str, Any]) -> dict[str, Any]:
        """An expected failure counts only where something of the project's expects one."""
        allowed = self.plan.expected_failures
        decides = result["id"] in self.decide
        if result["status"] != XFAILED or allowed is None or not decides or result["id"] in allowed:
            return result
        return result | {
            "status": FAILED,
            "message": f"nothing expects it to fail: {result['message']}"[:2000],
        }
