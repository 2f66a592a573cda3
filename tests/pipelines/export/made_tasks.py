"""Tasks for exports: seven of three repositories, with their records and bundles."""

from __future__ import annotations

import io
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from pipelines.certify import lay
from verifiers.integrity import certificate
from verifiers.tests import bundle
from verifiers.tests.spec import TestSpec
from warehouse.records import Candidate, Certificate, Record, Source, Task, TaskEvent, to_json
from warehouse.settings import Settings

DATE = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)

PATCH = """diff --git a/m.py b/m.py
--- a/m.py
+++ b/m.py
@@ -1,2 +1,2 @@
 # `é` in ```fences```
-x = {n}
+x = {n} + 1
"""

# task number → (repository, status, kind of source); None is a task that was built and no more
TASKS: dict[int, tuple[str, str | None, str]] = {
    1: ("alpha", "published", "releases"),
    2: ("alpha", "published", "releases"),
    3: ("owner/beta", "published", "git"),
    4: ("gamma", "published", "releases"),
    5: ("alpha", "certified", "releases"),
    6: ("alpha", "retired", "releases"),
    7: ("alpha", None, "releases"),
}


def task_of(n: int, bundle: str = "") -> Task:
    repo = TASKS[n][0]
    return Task(
        task_id=f"{n:020x}",
        candidate_id=f"candidate{n}",
        environment_id="env",
        family="swe",
        kind="bug_fix",
        repo=repo,
        language="python",
        license="MIT" if repo == "alpha" else "BSD-3-Clause",
        attribution=f"The authors of {repo}",
        source_date=DATE,
        instruction=f"x must be one more than {n}.\nIt is not.",
        verifier="{}",
        gold_patch=PATCH.format(n=n),
        test_patch=PATCH.format(n=n).replace("m.py", "test_m.py"),
        fail_to_pass=('test_m.M.test_x[é "quoted"]',),
        pass_to_pass=("test_m.M.test_y", "test_m.M.test_z"),
        new_tests=("test_m.M.test_new",),
        quarantined=(),
        statement_check="rules",
        bundle=bundle,
        run_id="run",
    )


def certificate_of(settings: Settings, task: Task) -> Certificate:
    """A certificate of the task, laid into its bundle."""
    document = certificate.sealed(
        {
            "task_id": task.task_id,
            "bundle": task.bundle,
            "family": "swe",
            "outcome": "certified",
            "reason": "",
        }
    )
    lay(settings.bundles / task.task_id, document)
    return Certificate(
        certificate_id=document["sha256"], task_id=task.task_id, run_id="run", outcome="certified",
        bundle=task.bundle, environment_id="env", image_digest="", catalogue="", cheats=1, succeeded=0,
        inverted=1, seconds=1, validation_seconds=1, document=to_json(document),
    )  # fmt: skip


def records_of(task: Task, n: int) -> list[Record]:
    repo, status, kind = TASKS[n]
    rows: list[Record] = [
        Source(
            source_id=f"source{n}",
            kind=kind,
            url=f"https://example.org/{repo}",
            revision=f"1.{n}",
            license=task.license,
            attribution=task.attribution,
        ),
        Candidate(
            candidate_id=task.candidate_id,
            source_id=f"source{n}",
            family="swe",
            repo=repo,
            base_ref=f"1.{n - 1}" if kind == "releases" else "c0ffee" * 6,
            gold_ref=f"1.{n}",
            title="x",
            source_date=DATE,
            verdict="accepted",
        ),
        task,
    ]
    if status:
        rows.append(TaskEvent(task_id=task.task_id, event="status", value=status, run_id="run"))
    return rows


TEST_M = """import unittest

import m


class M(unittest.TestCase):
    def test_new(self):
        self.assertEqual(m.x, {n} + 1)

    def test_y(self):
        pass

    test_z = test_y


setattr(M, 'test_x[é "quoted"]', M.test_new)
"""


def environment(folder: Path, n: int) -> Path:
    """A project of one module on whatever image BASE names; it needs git, python3 and the two users there."""
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text(
        "ARG BASE=debian:12\nFROM ${BASE}\nADD --chown=agent:agent app.tar /app/\nWORKDIR /app\n"
        "RUN git init -q . && git add -A && git -c user.name=a -c user.email=a@example.org commit -qm base"
        " && chown -R agent:agent /app\n"
    )
    with tarfile.open(folder / "app.tar", "w") as tar:
        info = tarfile.TarInfo("m.py")
        data = f"# `é` in ```fences```\nx = {n}\n".encode()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return folder


def rendered(settings: Settings, task: Task, n: int, gold_patch: bytes, folder: Path) -> str:
    """Render the bundle of `task`; returns its digest."""
    spec = TestSpec(
        runner="unittest",
        python="/usr/bin/python3",
        args=("test_m.py",),
        fail_to_pass=task.fail_to_pass,
        pass_to_pass=task.pass_to_pass,
        new=task.new_tests,
    )
    made = environment(folder / "environments" / str(n), n)
    digest = bundle.render(
        settings.bundles / task.task_id,
        task_id=task.task_id,
        kind=task.kind,
        repo=task.repo,
        instruction=task.instruction,
        environment_dir=made,
        hidden={"test_m.py": ("100644", TEST_M.format(n=n).encode())},
        gold_patch=gold_patch,
        spec=spec,
        licenses={"LICENSE": f"text of {task.repo}".encode()},
        metadata={"repo": task.repo, "license": task.license},
    )
    shutil.rmtree(folder / "environments")
    return digest.sha256
