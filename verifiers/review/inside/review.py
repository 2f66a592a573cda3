"""Grades a code review by file and line: see `verifiers.review`.

`review.py [PATCH]` takes the answer out of a submission (or out of the tree as it stands), matches its
findings with the defects and writes reward.json and report.json to /logs/verifier. Nothing of the project is
run.
Exit status 70 says that the environment is broken.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

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

from account import Account, Broken, Malformed, tail  # noqa: E402  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
BROKEN = 70
MAX_BYTES = 1 << 20
MOST_FINDINGS = 10_000
FORM = 'The answer must be {"findings": [{"file": "…", "line": 1, "claim": "…"}]}'


def write_verdict(result: dict[str, Any], shares: tuple[float, float] = (0.0, 0.0)) -> None:
    reward = {"reward": result["reward"], "share_of_defects": shares[0], "share_of_findings": shares[1]}
    for name, value in (("report.json", result), ("reward.json", reward)):
        part = LOGS / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, LOGS / name)


def verdict(kind: str, reason: str, reward: float = 0.0, checks: tuple[Any, ...] = ()) -> dict[str, Any]:
    return {"kind": kind, "reason": reason, "reward": reward, "checks": list(checks), "report": None}


def answer_of_patch(patch: bytes, name: str, account: Account, private: Path) -> bytes | None:
    """The answer that a patch adds, as git applies it to an empty folder; None when it adds none."""
    if not patch.strip():
        return None
    folder, bare = private / "answer", private / "empty.git"
    folder.mkdir()
    os.chown(folder, account.uid, account.gid)
    _git(["init", "-q", "--bare", str(bare)], None, b"", None)
    listing = _git(["apply", "--numstat", "-z", "-"], bare, patch, account, folder)
    if listing.returncode:
        raise Malformed(f"The patch cannot be read: {tail(listing.stderr, 500)}")
    if name.encode() not in [line.split(b"\t")[-1] for line in listing.stdout.split(b"\0")]:
        return None
    done = _git(["apply", "--whitespace=nowarn", f"--include={name}", "-"], bare, patch, account, folder)
    if done.returncode:
        raise Malformed(f"The patch does not add {name}: {tail(done.stderr, 500)}")
    return answer_of_tree(folder, name)


def _git(
    arguments: list[str],
    git_dir: Path | None,
    stdin: bytes,
    account: Account | None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    if git_dir is not None and folder is not None:
        environment |= {"GIT_DIR": str(git_dir), "GIT_WORK_TREE": str(folder)}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder or "/", env=environment, input=stdin, capture_output=True,
            check=False, timeout=120, preexec_fn=account.enter if account else None,
        )  # fmt: skip
    except FileNotFoundError:
        raise Broken("The image has no git.") from None


def answer_of_tree(folder: Path, name: str) -> bytes | None:
    """The answer as it lies there; never followed through a link."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Malformed(f"{name} is not a file: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Malformed(f"{name} has more than {MAX_BYTES} bytes")
    return data


def findings(data: bytes) -> list[tuple[str, int, str]]:
    """The findings of an answer. Raises Malformed."""
    try:
        read = json.loads(data)
        found = [_finding(entry) for entry in read["findings"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"{FORM}: {type(error).__name__}: {error}") from error
    if len(found) > MOST_FINDINGS:
        raise Malformed(f"There are more than {MOST_FINDINGS} findings")
    return found


def _finding(entry: dict[str, Any]) -> tuple[str, int, str]:
    path, line, claim = entry["file"], entry["line"], entry["claim"]
    if not isinstance(path, str) or not isinstance(claim, str) or not claim.strip():
        raise TypeError("file and claim must be text, and a claim must say something")
    if isinstance(line, bool) or not isinstance(line, int) or line < 1:
        raise TypeError("a line is a number from 1")
    return path[2:] if path.startswith("./") else path, line, claim


def matched(spec: dict[str, Any], found: list[tuple[str, int, str]]) -> dict[int, int]:
    """Defect → finding, as many as can be matched one to one (Kuhn's augmenting paths)."""
    able = [
        [n for n, (path, line, _) in enumerate(found) if path == d["path"]
         and d["first"] - spec["window"] <= line <= d["last"] + spec["window"]]
        for d in spec["defects"]
    ]  # fmt: skip
    taken: dict[int, int] = {}

    def place(defect: int, tried: set[int]) -> bool:
        for finding in able[defect]:
            if finding not in tried:
                tried.add(finding)
                if finding not in taken or place(taken[finding], tried):
                    taken[finding] = defect
                    return True
        return False

    for defect in range(len(able)):
        place(defect, set())
    return {defect: finding for finding, defect in taken.items()}


def judge(spec: dict[str, Any], found: list[tuple[str, int, str]]) -> None:
    """Write the verdict on a list of findings."""
    pairs = matched(spec, found)
    total = len(spec["defects"])
    recall = len(pairs) / total
    precision = len(pairs) / len(found) if found else 0.0
    reward = round(2 * len(pairs) / (len(found) + total), 6)
    checks = []
    for number, defect in enumerate(spec["defects"]):
        said = found[pairs[number]] if number in pairs else None
        evidence = (
            f"line {said[1]}: {said[2][:300]}" if said else f"missed: {defect['path']}:{defect['first']}"
        )
        checks.append(
            {"name": f"defect {number + 1}", "passed": said is not None, "score": float(said is not None),
             "evidence": evidence}
        )  # fmt: skip
    checks.append(
        {"name": "precision", "passed": len(pairs) == len(found), "score": precision,
         "evidence": f"{len(pairs)} of {len(found)} findings match a defect"}
    )  # fmt: skip
    write_verdict(verdict("scored", "", reward, tuple(checks)), (recall, precision))


def grade(patch: Path | None, private: Path) -> None:
    suite = json.loads((HERE / "spec.json").read_text(encoding="utf-8"))
    spec = json.loads((HERE / "review.json").read_text(encoding="utf-8"))
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(suite["user"])
    for folder in (LOGS, HERE):
        os.chmod(folder, 0o700)
    write_verdict(verdict("scored", "grading was cut short"))
    try:
        if patch is None:
            data = answer_of_tree(Path(suite["workdir"]), spec["answer"])
        else:
            data = answer_of_patch(patch.read_bytes(), spec["answer"], account, private)
        if data is None:
            write_verdict(verdict("scored", "no review was written"))
        else:
            judge(spec, findings(data))
    except Malformed as error:
        write_verdict(verdict("malformed", str(error)))


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
