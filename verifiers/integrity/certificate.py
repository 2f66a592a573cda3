"""The certificate of a task: one document that says what was tried against it and what it withstood.

The document is JSON; its sha256 over the canonical text is its name, in itself and in the warehouse. So a
document that was edited names itself wrongly, and one that was edited together with its digest is not the
recorded one. It binds to a task, a bundle (byte for byte) and an environment; image digests change with
rebuilds and are told, not bound to.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from warehouse.errors import FactoryError

FILE = "certificate.json"
SCHEMA = 1


class CertificateRefused(FactoryError):
    """A certificate that does not count; `reason` is a stable code."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def digest(document: dict[str, Any]) -> str:
    """sha256 of the document's canonical text, its own `sha256` left out."""
    content = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The document of `content`, named by its digest. What JSON cannot hold exactly is a bug, and raises."""
    document = json.loads(json.dumps({"schema": SCHEMA, **content}, allow_nan=False))
    return {**document, "sha256": digest(document)}


def to_bytes(document: dict[str, Any]) -> bytes:
    """The document as a file, for people too."""
    return (json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


def read(path: Path) -> dict[str, Any]:
    """The document at `path`, which must name itself rightly. Raises CertificateRefused."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CertificateRefused("no_certificate", f"There is no certificate at {path}.") from None
    except (OSError, ValueError) as error:
        raise CertificateRefused(
            "certificate_edited", f"{path} is not a certificate that can be read: {error}."
        ) from error
    if not isinstance(document, dict) or document.get("sha256") != digest(document):
        raise CertificateRefused(
            "certificate_edited", f"The certificate {path} was edited: its text is not what its sha256 names."
        )
    if document.get("schema") != SCHEMA:
        raise CertificateRefused(
            "certificate_unknown",
            f"The certificate {path} has schema {document.get('schema')}; this program knows {SCHEMA}.",
        )
    return document


def check(document: dict[str, Any], *, task_id: str, bundle: str) -> None:
    """Raise CertificateRefused unless the document certifies this very task, as it lies there."""
    if document["task_id"] != task_id:
        raise CertificateRefused(
            "certificate_of_another_task",
            f"The certificate is of task {document['task_id']}, not of task {task_id}.",
        )
    if document["bundle"] != bundle:
        raise CertificateRefused(
            "bundle_changed",
            f"The certificate of task {task_id} is of another bundle (sha256 {document['bundle'][:12]}…); "
            "certify the task again.",
        )
    if document["outcome"] != "certified":
        raise CertificateRefused(
            "certificate_refused", f"Task {task_id} was refused its certificate: {document['reason']}."
        )
