"""Grades a change that must make things faster: see `verifiers.performance`.

`performance.py grade [PATCH]` first lets the suite's own supervisor grade the submission; what breaks a test
is not measured. Then base, gold and submission run the workload in turn, in this container, and
`significance` decides. `performance.py measure OUTPUT` runs base and gold alone and reports the samples.

What holds:
- What is measured is what the kernel says of processes that have ended, never what they say of themselves.
  Of the submission it is the larger of its waited-for processes and of all that ran in the container, so
  work handed to a daemon counts, and nothing can be made to count against the base.
- Every measured run is also judged by its tests, and among the submission's runs are some with an assertion
  inverted, in places that are drawn: code that knows a measured run from a graded one gains nothing by it.
- `unstable` is decided by base and gold alone, which no submission can touch: it is our failure (exit
  status 75, no reward), and never a way out. Any other end has a zero on disk from before foreign code ran.

Standard library only, Python 3.9 or later, and the modules beside it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # `python3 -I` leaves it out

import canaries  # noqa: E402  # ty: ignore[import-not-found]
import supervisor  # noqa: E402  # ty: ignore[import-not-found]
from account import Account, Broken, Malformed  # noqa: E402  # ty: ignore[import-not-found]
from arms import Arms  # noqa: E402  # ty: ignore[import-not-found]
from commands import CommandSuite  # noqa: E402  # ty: ignore[import-not-found]
from segment import PASSED, XFAILED  # noqa: E402  # ty: ignore[import-not-found]
from significance import finding  # noqa: E402  # ty: ignore[import-not-found]
from suite import Suite  # noqa: E402  # ty: ignore[import-not-found]
from tree import Tree  # noqa: E402  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
BROKEN = 70
UNSTABLE = 75  # EX_TEMPFAIL: this machine, now
HOPELESS = 0.01  # a gain of gold that no number of further blocks makes significant
ENDED = (Broken, OSError, RecursionError, MemoryError, subprocess.SubprocessError)
CPU_COUNTERS = (  # of cgroup v1 and v2, with what makes seconds of them
    ("/sys/fs/cgroup/cpuacct/cpuacct.usage", 1e-9),
    ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", 1e-9),
    ("/sys/fs/cgroup/cpu.stat", 1e-6),
)


class Unstable(Exception):
    """Base and gold, of which nobody's submission is part, do not give a steady picture here."""


class Failed(Exception):
    """The submission's own run shows that it earns nothing."""


class Forged(Failed):
    """And that it forges."""


class Meter:
    """CPU and wall time of what runs between `start` and `stop`, summed."""

    def __init__(self) -> None:
        self.children = self.container = self.wall = 0.0

    def start(self) -> None:
        self._began = (_children(), _container(), time.monotonic())

    def stop(self) -> None:
        children, container, wall = self._began
        self.children += _children() - children
        self.container += _container() - container
        self.wall += time.monotonic() - wall

    def sample(self, *, all_of_it: bool) -> dict[str, float]:
        cpu = max(self.children, self.container) if all_of_it else self.children
        return {"cpu": cpu, "wall": self.wall}


