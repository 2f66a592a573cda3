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

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # `python3 -I` leaves them out

import engine_libreoffice  # noqa: E402
import judge  # noqa: E402
import rehearsal  # noqa: E402
import serve  # noqa: E402
from account import Account, Broken, Malformed  # noqa: E402  # ty: ignore[import-not-found]
from handed_in import LOGS, answer, patched, write_verdict  # noqa: E402

BROKEN = 70
SUFFIXES = (".xlsx", ".xlsm", ".ods", ".csv")


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
        name, data = answer(tree, spec["answer"], original, SUFFIXES)
        server.wait()
        job = {"do": "grade", "spec": spec, "name": name, "hasty": bool(os.environ.get("VERIFACTORY_HASTE"))}
        result = serve.graded(job, data, server.port)
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
