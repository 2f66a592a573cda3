"""Grades the workbook of a submission: see `verifiers.spreadsheet`.

`grade.py [PATCH]` takes the workbook out of a patch (or out of the tree as it stands), recalculates it and
writes reward.json and report.json to /logs/verifier. LibreOffice runs as the user under test, the grader's
child as nobody, both without network; neither can write the verdict. Exit status 70 says that the environment
is broken.
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
sys.path[:0] = [str(HERE), str(HERE.parent)]  # `python3 -I` leaves them out

import engine_libreoffice  # noqa: E402
import judge  # noqa: E402
import rehearsal  # noqa: E402
import serve  # noqa: E402
from account import Account, Broken, Malformed, tail  # noqa: E402  # ty: ignore[import-not-found]

LOGS = Path("/logs/verifier")
BROKEN = 70
FILE_BYTES = 64 << 20
SUFFIXES = (".xlsx", ".xlsm", ".ods", ".csv")


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


def answer(tree: Path, name: str, original: bytes) -> tuple[str, bytes]:
    """Name and bytes of the workbook that was handed in: the one that differs from the original.

    Raises Malformed for several, or for what is no plain file; FileNotFoundError where there is none.
    """
    stem = name.rsplit(".", 1)[0]
    found = {}
    for suffix in SUFFIXES:
        data = _read(tree / f"{stem}{suffix}")
        if data is not None:
            found[f"{stem}{suffix}"] = data
    if not found:
        raise FileNotFoundError(f"there is no {stem} with one of the endings {', '.join(SUFFIXES)}")
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


def grade(patch: Path | None, private: Path) -> None:
    suite = json.loads((HERE.parent / "spec.json").read_text(encoding="utf-8"))
    spec = json.loads((HERE.parent / "spreadsheet.json").read_text(encoding="utf-8"))
    original = (HERE.parent / "original").read_bytes()
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(suite["user"])
    for folder in (LOGS, HERE.parent):
        os.chmod(folder, 0o700)
    write_verdict(judge.report("scored", "grading was cut short"))
    serve.second_engine()
    server = engine_libreoffice.Server(account.enter, (account.uid, account.gid))
    try:
        judge.judge(rehearsal.SPEC, "rehearsal.xlsx", rehearsal.workbook(), serve.engines(None))
        workdir = Path(suite["workdir"])
        tree = workdir if patch is None else patched(workdir, patch.read_bytes(), account, private)
        name, data = answer(tree, spec["answer"], original)
        server.wait()
        job = {"do": "grade", "spec": spec, "name": name, "hasty": bool(os.environ.get("VERIFACTORY_HASTE"))}
        result = serve.forked(job, data, server.port)
        if result["kind"] in ("unsupported", "needs_authority", "broken"):
            raise Broken(f"{result['kind']}: {result['reason']}")
        write_verdict(result)
    except Malformed as error:
        write_verdict(judge.report("malformed", str(error)))
    except FileNotFoundError as error:
        write_verdict(judge.report("scored", str(error)))
    finally:
        server.stop()
        account.kill_all()


def main() -> int:
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o711)
    try:
        grade(Path(sys.argv[1]) if len(sys.argv) > 1 else None, private)
    except (
        Broken, engine_libreoffice.ServerLost, OSError, ValueError, KeyError, subprocess.SubprocessError
    ) as error:  # fmt: skip
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
