"""Runs a test suite that may be hostile, and says what became of each test.

`grade [PATCH]` applies a submission, puts the hidden tests in place, runs the suite and writes reward.json
and report.json to /logs/verifier; without PATCH the tree is graded as it stands. `observe` runs the suite in
one of the states base, before and after, and reports every outcome instead of a reward. Both take the same
way, so what validation saw is what a grader will see.

What holds:
- This process is root and only reads from the code under test, which runs as another user and cannot signal
  it, nor read this folder, nor write the hidden tests.
- Every test that was collected gets an outcome: one that hangs past its alarm is killed and becomes
  `timeout`, one that ends the process becomes `crashed`, and the rest is run again without it, within the
  limit of the suite.
- A zero reward is on disk before the first foreign instruction runs. Nothing a submission does to this
  grading (a full disk, a spent limit) can turn it into our failure; only exit status 70 says that the
  environment itself is broken.

Standard library only, Python 3.9 or later, and the modules beside it: all are copied verbatim into every
bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # `python3 -I` leaves it out

from account import Account, Broken, Malformed  # noqa: E402
from commands import CommandSuite  # noqa: E402
from judge import REWARDS, judge, verdict  # noqa: E402
from rounds import Rounds  # noqa: E402
from suite import Suite  # noqa: E402
from tree import Tree  # noqa: E402

LOGS = Path("/logs/verifier")
HASTE = "VERIFACTORY_HASTE"  # JSON; set where only the reward is asked (`verifiers.verdict.Haste`)
BROKEN = 70  # EX_SOFTWARE: the environment, not the submission
MALFORMED = 65  # EX_DATAERR


def write_verdict(result: dict[str, Any], logs: Path) -> None:
    """reward.json is flat numbers, as consumers of Harbor tasks read it; the evidence stands beside it."""
    forged = result["kind"] in ("tampered", "malformed")
    reward = {name: 0.0 if forged else result[name] for name in REWARDS}
    for name, value in (("report.json", result), ("reward.json", reward)):
        part = logs / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, logs / name)


def hurried(spec: dict[str, Any], haste: dict[str, Any] | None) -> dict[str, Any]:
    """The spec with the limits of who only asks for the reward of what is known to hang."""
    patience = (haste or {}).get("patience")
    if not patience:
        return spec
    return spec | {name: min(spec[name], patience) for name in ("test_seconds", "collect_seconds")}


def grade(
    spec: dict[str, Any], patch: Path | None, logs: Path, private: Path, haste: dict[str, Any] | None = None
) -> None:
    """Grade, with two ways out: `Broken` or OSError before foreign code runs, a verdict after that."""
    logs.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (logs / name).unlink(missing_ok=True)
    spec = hurried(spec, haste)
    account = Account.named(spec["user"])
    submission = b"" if patch is None else patch.read_bytes()
    if account.own:
        for folder in (logs, HERE):
            os.chmod(folder, 0o700)
    tree = Tree(spec, account, private, hidden=True)
    suite = (CommandSuite if spec["runner"] == "command" else Suite)(spec, account, tree, private)
    tree.hand_over()
    write_verdict(verdict("scored", "grading was cut short"), logs)
    try:
        tree.apply(submission)
        built = suite.rebuild()
        rounds = Rounds(spec, account, tree, private, suite, hasty=haste is not None)
        report = rounds.run() if built else suite.report()
        result = judge(spec, report)
    except Malformed as error:
        result = verdict("malformed", str(error))
    except (Broken, OSError, RecursionError, MemoryError, subprocess.SubprocessError) as error:
        result = verdict("scored", f"grading ended early: {error}")
    try:
        write_verdict(result, logs)
    except OSError as error:
        sys.stderr.write(f"The zero reward stands, because the verdict could not be written: {error}\n")


def observe(spec: dict[str, Any], options: argparse.Namespace, private: Path) -> None:
    account = Account.named(spec["user"])
    if account.own:
        os.chmod(HERE, 0o700)
    tree = Tree(spec, account, private, hidden=options.state != "base")
    suite = (CommandSuite if spec["runner"] == "command" else Suite)(spec, account, tree, private)
    tree.hand_over()
    if options.patch is not None:
        tree.apply(options.patch.read_bytes())
    if options.patch is None or suite.rebuild():
        suite.run(seed=options.seed, faketime=options.faketime)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(suite.report(), ensure_ascii=True))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a test suite in this container.")
    commands = parser.add_subparsers(dest="command", required=True)
    grader = commands.add_parser("grade", help="grade a submission; writes reward.json and report.json")
    grader.add_argument(
        "patch", nargs="?", type=Path, help="submission in git format; without it the tree is graded as it is"
    )
    grader.add_argument("--logs", type=Path, default=LOGS)
    observer = commands.add_parser("observe", help="run the suite in one state and report every outcome")
    observer.add_argument("--state", choices=("base", "before", "after"), required=True)
    observer.add_argument("--seed", type=int, help="shuffle by this seed; natural order without it")
    observer.add_argument("--faketime", default="", help="offset of the clock, e.g. +400d")
    observer.add_argument("--patch", type=Path, help="patch to apply first")
    observer.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o755)
    try:
        spec = json.loads((HERE / "spec.json").read_text(encoding="utf-8"))
        if options.command == "grade":
            haste = json.loads(os.environ.get(HASTE, "null"))
            grade(spec, options.patch, options.logs, private, haste)
        else:
            observe(spec, options, private)
    except Malformed as error:
        sys.stderr.write(f"{error}\n")
        return MALFORMED  # only from `observe`, whose patch is the factory's own
    except (Broken, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