def _children() -> float:
    """CPU seconds of processes that ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _container() -> float:
    """CPU seconds of everything in this container but this process; 0 where the kernel does not say."""
    for path, unit in CPU_COUNTERS:
        try:
            words = Path(path).read_text().split()
        except OSError:
            continue
        used = words[words.index("usage_usec") + 1] if "usage_usec" in words else words[0]
        own = resource.getrusage(resource.RUSAGE_SELF)
        return int(used) * unit - own.ru_utime - own.ru_stime
    return 0.0


class MeteredSuite(Suite):
    """A suite whose processes are metered."""

    meter: Meter

    def _segment(self, *arguments: Any) -> Any:
        self.meter.start()
        try:
            return super()._segment(*arguments)
        finally:
            self.meter.stop()


class MeteredCommand(CommandSuite):
    """A command that is metered; what is built before it is not."""

    meter: Meter

    def _step(self, command: list[str], *arguments: Any) -> Any:
        if command != self.spec["command"]:
            return super()._step(command, *arguments)
        self.meter.start()
        try:
            return super()._step(command, *arguments)
        finally:
            self.meter.stop()


class Stopwatch:
    """Runs the workload on an arm."""

    def __init__(
        self, spec: dict[str, Any], task: dict[str, Any], account: Account, arms: Arms, private: Path
    ) -> None:
        self.spec = dict(spec, args=task["args"], suite_seconds=task["run_seconds"])
        self.tests = sorted(set(task["tests"]) & {*spec["pass_to_pass"], *spec["fail_to_pass"], *spec["new"]})
        if not self.tests and spec["pass_to_pass"]:
            raise Broken("No test of the workload is among those that are maintained.")
        self.tests = self.tests or task["tests"]
        self.account = account
        self.arms = arms
        self.private = private
        arms.put("base")
        self.tree = Tree(spec, account, private, hidden=True)
        self.hidden = self.tree.hidden
        self.plan = self._plan()

    def _plan(self) -> canaries.Plan:
        """How to invert tests of the workload."""
        self.tree.restore()
        spec = dict(self.spec, fail_to_pass=self.tests, new=[], pass_to_pass=[])
        if self.spec["runner"] == "command":
            files = {path: data for path, (mode, data) in self.hidden.items() if mode != "120000"}
            return canaries.listed_plan(spec, files)
        return canaries.plan(spec, self.tree.test_sources())

    def run(self, arm: str, files: dict[str, bytes] | None = None) -> tuple[Meter, dict[str, Any]]:
        """One run; `files` stand in place of hidden tests."""
        self.arms.put(arm)
        modes = {path: self.hidden[path][0] if path in self.hidden else "100644" for path in files or {}}
        self.tree.hidden = dict(self.hidden, **{p: (modes[p], data) for p, data in (files or {}).items()})
        folder = self.private / secrets.token_hex(8)
        folder.mkdir()
        os.chmod(folder, 0o755)
        kind = MeteredCommand if self.spec["runner"] == "command" else MeteredSuite
        suite = kind(self.spec, self.account, self.tree, folder)
        suite.meter = Meter()
        try:
            if suite.rebuild():
                suite.run()
            return suite.meter, suite.report()
        finally:
            self.account.kill_all()
            shutil.rmtree(folder, ignore_errors=True)

    def sample(self, arm: str) -> dict[str, float]:
        """The cost of the workload on an arm, whose tests must pass."""
        meter, report = self.run(arm)
        if wrong := self._wrong(report):
            if arm == "submission":
                raise Failed(f"the workload did not pass when it was measured: {wrong}")
            raise Unstable(f"the workload did not pass on {arm}: {wrong}")
        return meter.sample(all_of_it=arm == "submission")

    def probe(self, number: int) -> None:
        """A run of the submission like a measured one, in which tests must fail."""
        _, report = self.run("submission", self.plan.files(number))
        inverted = {name for function in self.plan.inverted(number) for name in function.tests}
        passed = [r["id"] for r in report["results"] if r["id"] in inverted and r["status"] == PASSED]
        if passed:
            raise Forged(f"canary: a test that must fail was reported as passed: {passed[0]}")

    def _wrong(self, report: dict[str, Any]) -> str:
        status = {result["id"]: result["status"] for result in report["results"]}
        missed = [name for name in self.tests if status.get(name) not in (PASSED, XFAILED)]
        if missed:
            return (
                f"{len(missed)} of {len(self.tests)} tests, {missed[0]} ({status.get(missed[0], 'missing')})"
            )
        if report["disagreements"] or report["outcome"] != "finished":
            return "; ".join([report["outcome"], *report["disagreements"]])[:500]
        return ""


def blocks(
    watch: Stopwatch, task: dict[str, Any], *, graded: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure until it is decided: (raw samples, the finding)."""
    deadline = time.monotonic() + task["seconds"]
    raw: list[dict[str, Any]] = []
    probes: dict[int, int] = {}
    if graded and watch.plan.rounds > 1:
        drawn = random.SystemRandom().sample(range(task["blocks"]), watch.plan.rounds)
        probes = {place: number for number, place in enumerate(drawn)}
    found: dict[str, Any] = {}
    while len(raw) < task["most_blocks"]:
        if len(raw) in probes:
            watch.probe(probes[len(raw)])
        raw.append(_block(watch, len(raw), graded=graded))
        if time.monotonic() > deadline:
            raise Unstable(f"{len(raw)} blocks took the {task['seconds']:g} s that there were")
        if not graded and len(raw) == 2 and not _worth_it(raw):
            break
        if len(raw) in (task["blocks"], task["most_blocks"]):
            found = finding(_of(raw, task["measure"]), task)
            if found["verdict"] in ("earned", "missed"):
                break
    return raw, found


