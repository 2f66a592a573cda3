"""Grades the deck or text of a submission: see `verifiers.documents`.

`document_grade.py [PATCH]` takes the file out of a patch (or out of the tree as it stands) and writes
reward.json and report.json to /logs/verifier. The file is read by a child as nobody, without network. Exit
status 70 says that the environment is broken.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # `python3 -I` leaves them out

import document_judge  # noqa: E402
import document_serve  # noqa: E402
from account import Account, Broken, Malformed  # noqa: E402  # ty: ignore[import-not-found]
from handed_in import LOGS, answer, patched, write_verdict  # noqa: E402  # ty: ignore[import-not-found]
from samples import rehearse  # noqa: E402

BROKEN = 70


def grade(patch: Path | None, private: Path) -> None:
    suite = json.loads((HERE.parent / "spec.json").read_text(encoding="utf-8"))
    spec = json.loads((HERE.parent / "deliverable.json").read_text(encoding="utf-8"))
    kept = HERE.parent / "original"
    original = kept.read_bytes() if kept.is_file() else None
    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ("reward.json", "report.json"):
        (LOGS / name).unlink(missing_ok=True)
    account = Account.named(suite["user"])
    for folder in (LOGS, HERE.parent):
        os.chmod(folder, 0o700)
    write_verdict(document_judge.report("scored", "grading was cut short"))
    try:
        rehearse()
        workdir = Path(suite["workdir"])
        tree = workdir if patch is None else patched(workdir, patch.read_bytes(), account, private)
        suffix = "." + spec["answer"].rpartition(".")[2]
        name, data = answer(tree, spec["answer"], original, (suffix,))
        result = document_serve.graded({"spec": spec, "name": name}, data, original)
        if result["kind"] == "broken":
            raise Broken(result["reason"])
        write_verdict(result)
    except Malformed as error:
        write_verdict(document_judge.report("malformed", str(error)))
    except FileNotFoundError as error:
        write_verdict(document_judge.report("scored", str(error)))
    finally:
        account.kill_all()


def main() -> int:
    private = Path(tempfile.mkdtemp(prefix="verifier-"))
    os.chmod(private, 0o711)
    try:
        grade(Path(sys.argv[1]) if len(sys.argv) > 1 else None, private)
    except (Broken, OSError, ValueError, KeyError, RuntimeError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
