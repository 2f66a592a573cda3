"""Publish: a task goes out only with a certificate that is of this task, of this bundle, unedited, and of an
environment that is still here. Everything else is refused with the reason.
"""

from __future__ import annotations

import json
from pathlib import Path

from envs.sandbox import SandboxBackend
from pipelines.bundles import verified_bundle
from pipelines.certify import status
from pipelines.family import Context, Done, Rejected
from verifiers.integrity import certificate
from verifiers.integrity.certificate import CertificateRefused
from warehouse.query import Reader
from warehouse.records import Certificate, Task, TaskEvent
from warehouse.settings import Settings


async def publish(task: Task, record: Certificate | None, context: Context) -> Done[TaskEvent] | Rejected:
    """The event that publishes a task, or why not. `record` is its certificate as stored, if it has one."""
    try:
        certified(context.settings, task, record)
        await image_is_here(task, record, context.sandboxes)
    except CertificateRefused as refused:
        return Rejected(refused.reason, str(refused))
    event = status(task, "published", context.run_id)
    return Done(event, records=(event,))


def certified(settings: Settings, task: Task, record: Certificate | None) -> Path:
    """The bundle, which carries the certificate that was recorded for the task. Raises CertificateRefused."""
    bundle = verified_bundle(settings, task)
    if record is None:
        raise CertificateRefused(
            "no_certificate",
            f"Task {task.task_id} has no certificate; `verifactory tasks certify` makes one.",
        )
    document = certificate.read(bundle.path / certificate.FILE)
    certificate.check(document, task_id=task.task_id, bundle=bundle.sha256)
    if document["sha256"] != record.certificate_id or document != json.loads(record.document):
        raise CertificateRefused(
            "certificate_edited",
            f"The certificate in the bundle of task {task.task_id} is not the one that was recorded for it.",
        )
    return bundle.path


async def image_is_here(task: Task, record: Certificate | None, sandboxes: SandboxBackend) -> None:
    """Raise CertificateRefused unless the image that everything was tried in still exists."""
    digest = record.image_digest if record else ""
    found = await sandboxes.digest(f"verifactory/env:{task.environment_id}")
    if found != digest:
        raise CertificateRefused(
            "image_gone",
            f"The image {digest[:19]}… that task {task.task_id} was certified in is not here any more; "
            "certify the task again.",
        )


def last_certificates(settings: Settings, tasks: list[Task]) -> dict[str, Certificate]:
    """The certificate that counts for each task that has one: its last."""
    columns = ", ".join(f"c.{name}" for name in Certificate.model_fields)
    query = f"""
        SELECT {columns} FROM certificates c JOIN certified USING (certificate_id)
        WHERE c.task_id IN (SELECT unnest($tasks))
    """
    rows = Reader(settings).sql(query, {"tasks": [task.task_id for task in tasks]}).rows
    found = [Certificate(**dict(zip(Certificate.model_fields, row, strict=True))) for row in rows]
    return {record.task_id: record for record in found}
