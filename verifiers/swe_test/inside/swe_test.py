"""Grades tests that somebody wrote, by what they tell apart: see `verifiers.swe_test`.

`swe_test.py [PATCH]` takes the test files out of a submission (or out of the tree as it stands), puts the
tree back as it was, and runs the suite's own supervisor once for every state, with those files as the hidden
tests. Writes reward.json and report.json to /logs/verifier.

What holds:
- The states come in an order that is drawn, and what one run leaves behind (files, processes) is removed
  before the next, so a test cannot tell by counting or by notes which state it is run on.
- A zero reward is on disk before the first foreign instruction runs.
- Only exit status 70 says that the environment itself is broken, and never after foreign code has run.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # `python3 -I` leaves it out

from account import Account, Broken, Malformed  # noqa: E402  # ty: ignore[import-not-found]
from tree import Tree  # noqa: E402  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
BROKEN = 70
FAILING = ("failed", "error", "timeout", "crashed")
MODULE = re.compile(r"(^|/)(test[^/]*|[^/]*_tests?)\.py$")
NOTES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/var/lock")
SETTLE_SECONDS = 120  # for what is ours: a loaded machine must not look like a broken one


def write_verdict(kind: str, reason: str, checks: list[dict[str, Any]], logs: Path) -> None:
    """reward.json is flat numbers whose first name is the score; the evidence stands beside it."""
    scores = {check["name"]: check["score"] for check in checks}
    earned = kind == "scored" and bool(checks) and all(check["passed"] for check in checks)
    reward = {
        "reward": float(earned),
        "tests_fail_before": scores.get("fails_before", 0.0),
        "tests_find_mutants": scores.get("finds_mutants", 0.0),
        "tests_pass_after": scores.get("passes_after", 0.0),
    }
    report = {"kind": kind, "reason": reason, "checks": checks, "report": None, "reward": reward["reward"]}
    for name, value in (("report.json", report), ("reward.json", reward)):
        part = logs / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, logs / name)


class Project:
    """The tree: as imaged, with the submission's files taken out of it, put back for every run."""

    def __init__(self, suite: dict[str, Any], account: Account, private: Path) -> None:
        bare = {**suite, "hidden": [], "deleted": [], "protected": [], "unprotected": []}
        self.tree = Tree(bare, account, private, hidden=True)
        self.account = account
        self.root = self.tree.root
        self.private = private

    def take_out(self, submission: bytes | None, spec: dict[str, Any]) -> dict[str, tuple[str, bytes]]:
        """The test files that the submission writes: path → mode and content. The tree is as imaged after.

        Without a submission an agent has worked in this very tree, and what is new in it is its work.
        """
        present = set(self._files())
        self.tree.hand_over()
        self.tree.apply(submission or b"")
        written = {}
        for path in self._files():
            mode, data = self._read(path)
            known = self.tree.pristine.get(path)
            ours = known is None and path in present and submission is not None  # came with the image
            if known != (mode, _blob(data)) and not ours and _admitted(path, spec):
                written[path] = (mode, data)
        for path in self._files():
            if path not in present:
                (self.root / path).unlink()
        for path, (mode, name) in self.tree.pristine.items():
            self._restore(path, mode, name)
        self.copy = self.private / "pristine"
        shutil.copytree(self.root, self.copy, symlinks=True)
        return written

    def reset(self) -> None:
        """The tree as imaged, no process of the account, and none of its files anywhere else."""
        self.account.kill_all()
        for entry in list(os.scandir(self.root)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        shutil.copytree(self.copy, self.root, symlinks=True, dirs_exist_ok=True)
        os.chown(self.root, os.stat(self.copy).st_uid, os.stat(self.copy).st_gid)
        os.chmod(self.root, 0o755)
        if self.account.own:
            roots = [folder for folder in NOTES if os.path.isdir(folder)]
            subprocess.run(
                ["find", *roots, "-xdev", "-mindepth", "1", "-user", str(self.account.uid),
                 "!", "-path", "/home/" + self.account.name, "-delete"],
                capture_output=True, check=False, timeout=SETTLE_SECONDS,
            )  # fmt: skip

    def _files(self) -> list[str]:
        found = []
        for folder, folders, names in os.walk(self.root):
            if folder == str(self.root) and ".git" in folders:
                folders.remove(".git")
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            found += [os.path.relpath(os.path.join(folder, name), self.root) for name in (*names, *links)]
        return sorted(found)

    def _read(self, path: str) -> tuple[str, bytes]:
        target = self.root / path
        if target.is_symlink():
            return "120000", os.fsencode(os.readlink(target))
        return ("100755" if os.stat(target).st_mode & 0o100 else "100644"), target.read_bytes()

    def _restore(self, path: str, mode: str, name: str) -> None:
        """A file as imaged, out of the repository, whatever stands there."""
        target = self.root / path
        if os.path.lexists(target):
            found, data = self._read(path)
            if (found, _blob(data)) == (mode, name):
                return
            target.unlink()
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "--git-dir", str(self.root / ".git"), "cat-file", "blob", name],
            capture_output=True, check=False, timeout=SETTLE_SECONDS, cwd="/",
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"},
            preexec_fn=self.account.enter,
        )  # fmt: skip
        if done.returncode or _blob(done.stdout) != name:
            raise Broken(f"git no longer has the pristine {path}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            os.symlink(done.stdout, os.fsencode(target))
        else:
            target.write_bytes(done.stdout)
            os.chmod(target, 0o755 if mode == "100755" else 0o644)


class Runs:
    """The submission's tests on every state."""

    def __init__(
        self,
        suite: dict[str, Any],
        spec: dict[str, Any],
        project: Project,
        written: dict[str, tuple[str, bytes]],
    ) -> None:
        self.suite = suite
        self.spec = spec
        self.project = project
        self.written = written
        self.seen: dict[str, dict[str, Any]] = {}
        self.forged: list[str] = []

    def all(self) -> None:
        states = list(self.spec["states"])
        random.SystemRandom().shuffle(states)
        for state in states:
            report = self.one(state)
            self.seen[state["name"]] = report
            self.forged += [text for text in report["disagreements"] if not text.startswith("exit:")]

    def one(self, state: dict[str, str]) -> dict[str, Any]:
        self.project.reset()
        folder = self.project.private / secrets.token_hex(8)
        self._lay_out(folder)
        output = self.project.private / (secrets.token_hex(8) + ".json")
        command = [sys.executable, "-I", str(folder / "supervisor.py"), "observe"]
        command += ["--state", "after", "--output", str(output)]
        if state["patch"]:
            command += ["--patch", str(HERE / "states" / state["patch"])]
        if state["role"] == "gold" and self.seen.keys() & self._named("gold"):
            command += ["--seed", str(secrets.randbelow(2**31))]
        limit = self.spec["state_seconds"] + SETTLE_SECONDS
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=limit, cwd="/")
        except subprocess.TimeoutExpired:
            self.project.account.kill_all()
            return {"results": [], "collection_errors": [], "disagreements": [], "outcome": "timeout"}
        if done.returncode:
            raise Broken(f"state {state['name']}: {done.stderr[-500:].decode('utf-8', 'replace')}")
        return json.loads(output.read_text())

    def _lay_out(self, folder: Path) -> None:
        """A supervisor of its own for every run, with the submission's files as its hidden tests."""
        (folder / "hidden").mkdir(parents=True)
        for source in HERE.glob("*.py"):
            shutil.copyfile(source, folder / source.name)
        shutil.copyfile(HERE / "pristine.json", folder / "pristine.json")
        listed = []
        for path, (mode, data) in sorted(self.written.items()):
            target = folder / "hidden" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            listed.append({"path": path, "mode": mode, "sha256": hashlib.sha256(data).hexdigest()})
        suite = {**self.suite, "hidden": listed, "suite_seconds": self.spec["state_seconds"]}
        if suite["runner"] in ("pytest", "unittest"):
            suite["args"] = [path for path in sorted(self.written) if MODULE.search(path)]
        (folder / "spec.json").write_text(json.dumps(suite))

    def _named(self, role: str) -> set[str]:
        return {state["name"] for state in self.spec["states"] if state["role"] == role}

    def judge(self) -> list[dict[str, Any]]:
        """The three checks. Evidence is the same whenever the outcomes are."""
        ignored = set(self.spec["ignored"])
        gold = [_statuses(self.seen[name]) for name in sorted(self._named("gold"))]
        ended = [self.seen[name]["outcome"] for name in sorted(self._named("gold"))]
        passing = {
            test for test, status in gold[0].items() if status == "passed" and test not in ignored
            and all(other.get(test) == "passed" for other in gold)
        }  # fmt: skip
        failing = sorted({
            test for statuses in gold for test, status in statuses.items()
            if status in FAILING and test not in ignored
        })  # fmt: skip
        uncollected = sorted(
            {e["id"] for name in self._named("gold") for e in self.seen[name]["collection_errors"]}
        )
        base = self.seen[next(iter(self._named("base")))]
        shows = {test for test in passing if _fails(test, base)}
        counted = shows | {test for test in passing if test not in self.spec["known"]}
        found = [n for n in sorted(self._named("mutant")) if any(_fails(t, self.seen[n]) for t in counted)]
        mutants = len(self._named("mutant"))
        whole = not failing and not uncollected and bool(passing) and set(ended) == {"finished"}
        told = "; ".join([*failing[:10], *uncollected[:5]]) or ", ".join(ended)
        enough = len(found) >= self.spec["kill_share"] * mutants
        return [
            _check("passes_after", whole, f"{len(passing)} tests pass on the right states; {told}"),
            _check("fails_before", bool(shows), f"{len(shows)} of them fail on the base"),
            {
                "name": "finds_mutants", "passed": enough, "score": len(found) / mutants,
                "evidence": f"{len(found)} of {mutants} mutants found: {', '.join(found)}",
            },
        ]  # fmt: skip


