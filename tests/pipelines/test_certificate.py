"""A task goes out with its own certificate or not at all; what a certificate rests on was graded."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from scripted_family import DIGEST, GOLD, Images, ScriptedFamily, ScriptedVerifier, made_task, record_source

from envs.sandbox import SandboxError
from pipelines import certification
from pipelines.certification import certify_tasks, due, publish_tasks
from pipelines.certify import certify
from pipelines.export import EXPORTERS
from pipelines.family import Context, Done, Rejected
from pipelines.publish import last_certificates, publish
from verifiers.integrity import certificate
from verifiers.integrity.certificate import CertificateRefused
from verifiers.problems import Problem, Severity
from warehouse.errors import FactoryError
from warehouse.query import Reader
from warehouse.records import Certificate, Task
from warehouse.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def run_certify(family: ScriptedFamily, task: Task, settings: Settings) -> Done[Certificate] | Rejected:
    context = Context(settings=settings, sandboxes=Images(), run_id="r2", workdir=settings.home)
    return asyncio.run(certify(family, task, context, validation_seconds=40.0))


def run_all(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, family: ScriptedFamily, *tasks: Task
) -> dict[str, tuple[str, str]]:
    monkeypatch.setattr(certification, "family", lambda name: family)
    endings = asyncio.run(certify_tasks(settings, list(tasks), ended=lambda _: None))
    return {ending.task.task_id: (ending.outcome, ending.reason) for ending in endings}


def state(settings: Settings, task: str) -> tuple[str, str]:
    query = "SELECT status, reason FROM task_overview WHERE task_id = $task"
    return Reader(settings).sql(query, {"task": task}).rows[0]


class TestDocument:
    def test_tells_everything_that_was_tried(self, settings: Settings, tmp_path: Path) -> None:
        task = made_task(settings, tmp_path)
        result = run_certify(ScriptedFamily(), task, settings)
        assert isinstance(result, Done)
        document = certificate.read(settings.bundles / "t1" / certificate.FILE)
        assert document == json.loads(result.value.document)
        assert [(c["control"], c["reward"]) for c in document["controls"]].count(("gold", 1.0)) == 2
        assert {"nop", "partial"} < {c["control"] for c in document["controls"]}
        cheats = document["cheats"]
        assert (cheats["tried"], cheats["gradings"], cheats["paid"]) == (3, 2, 0)
        assert cheats["inapplicable"] == {"late_plugin": "no pytest here"}
        assert document["determinism"] == {"gold_runs": 2, "identical": True}
        assert document["environment"] == {"id": "e1", "image_digest": DIGEST}
        assert all(check["passed"] for check in document["leaks"])
        assert len(document["leaks"]) >= 10
        assert (document["inverted_tests"], document["validation_seconds"]) == (3, 40.0)
        assert result.value.certificate_id == document["sha256"]

    def test_an_edit_shows(self, settings: Settings, tmp_path: Path) -> None:
        task = made_task(settings, tmp_path)
        run_certify(ScriptedFamily(), task, settings)
        path = settings.bundles / "t1" / certificate.FILE
        path.write_text(path.read_text().replace('"paid": 0', '"paid": 1'))
        with pytest.raises(CertificateRefused, match="was edited") as refused:
            certificate.read(path)
        assert refused.value.reason == "certificate_edited"

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"sha256": 1}', "null"])
    def test_what_is_no_certificate_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / certificate.FILE).write_text(text)
        with pytest.raises(CertificateRefused) as refused:
            certificate.read(tmp_path / certificate.FILE)
        assert refused.value.reason == "certificate_edited"


class TestRefusal:
    def test_one_paid_cheat_is_enough(self, settings: Settings, tmp_path: Path) -> None:
        task = made_task(settings, tmp_path)
        family = ScriptedFamily(ScriptedVerifier({GOLD, b"cheat 2"}))
        result = run_certify(family, task, settings)
        assert isinstance(result, Rejected)
        assert (result.reason, result.detail) == ("exploitable", "paid: history+network")
        assert not (settings.bundles / "t1" / certificate.FILE).exists()
        (record,) = [r for r in result.records if isinstance(r, Certificate)]
        assert (record.outcome, record.succeeded, record.cheats) == ("refused", 1, 3)

    @pytest.mark.parametrize(
        ("paid", "reason"), [(set(), "gold_control_failed"), ({GOLD, b""}, "nop_control_failed")]
    )
    def test_failed_controls(self, settings: Settings, tmp_path: Path, paid: set[bytes], reason: str) -> None:
        result = run_certify(ScriptedFamily(ScriptedVerifier(paid)), made_task(settings, tmp_path), settings)
        assert isinstance(result, Rejected)
        assert result.reason == reason

    def test_a_leak(self, settings: Settings, tmp_path: Path) -> None:
        leak = Problem(code="answer_in_image", where="/srv/x", message="is it", severity=Severity.ERROR)
        result = run_certify(ScriptedFamily(found=(leak,)), made_task(settings, tmp_path), settings)
        assert isinstance(result, Rejected)
        assert result.reason == "answer_in_image"

    def test_a_paid_partial_solution_is_told(self, settings: Settings, tmp_path: Path) -> None:
        family = ScriptedFamily(ScriptedVerifier({GOLD, b"partial"}))
        result = run_certify(family, made_task(settings, tmp_path), settings)
        assert isinstance(result, Done)
        problems = json.loads(result.value.document)["problems"]
        assert [problem["code"] for problem in problems] == ["partial_paid"]

    def test_infrastructure_is_no_verdict(self, settings: Settings, tmp_path: Path) -> None:
        family = ScriptedFamily(ScriptedVerifier({GOLD}, broken={b"cheat 1"}))
        with pytest.raises(SandboxError, match="no daemon"):
            run_certify(family, made_task(settings, tmp_path), settings)


class TestPublishing:
    def refused(
        self, settings: Settings, task: Task, record: Certificate | None, digest: str = DIGEST
    ) -> str:
        context = Context(settings=settings, sandboxes=Images(digest), run_id="r3", workdir=settings.home)
        result = asyncio.run(publish(task, record, context))
        assert isinstance(result, Rejected)
        assert "\n" not in result.detail
        return result.reason

    @pytest.fixture
    def certified(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Task, Certificate]:
        task = made_task(settings, tmp_path)
        assert run_all(monkeypatch, settings, ScriptedFamily(), task) == {"t1": ("certified", "")}
        return task, last_certificates(settings, [task])["t1"]

    def test_with_a_certificate(self, settings: Settings, certified: tuple[Task, Certificate]) -> None:
        task, record = certified
        context = Context(settings=settings, sandboxes=Images(), run_id="r3", workdir=settings.home)
        result = asyncio.run(publish(task, record, context))
        assert isinstance(result, Done)
        assert (result.value.value, result.value.task_id) == ("published", "t1")

    def test_without_one(self, settings: Settings, tmp_path: Path) -> None:
        task = made_task(settings, tmp_path)
        assert self.refused(settings, task, None) == "no_certificate"
        (ending,) = asyncio.run(publish_tasks(settings, [task]))
        assert (ending.outcome, ending.reason) == ("refused", "no_certificate")
        assert state(settings, "t1") == ("validated", "")

    def test_edited(self, settings: Settings, certified: tuple[Task, Certificate]) -> None:
        task, record = certified
        path = settings.bundles / "t1" / certificate.FILE
        document = json.loads(path.read_text())
        document["cheats"]["tried"] = 999
        path.write_text(json.dumps(document))
        assert self.refused(settings, task, record) == "certificate_edited"
        document["sha256"] = certificate.digest(document)  # by somebody who knows how
        path.write_text(json.dumps(document))
        assert self.refused(settings, task, record) == "certificate_edited"

    def test_of_another_task(
        self, settings: Settings, certified: tuple[Task, Certificate], tmp_path: Path
    ) -> None:
        other = made_task(settings, tmp_path, "t2")
        path = settings.bundles / "t1" / certificate.FILE
        (settings.bundles / "t2" / certificate.FILE).write_bytes(path.read_bytes())
        assert self.refused(settings, other, certified[1]) == "certificate_of_another_task"

    def test_image_gone(self, settings: Settings, certified: tuple[Task, Certificate]) -> None:
        assert self.refused(settings, *certified, digest="") == "image_gone"
        assert self.refused(settings, *certified, digest="sha256:" + "e" * 64) == "image_gone"

    def test_changed_bundle(self, settings: Settings, certified: tuple[Task, Certificate]) -> None:
        (settings.bundles / "t1" / "instruction.md").write_text("Something else.\n")
        with pytest.raises(FactoryError, match="was changed"):
            self.refused(settings, *certified)


class TestRevalidation:
    @pytest.fixture
    def published(self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
        tasks = [made_task(settings, tmp_path, name) for name in ("t1", "t2")]
        run_all(monkeypatch, settings, ScriptedFamily(), *tasks)
        monkeypatch.setattr(certification, "DockerBackend", lambda settings: _Closing())
        assert [e.outcome for e in asyncio.run(publish_tasks(settings, tasks))] == ["published"] * 2
        return tasks

    def test_what_holds_stays_published(
        self, settings: Settings, published: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = last_certificates(settings, published)
        assert run_all(monkeypatch, settings, ScriptedFamily(), *published)["t1"] == ("certified", "")
        after = last_certificates(settings, published)
        assert before["t1"].certificate_id != after["t1"].certificate_id
        assert state(settings, "t1") == ("published", "")
        on_disk = certificate.read(settings.bundles / "t1" / certificate.FILE)
        assert on_disk["sha256"] == after["t1"].certificate_id

    def test_what_decayed_is_retired_and_leaves_exports(
        self, settings: Settings, published: list[Task], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        family = ScriptedFamily(ScriptedVerifier({GOLD, b"cheat 1"}))
        assert run_all(monkeypatch, settings, family, published[0]) == {"t1": ("retired", "exploitable")}
        assert state(settings, "t1") == ("retired", "exploitable")
        decay = Reader(settings).sql("SELECT task_id, reason FROM decay").rows
        assert decay == [("t1", "exploitable")]
        events = "SELECT stage, outcome, reason FROM events WHERE stage = 'revalidate'"
        assert Reader(settings).sql(events).rows == [("revalidate", "rejected", "exploitable")]
        with pytest.raises(FactoryError, match="No published task fits"):
            EXPORTERS["harbor"](settings, "task_id = 't1'", tmp_path / "out")

    def test_a_changed_bundle_is_decay(
        self, settings: Settings, published: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (settings.bundles / "t2" / "README.md").write_text("")
        endings = run_all(monkeypatch, settings, ScriptedFamily(), *published)
        assert endings == {"t1": ("certified", ""), "t2": ("retired", "bundle_changed")}

    def test_infrastructure_is_not(
        self, settings: Settings, published: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        family = ScriptedFamily(ScriptedVerifier({GOLD}, broken={b""}))
        assert run_all(monkeypatch, settings, family, published[0])["t1"] == ("failed", "infrastructure")
        assert state(settings, "t1") == ("published", "")

    def test_the_oldest_are_due_first(self, settings: Settings, published: list[Task]) -> None:
        assert due(settings, limit=5, older_than_days=1) == []
        tasks = due(settings, limit=5, older_than_days=0)
        made = last_certificates(settings, published)
        assert [t.task_id for t in tasks] == sorted(made, key=lambda name: made[name].recorded_at)
        assert len(due(settings, limit=1, older_than_days=0)) == 1
        assert due(settings, limit=5, older_than_days=0, where="task_id = 't2'")[0].task_id == "t2"

    def test_another_catalogue_makes_a_task_due(
        self, settings: Settings, published: list[Task], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipelines.certify.catalogue_digest", lambda: "another")
        run_all(monkeypatch, settings, ScriptedFamily(), published[1])
        assert [task.task_id for task in due(settings, limit=5, older_than_days=1)] == ["t1"]


class _Closing(Images):
    async def close(self) -> None: ...


def test_trials_of_the_environment_are_tried_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [made_task(settings, tmp_path, name) for name in ("t1", "t2")]
    for task in tasks:
        run_all(monkeypatch, settings, ScriptedFamily(), task)
    document: dict[str, Any] = certificate.read(settings.bundles / "t2" / certificate.FILE)
    told = {trial["trial"]: trial for trial in document["cheats"]["trials"]}
    assert told["history+network"]["tried_on"] == "t1"
    assert (document["cheats"]["tried"], document["cheats"]["gradings"]) == (3, 1)


def test_harbor_exports_carry_the_certificate(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are refused when it is no longer the recorded one."""
    task = made_task(settings, tmp_path)
    record_source(settings, task)
    run_all(monkeypatch, settings, ScriptedFamily(), task)
    monkeypatch.setattr(certification, "DockerBackend", lambda settings: _Closing())
    asyncio.run(publish_tasks(settings, [task]))
    EXPORTERS["harbor"](settings, "true", tmp_path / "out")
    copied = certificate.read(tmp_path / "out" / "t1" / certificate.FILE)
    certificate.check(copied, task_id="t1", bundle=task.bundle)
    (settings.bundles / "t1" / certificate.FILE).unlink()
    with pytest.raises(FactoryError, match="There is no certificate"):
        EXPORTERS["harbor"](settings, "true", tmp_path / "again")
    assert not (tmp_path / "again").exists()
