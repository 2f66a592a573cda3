"""The runs of a suite that one grading takes, and what they say together.

The first run takes the whole suite, the second only the files whose tests are inverted. Of each test counts
the run in which it was as it should be; in the other it must fail. When a run leaves no hope of a
reward, one last run shows the tests that were not seen as they are, so that every report is complete.
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
        self, spec: dict[str, Any], account: Account, tree: Tree, private: Path, first: Suite
    ) -> None:
        self.spec = spec
        self.account = account
        self.tree = tree
        self.private = private
        self.first = first
        self.true: dict[str, dict[str, Any]] = {}
        self.inverted: dict[str, set[str]] = {}  # test → what became of it when it had to fail
        self.reports: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        self.tree.restore()
        self.plan = canaries.plan(self.spec, self.tree.test_sources())
        self.tree.remember()
        hidden = self.tree.hidden
        for number in range(self.plan.rounds):
            self._round(number, hidden)
            if not self._hopeful():
                break
        unseen = self.plan.tests() - self.true.keys()
        if unseen and self.reports[-1]["outcome"] == "finished" and not self._forged():
            self._round(None, hidden)
        return self._together()

    def _round(self, number: int | None, hidden: dict[str, tuple[str, bytes]]) -> None:
        """One run; `None` inverts nothing."""
        files = {} if number is None else self.plan.files(number)
        changed = {} if number is None else {t for f in self.plan.inverted(number) for t in f.tests}
        modes = {path: hidden[path][0] if path in hidden else "100644" for path in files}
        self.tree.hidden = hidden | {path: (modes[path], data) for path, data in files.items()}
        suite = self.first if not self.reports else self._another()
        suite.run()
        report = suite.report()
        self.reports.append(report)
        for result in report["results"]:
            name = result["id"]
            if name in changed:
                self.inverted.setdefault(name, set()).add(result["status"])
            else:
                self.true.setdefault(name, result)
        self.tree.hidden = hidden

    def _another(self) -> Suite:
        """A run of the files that hold inverted tests, as fresh as the first."""
        self.tree.forget()
        folder = self.private / secrets.token_hex(8)
        folder.mkdir()
        os.chmod(folder, 0o755)
        paths = sorted({self._file(name) for name in self.plan.tests()} - {""})
        suite = Suite(self.spec | {"args": paths}, self.account, self.tree, folder)
        suite.deadline = self.first.deadline
        return suite

    def _file(self, name: str) -> str:
        return canaries.parts(name, self.spec["runner"], self.plan.sources)[0]

    def _deciding(self) -> set[str]:
        return {*self.spec["fail_to_pass"], *self.spec["new"]}

    def _forged(self) -> bool:
        return bool(self.reports[-1]["disagreements"] or self._passed_inverted())

    def _hopeful(self) -> bool:
        """Whether what was seen so far could still earn the reward, and there is time to see the rest."""
        if self._forged() or self.reports[-1]["outcome"] != "finished":
            return False
        decide = self._deciding()
        unseen = self.plan.tests() - self.true.keys()
        for name in (*decide, *self.spec["pass_to_pass"]):
            status = self.true.get(name, {}).get("status", "")
            if name not in unseen and status not in (MUST_PASS if name in decide else NOT_FAILED):
                return False
        return True

    def _together(self) -> dict[str, Any]:
        first = self.reports[0]
        found = [text for report in self.reports for text in report["disagreements"]]
        found += self._passed_inverted()
        bad = [r["outcome"] for r in self.reports if r["outcome"] != "finished"]
        return first | {
            "results": [self._believed(result) for result in self.true.values()],
            "disagreements": list(dict.fromkeys(found))[:100],
            "outcome": bad[0] if bad else "finished",
            "inverted": sum(1 for f in self.plan.functions if f.tests & self._deciding()),
            "seconds": round(time.monotonic() - self.first.begin, 3),
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
        decides = result["id"] in self._deciding()
        if result["status"] != XFAILED or allowed is None or not decides or result["id"] in allowed:
            return result
        return result | {
            "status": FAILED,
            "message": f"nothing expects it to fail: {result['message']}"[:2000],
        }