def _check(name: str, passed: bool, evidence: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "score": float(passed), "evidence": evidence[:2000]}


def _statuses(report: dict[str, Any]) -> dict[str, str]:
    return {result["id"]: result["status"] for result in report["results"]}


def _fails(test: str, report: dict[str, Any]) -> bool:
    """Whether a test failed there: by itself, or because its file could not even be collected."""
    status = _statuses(report).get(test)
    if status is not None:
        return status in FAILING
    errors = [error["id"] for error in report["collection_errors"]]
    if any(test == e or test.startswith((e + "::", e.rstrip("/") + "/", e + ".")) for e in errors):
        return True
    return not report["results"]  # nothing could be built, or it never ended


def _admitted(path: str, spec: dict[str, Any]) -> bool:
    name = path.rpartition("/")[2]
    return (
        path in spec["test_files"]
        or any(path.startswith(folder.rstrip("/") + "/") for folder in spec["test_folders"])
        or any(re.fullmatch(pattern, name) for pattern in spec["test_names"])
    )


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def grade(patch: Path | None, private: Path) -> None:
    """Two ways out: `Broken` or OSError before foreign code runs, a verdict after that."""
    suite = json.loads((HERE / "spec.json").read_text(encoding="utf-8"))
    spec = json.loads((HERE / "swe_test.json").read_text(encoding="utf-8"))
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(suite["user"])
    for folder in (LOGS, HERE):
        os.chmod(folder, 0o700)
    submission = None if patch is None else patch.read_bytes()
    project = Project(suite, account, private)
    write_verdict("scored", "grading was cut short", [], LOGS)
    try:
        written = project.take_out(submission, spec)
    except Malformed as error:
        write_verdict("malformed", str(error), [], LOGS)
        return
    if not written:
        write_verdict("scored", "no test was written", [], LOGS)
        return
    runs = Runs(suite, spec, project, written)
    try:
        runs.all()
    except (Broken, OSError, ValueError, RecursionError, MemoryError, subprocess.SubprocessError) as error:
        write_verdict("scored", f"grading ended early: {error}", [], LOGS)
        return
    if runs.forged:
        write_verdict("tampered", runs.forged[0], [], LOGS)
    else:
        write_verdict("scored", "", runs.judge(), LOGS)


def main() -> int:
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o711)
    try:
        grade(Path(sys.argv[1]) if len(sys.argv) > 1 else None, private)
    except (Broken, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
