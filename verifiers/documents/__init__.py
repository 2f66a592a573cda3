"""Verification of decks and texts: opened, read object by object, held to their specification.

A submission is a patch that makes or changes one `.pptx` or `.docx`. What a new one must say is looked for in
what a person would see: text on a slide, cells, charts, not notes, layouts or what is hidden or covered. An
edited one is compared with the original object by object: what was asked for is there, and nothing else is
different. Rules of layout hold for both. One specification (`verifiers.documents.spec`) is what the reference
was built from, what the instruction tells and what is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from envs.sandbox import Limits, SandboxBackend
from verifiers.documents.spec import Deliverable
from verifiers.spreadsheet.child import INSIDE as SHARED
from verifiers.spreadsheet.child import WarmChild
from verifiers.tests.bundle import load
from verifiers.tests.grader import ImageFor, TestsVerifier
from verifiers.verdict import Haste, Submission, Verdict
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside"
TOGETHER = ("forks.py", "handed_in.py", "intake.py", "limits.py")
"""What it shares with the grader of workbooks."""
SPEC = "tests/deliverable.json"
ORIGINAL = "tests/original"
MEMORY_MB = 1536

TEST_SH = b"""\
#!/bin/sh
# Grades the document that /submission.patch makes or, without one, the one in the tree as it stands.
# The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/grader/document_grade.py /submission.patch
fi
exec /usr/bin/python3 -I /tests/grader/document_grade.py
"""


def files(spec: Deliverable, original: bytes | None) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    sources = [*sorted(INSIDE.glob("*.py")), *(SHARED / name for name in TOGETHER)]
    held = {f"tests/grader/{source.name}": source.read_bytes() for source in sources}
    held |= {SPEC: spec.to_json(), "tests/test.sh": TEST_SH}
    return held if original is None else held | {ORIGINAL: original}


def read(bundle: Path) -> Deliverable:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return Deliverable.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError) as error:
        raise FactoryError(f"{bundle} is no task on a deck or a text: {error}.") from error


def warm_child() -> WarmChild:
    """A grader of decks and texts beside this process, for screening; Linux only."""
    return WarmChild(INSIDE / "document_serve.py")


def ask(
    child: WarmChild, spec: Deliverable, data: bytes, original: bytes | None = None, **more: Any
) -> Mapping[str, Any]:
    """The report of a `warm_child` on one file."""
    job = {"spec": spec.document(), "name": spec.answer, "bytes": len(data), **more}
    return child.ask(job, data + (original or b""))


class DocumentsVerifier:
    """Grades decks and texts by running the bundle in a fresh container; see the module."""

    def __init__(
        self, image_for: ImageFor, *, limits: Limits | None = None, runtime: str | None = None
    ) -> None:
        limits = limits or Limits()
        enough = limits.model_copy(update={"memory_mb": max(limits.memory_mb, MEMORY_MB)})
        self.tests = TestsVerifier(image_for, limits=enough, runtime=runtime)

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        """Raises FactoryError for a bundle that was changed or is of another kind."""
        read(bundle)
        return await self.tests.grade(bundle, submission, sandboxes, haste)