def _block(watch: Stopwatch, number: int, *, graded: bool) -> dict[str, Any]:
    """Base at both ends, gold and the submission between them, changing places."""
    inner = ["gold", "submission"] if graded else ["gold"]
    first = watch.sample("base")
    middle = {arm: watch.sample(arm) for arm in (inner if number % 2 == 0 else inner[::-1])}
    return {"base": [first, watch.sample("base")], **middle}


def _of(raw: list[dict[str, Any]], measure: str) -> list[dict[str, Any]]:
    """Blocks of one measure."""
    return [
        {
            name: [one[measure] for one in value] if isinstance(value, list) else value[measure]
            for name, value in block.items()
        }
        for block in raw
    ]


def _worth_it(raw: list[dict[str, Any]]) -> bool:
    return any(
        block["gold"] < (1 - HOPELESS) * sum(block["base"]) / 2
        for measure in ("cpu", "wall") for block in _of(raw, measure)
    )  # fmt: skip


def grade(
    spec: dict[str, Any],
    task: dict[str, Any],
    patch: Path | None,
    private: Path,
    haste: dict[str, Any] | None,
) -> None:
    """Tests first, then the measurement. Raises Unstable."""
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(spec["user"])
    for folder in (LOGS, HERE):
        os.chmod(folder, 0o700)
    arms = Arms(spec, account, private)
    arms.keep_base(as_it_stands=patch is None)
    arms.patched("gold", (HERE / "performance.patch").read_bytes())
    if patch is not None:
        try:
            arms.patched("submission", patch.read_bytes())
        except Malformed as error:
            write("malformed", str(error), [], None, {})
            return
    arms.lock()
    write("scored", "grading was cut short", [], None, {})
    if arms.same("base", "submission"):
        write("scored", "", [_check(False, 0.0, "nothing that is measured was changed")], None, {})
        return
    try:
        _foreign(spec, task, patch, private, account, arms, haste)
    except ENDED as error:
        write("scored", f"grading ended early: {error}", [], None, {})


def _foreign(
    spec: dict[str, Any], task: dict[str, Any], patch: Path | None, private: Path, account: Account,
    arms: Arms, haste: dict[str, Any] | None,
) -> None:  # fmt: skip
    """The part of grading in which code of the submission runs."""
    result = _tested(spec, task, patch, private, haste)
    checks, reason = result["checks"], result["reason"]
    if result["kind"] != "scored" or not result["reward"]:
        write(result["kind"], reason, [*checks, _check(False, 0.0, "not measured")], result["report"], result)
        return
    try:
        raw, found = blocks(Stopwatch(spec, task, account, arms, private), task, graded=True)
    except Failed as error:
        kind = "tampered" if isinstance(error, Forged) else "scored"
        write(kind, str(error), [*checks, _check(False, 0.0, str(error))], result["report"], result)
        return
    if found["verdict"] == "unstable":
        raise Unstable(told(found, task))
    share = max(0.0, found["submission"] / found["gold"])
    checks.append(_check(found["verdict"] == "earned", min(1.0, share), told(found, task)))
    result["share_of_gold"] = round(share, 4)
    write("scored", "", checks, dict(result["report"], measured=raw, finding=found), result)


