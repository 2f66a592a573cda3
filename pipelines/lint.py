"""Linting a task as it lies there: the family's rules over its bundle, its certificate against the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipelines.bundles import verified_bundle
from pipelines.certify import lay
from pipelines.family import families, family
from pipelines.publish import last_certificates
from pipelines.selection import recorded_tasks
from verifiers.integrity import certificate
from verifiers.integrity.certificate import CertificateRefused
from verifiers.problems import Problem, Severity
from verifiers.tests.bundle import MANIFEST, load
from warehouse.errors import FactoryError
from warehouse.records import Certificate, Task
from warehouse.settings import Settings

# What programs leave in folders that they pass through; with one, a bundle is not what its manifest lists.
LEAVINGS = (".DS_Store", "Thumbs.db", "__pycache__", "*.pyc", "*.swp", "*~")


def lint_task(settings: Settings, task: Task, *, fix: bool = False) -> list[Problem]:
    """What is wrong with a task of the warehouse; with `fix`, what could not be mended."""
    bundle = settings.bundles / task.task_id
    found = list(_leavings(bundle, fix=fix))
    try:
        verified_bundle(settings, task)
    except FactoryError as error:
        return [*found, _error("bundle_changed", str(bundle), str(error))]
    record = last_certificates(settings, [task]).get(task.task_id)
    found += family(task.family).problems(bundle, settings)
    found += _certificate(bundle, task.task_id, task.bundle, record, fix=fix)
    return found


def lint_folder(settings: Settings, folder: Path, *, fix: bool = False) -> list[Problem]:
    """What is wrong with a bundle that lies anywhere, such as in an export."""
    found = list(_leavings(folder, fix=fix))
    try:
        bundle = load(folder)
    except FactoryError as error:
        return [*found, _error("bundle_changed", str(folder), str(error))]
    tasks = recorded_tasks(settings, "t.task_id = $task", {"task": bundle.task_id})
    record = last_certificates(settings, tasks).get(bundle.task_id) if tasks else None
    name = tasks[0].family if tasks else _family(folder)
    found += family(name).problems(folder, settings)
    found += _certificate(folder, bundle.task_id, bundle.sha256, record, fix=fix)
    return found


def _family(folder: Path) -> str:
    """The family that a bundle's certificate names; the first installed one where it has none."""
    try:
        return str(certificate.read(folder / certificate.FILE)["family"])
    except CertificateRefused:
        return sorted(families())[0]


def _certificate(
    bundle: Path, task_id: str, sha256: str, record: Certificate | None, *, fix: bool
) -> Iterator[Problem]:
    """What is wrong with the certificate in a bundle; `record` is the one in the warehouse."""
    usable = record is not None and record.bundle == sha256
    try:
        document = certificate.read(bundle / certificate.FILE)
        certificate.check(document, task_id=task_id, bundle=sha256)
        if record is not None and document["sha256"] != record.certificate_id:
            raise CertificateRefused(
                "certificate_edited", "It is not the one that was recorded for the task."
            )
    except CertificateRefused as refused:
        if fix and usable and record is not None and record.outcome == "certified":
            lay(bundle, json.loads(record.document))
            return
        yield Problem(
            code=refused.reason, where=certificate.FILE, message=str(refused), severity=Severity.ERROR,
            fixable=usable and refused.reason != "certificate_refused",
        )  # fmt: skip


def _leavings(bundle: Path, *, fix: bool) -> Iterator[Problem]:
    """Files that a person's programs left in the folder; never those that the bundle lists."""
    try:
        listed = json.loads((bundle / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # loading will say what is wrong with the bundle
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle)
        left = any(part.match(pattern) for part in (*map(Path, name.parts),) for pattern in LEAVINGS)
        if not left or not path.is_file() or name.as_posix() in listed:
            continue
        if fix:
            path.unlink()
            continue
        yield Problem(
            code="leavings", where=name.as_posix(), message="some program left this here", fixable=True,
            severity=Severity.ERROR,
        )  # fmt: skip


def _error(code: str, where: str, message: str) -> Problem:
    return Problem(code=code, where=where, message=message, severity=Severity.ERROR)
