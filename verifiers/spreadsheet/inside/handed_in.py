"""What was handed in: the tree that a submission's patch makes, and the file in it that is the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from account import Account, Malformed, tail  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
FILE_BYTES = 64 << 20


def write_verdict(result: dict[str, Any]) -> None:
    checks = result["checks"]
    share = sum(check["passed"] for check in checks) / len(checks) if checks else 0.0
    reward = {"reward": result["reward"], "share_of_checks": round(share, 6)}
    for name, value in (("report.json", result), ("reward.json", reward)):
        part = LOGS / (name + ".part")
        part.write_text(json.dumps(value, ensure_ascii=True))
        os.replace(part, LOGS / name)


def patched(workdir: Path, patch: bytes, account: Account, private: Path) -> Path:
    """The tree with a patch applied, in a folder of its own. git runs as the user under test."""
    tree, bare = private / "tree", private / "empty.git"
    shutil.copytree(workdir, tree, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    for path in (tree, *tree.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    subprocess.run(
        ["git", "init", "-q", "--bare", "--template=", str(bare)], env=environment, check=True, timeout=60
    )
    if patch.strip():
        done = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", "-"], cwd=tree, input=patch, capture_output=True,
            env=environment | {"GIT_DIR": str(bare), "GIT_WORK_TREE": str(tree)}, check=False, timeout=120,
            preexec_fn=account.enter,
        )  # fmt: skip
        if done.returncode:
            raise Malformed(f"The patch does not apply: {tail(done.stderr, 500)}")
    return tree


def answer(tree: Path, name: str, original: bytes | None, suffixes: Sequence[str]) -> tuple[str, bytes]:
    """Name and bytes of the file that was handed in: the one that differs from the original.

    Raises Malformed for several, or for what is no plain file; FileNotFoundError where there is none.
    """
    stem = name.rsplit(".", 1)[0]
    found = {}
    for suffix in suffixes:
        data = _read(tree / f"{stem}{suffix}")
        if data is not None:
            found[f"{stem}{suffix}"] = data
    if not found:
        raise FileNotFoundError(f"there is no {stem} with one of the endings {', '.join(suffixes)}")
    changed = {one: data for one, data in found.items() if one != name or data != original}
    if len(changed) > 1:
        raise Malformed(f"There are several answers: {', '.join(sorted(changed))}; leave one")
    return next(iter((changed or found).items()))


def _read(path: Path) -> bytes | None:
    """A file, never followed through a link; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Malformed(f"{path.name} is not a file: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not os.path.isfile(f"/proc/self/fd/{file.fileno()}"):
            raise Malformed(f"{path.name} is not a file")
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise Malformed(f"{path.name} has more than {FILE_BYTES >> 20} MiB")
    return data