def _tested(
    spec: dict[str, Any],
    task: dict[str, Any],
    patch: Path | None,
    private: Path,
    haste: dict[str, Any] | None,
) -> dict[str, Any]:
    """What the suite's supervisor says of the submission."""
    logs, folder = private / "tests-logs", private / "tests"
    folder.mkdir()
    os.chmod(folder, 0o755)
    supervisor.grade(dict(spec, suite_seconds=task["suite_seconds"]), patch, logs, folder, haste)
    return json.loads((logs / "report.json").read_text())


def told(found: dict[str, Any], task: dict[str, Any]) -> str:
    """The finding in words."""
    counted = "CPU time" if task["measure"] == "cpu" else "wall time"
    if task["measure"] == "cpu":
        counted += " (of the container)" if _container() else " (of processes waited for)"
    text = f"gold saves {found['gold']:.1%} (p {found['gold_p']:.3f})"
    if "submission" in found:
        text = f"saves {found['submission']:.1%} (p {found['submission_p']:.3f}) of {counted}; {text}"
    else:
        text = f"{counted}: {text}"
    return f"{text}; noise {found['noise']:.1%}, {found['blocks']} blocks"


def _check(passed: bool, score: float, evidence: str) -> dict[str, Any]:
    return {"name": "faster", "passed": passed, "score": score, "evidence": evidence[:2000]}


def write(kind: str, reason: str, checks: list[dict[str, Any]], report: Any, scores: dict[str, Any]) -> None:
    """reward.json is flat numbers whose first name is the score; the evidence stands beside it."""
    earned = kind == "scored" and bool(checks) and all(check["passed"] for check in checks)
    forged = kind in ("tampered", "malformed")
    reward = {
        "reward": float(earned),
        "share_of_gold": 0.0 if forged else scores.get("share_of_gold", 0.0),
        "tests_pass_to_pass": 0.0 if forged else scores.get("tests_pass_to_pass", 0.0),
    }
    told = {"kind": kind, "reason": reason, "checks": checks, "report": report, "reward": reward["reward"]}
    for name, value in (("report.json", told), ("reward.json", reward)):
        part = LOGS / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, LOGS / name)


def measure(spec: dict[str, Any], task: dict[str, Any], output: Path, private: Path) -> None:
    """Base and gold alone, on a fresh image."""
    account = Account.named(spec["user"])
    os.chmod(HERE, 0o700)
    arms = Arms(spec, account, private)
    arms.keep_base(as_it_stands=False)
    arms.patched("gold", (HERE / "performance.patch").read_bytes())
    told: dict[str, Any] = {"unstable": "", "blocks": []}
    try:
        told["blocks"], _ = blocks(Stopwatch(spec, task, account, arms, private), task, graded=False)
    except Unstable as error:
        told["unstable"] = str(error)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(told))


def main() -> int:
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o755)
    command, *rest = sys.argv[1:]
    try:
        spec = json.loads((HERE / "spec.json").read_text(encoding="utf-8"))
        task = json.loads((HERE / "performance.json").read_text(encoding="utf-8"))
        if command == "measure":
            measure(spec, task, Path(rest[0]), private)
        else:
            haste = json.loads(os.environ.get(supervisor.HASTE, "null"))
            grade(spec, task, Path(rest[0]) if rest else None, private, haste)
    except Unstable as error:
        for name in ("reward.json", "report.json"):
            (LOGS / name).unlink(missing_ok=True)  # no reward: who reads these tries again
        sys.stderr.write(f"unstable: {error}\n")
        return UNSTABLE
    except (Broken, Malformed, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
