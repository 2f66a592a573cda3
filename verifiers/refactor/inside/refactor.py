"""Grades a change that must improve structure and keep behaviour: see `verifiers.refactor`.

`refactor.py [PATCH]` measures the submission's source as it was handed in, before any of it has run, and then
lets the suite's own supervisor grade it. All targets must be met and every test be maintained.

What holds:
- Source is parsed by the account under test, in a copy, within limits: nothing of it is run for that.
- A zero reward is on disk before the first foreign instruction runs.
- Only exit status 70 says that the environment itself is broken.

Standard library only, Python 3.9 or later, and the modules beside it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # `python3 -I` leaves it out

import supervisor  # noqa: E402  # ty: ignore[import-not-found]
from account import Account, Broken, Malformed  # noqa: E402  # ty: ignore[import-not-found]
from tree import Tree  # noqa: E402  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
BROKEN = 70
COPY_SECONDS = 300
PARSE_SECONDS = 120
PARSE_BYTES = 2 << 30


def handed_in(spec: dict[str, Any], account: Account, private: Path, patch: Path | None) -> Path:
    """A copy of the project with the submission in it. Raises Malformed."""
    copy = private / "tree"
    done = subprocess.run(
        ["cp", "-a", "--", spec["workdir"], str(copy)], capture_output=True, check=False, timeout=COPY_SECONDS
    )
    if done.returncode:
        raise Broken(f"The project cannot be copied: {done.stderr[-300:].decode('utf-8', 'replace')}")
    tree = Tree(dict(spec, workdir=str(copy)), account, private, hidden=True)
    tree.hand_over()
    if patch is not None:
        tree.apply(patch.read_bytes())
    return copy


def measured(
    spec: dict[str, Any], task: dict[str, Any], account: Account, private: Path, tree: Path
) -> list[Any]:
    """The targets' values; none at all where the source cannot be read."""
    program = private / "structure.py"
    shutil.copyfile(HERE / "structure.py", program)
    os.chmod(program, 0o644)
    asked = {
        "targets": task["targets"], "suffixes": task["suffixes"], "unreadable": task["unreadable"],
        "left_out": [*spec["protected"], *(entry["path"] for entry in spec["hidden"]), *spec["deleted"]],
    }  # fmt: skip

    def enter() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (PARSE_BYTES, PARSE_BYTES))
        account.enter()

    try:
        done = subprocess.run(
            [sys.executable, "-I", str(program), str(tree)], input=json.dumps(asked).encode(),
            capture_output=True, check=False, timeout=PARSE_SECONDS, preexec_fn=enter, cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        return list(json.loads(done.stdout)) if not done.returncode else []
    except (subprocess.TimeoutExpired, ValueError):
        return []


def checks(task: dict[str, Any], values: list[Any]) -> list[dict[str, Any]]:
    """One check for each target."""
    found = []
    for number, target in enumerate(task["targets"]):
        seen = values[number] if number < len(values) else None
        met = isinstance(seen, int) and seen <= target["most"]
        told = "cannot be measured" if seen is None else f"{seen}, at most {target['most']}"
        about = " ".join(str(target[key]) for key in ("rule", "name", "path") if target.get(key))
        found.append({"name": f"structure: {about}", "passed": met, "score": float(met), "evidence": told})
    return found


def grade(
    spec: dict[str, Any],
    task: dict[str, Any],
    patch: Path | None,
    private: Path,
    haste: dict[str, Any] | None,
) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(spec["user"])
    os.chmod(LOGS, 0o700)
    write("scored", "grading was cut short", [], None, {})
    try:
        tree = handed_in(spec, account, private, patch)
    except Malformed as error:
        write("malformed", str(error), [], None, {})
        return
    structure = checks(task, measured(spec, task, account, private, tree))
    shutil.rmtree(tree)
    if haste is not None and not all(check["passed"] for check in structure):
        write("scored", "", structure, None, {})
        return
    logs, folder = private / "logs", private / "tests"
    folder.mkdir()
    os.chmod(folder, 0o755)
    supervisor.grade(dict(spec, suite_seconds=task["suite_seconds"]), patch, logs, folder, haste)
    result = json.loads((logs / "report.json").read_text())
    write(result["kind"], result["reason"], [*result["checks"], *structure], result["report"], result)


def write(kind: str, reason: str, checks: list[dict[str, Any]], report: Any, scores: dict[str, Any]) -> None:
    """reward.json is flat numbers whose first name is the score; the evidence stands beside it."""
    structure = [check["score"] for check in checks if check["name"].startswith("structure: ")]
    earned = kind == "scored" and bool(scores.get("reward")) and all(check["passed"] for check in checks)
    forged = kind in ("tampered", "malformed")
    reward = {
        "reward": float(earned and bool(structure)),
        "structure_met": 0.0 if forged or not structure else sum(structure) / len(structure),
        "tests_pass_to_pass": 0.0 if forged else scores.get("tests_pass_to_pass", 0.0),
    }
    told = {"kind": kind, "reason": reason, "checks": checks, "report": report, "reward": reward["reward"]}
    for name, value in (("report.json", told), ("reward.json", reward)):
        part = LOGS / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, LOGS / name)


def main() -> int:
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o755)
    try:
        spec = json.loads((HERE / "spec.json").read_text(encoding="utf-8"))
        task = json.loads((HERE / "refactor.json").read_text(encoding="utf-8"))
        haste = json.loads(os.environ.get(supervisor.HASTE, "null"))
        grade(spec, task, Path(sys.argv[1]) if len(sys.argv) > 1 else None, private, haste)
    except (Broken, OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
