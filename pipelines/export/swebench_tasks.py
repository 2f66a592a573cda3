"""The `swebench-tasks` layout: a SWE-bench 5 task repository, which its own tools build and grade.

The image is the bundle's, under the working directory that SWE-bench expects; `eval.sh` carries the
bundle's `tests/` and runs its grader, so a task is graded here by the same code as everywhere else. Its
verdict is then printed in the form of pytest's summary, which SWE-bench's parser reads. That parser ends
an id at the first space, so white space in ids is percent-encoded, in eval.sh and in tests.json alike.

What the grader refuses altogether (tampering, a run cut short) prints no test as passed.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from datetime import UTC
from pathlib import Path

from pipelines.export.bundles import task_tar
from pipelines.export.selection import Selected
from pipelines.export.swebench import instance_id, row, select_swe
from warehouse.export.card import Card
from warehouse.export.publication import ExportReport, Written, publish, refuse_existing
from warehouse.settings import Settings

CARD = Card("SWE-bench tasks", "A SWE-bench 5 task repository: tasks/ has one folder an instance.")

# The grader's outcomes in SWE-bench's words. An unexpected pass keeps a pass_to_pass test and does not turn a
# fail_to_pass one, which is what SKIPPED means there.
STATUS = {
    "passed": "PASSED",
    "xfailed": "XFAIL",
    "skipped": "SKIPPED",
    "xpassed": "SKIPPED",
    "failed": "FAILED",
}

EVAL = """#!/bin/bash
set +x
mkdir -p /tests /logs/verifier
base64 -d <<'END_OF_TESTS' | tar -xz -C /tests
{tests}
END_OF_TESTS
bash /tests/test.sh > /logs/verifier/output.txt 2>&1
echo '>>>>> Start Test Output'
/usr/bin/python3 -I - <<'END_OF_SUMMARY'
import json, re, sys
try:
    verdict = json.load(open("/logs/verifier/report.json"))
except (OSError, ValueError):
    verdict = {{"kind": "infrastructure", "reward": 0.0, "checks": [], "report": None}}
whole = verdict["kind"] == "scored" and all(c["passed"] for c in verdict["checks"] if c["name"] == "run")
if whole and verdict["report"]:
    for test in verdict["report"]["results"]:
        name = re.sub(r"\\s", lambda space: "%%%02X" % ord(space.group()), test["id"])
        print({status}.get(test["status"], "ERROR"), name)
else:
    print("ERROR grading:" + verdict["kind"])
sys.exit(verdict["reward"] != 1.0)
END_OF_SUMMARY
echo '>>>>> End Test Output'
"""

DOCKERFILE_END = """
# SWE-bench works in /testbed, as root.
USER root
RUN ln -s /app /testbed && git config --system --add safe.directory '*'
WORKDIR /testbed
"""


def encoded_id(test_id: str) -> str:
    """An id as SWE-bench's parser can read it."""
    return re.sub(r"\s", lambda space: f"%{ord(space.group()):02X}", test_id)


def image_name(instance: str) -> str:
    """The name that SWE-bench derives for an instance's image."""
    return f"swebench/sweb.eval.x86_64.{instance}:latest".lower().replace("__", "_1776_")


def eval_script(bundle: Path) -> str:
    """eval.sh: the bundle's tests/, run, and its verdict as a pytest summary."""
    tests = base64.encodebytes(gzip.compress(task_tar(bundle / "tests"), mtime=0)).decode().rstrip()
    return EVAL.format(tests=tests, status=STATUS)


def _write_task(folder: Path, selected: Selected, bundle: Path, dataset: str) -> None:
    task, columns = selected.task, row(selected)
    shutil.copytree(bundle / "environment", folder)
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text(encoding="utf-8") + DOCKERFILE_END, encoding="utf-8")
    metadata = {
        "instance_id": columns["instance_id"],
        "repo": task.repo,
        "version": columns["version"],
        "base_commit": columns["base_commit"],
        "environment_setup_commit": columns["environment_setup_commit"],
        "created_at": task.source_date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "split": selected.split,
        "datasets": [dataset],
        "image": image_name(columns["instance_id"]),
        "log_parser": "parse_log_pytest",
        "eval_type": "pass_and_fail",
        "license": task.license,
    }
    # JSON scalars are YAML, and leave nothing to implicit types
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in metadata.items()]
    (folder / "task.yaml").write_text("".join(lines), encoding="utf-8")
    tests = {
        "FAIL_TO_PASS": [encoded_id(test) for test in (*task.fail_to_pass, *task.new_tests)],
        "PASS_TO_PASS": [encoded_id(test) for test in task.pass_to_pass],
    }
    files = {
        "tests.json": json.dumps(tests, indent=2, ensure_ascii=False) + "\n",
        "problem_statement.md": task.instruction,
        "gold.patch": task.gold_patch,
        "test.patch": task.test_patch,
        "eval.sh": eval_script(bundle),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")


def export_swebench_tasks(settings: Settings, where: str, out: Path) -> ExportReport:
    """Write the verified SWE tasks for which `where` holds as a SWE-bench 5 task repository."""
    refuse_existing(out)
    selection = select_swe(settings, where)
    dataset = f"verifactory/{out.resolve().name}"

    def write(folder: Path) -> Written:
        for selected in selection.tasks:
            bundle = settings.bundles / selected.task.task_id
            _write_task(folder / "tasks" / instance_id(selected.task), selected, bundle, dataset)
        config = f"datasets: {json.dumps([dataset])}\nsplits: {json.dumps(list(selection.contents.splits))}\n"
        (folder / "sweb.yaml").write_text(config, encoding="utf-8")
        return {"sweb.yaml": len(selection.tasks)}

    return publish(
        settings, out, layout="swebench-tasks", contents=selection.contents, card=CARD, write=write
    )
