"""Verification of workbooks: recalculated, never believed.

A submission is a patch that changes the task's workbook (or adds it as .xlsm, .ods or .csv). The grader in
the bundle reads its structure from the original file and its values from a recalculated copy: LibreOffice
decides, ironcalc gives a second opinion, and where they differ the report says so. Values are compared by
type and tolerance, formulas must be formulas and read what they must, and inputs are changed to values that
nobody was told, under which the outputs must become what the task's own model says
(`verifiers.spreadsheet.spec`).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from envs.sandbox import Limits, SandboxBackend
from verifiers.spreadsheet.child import INSIDE
from verifiers.spreadsheet.spec import SpreadsheetSpec
from verifiers.tests.bundle import load
from verifiers.tests.grader import ImageFor, TestsVerifier
from verifiers.verdict import Haste, Submission, Verdict
from warehouse.errors import FactoryError

SPEC = "tests/spreadsheet.json"
ORIGINAL = "tests/original"
MEMORY_MB = 2048  # LibreOffice, and the child that reads the file

TEST_SH = b"""\
#!/bin/sh
# Grades the workbook that /submission.patch makes or, without one, the one in the tree as it stands.
# The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/grader/grade.py /submission.patch
fi
exec /usr/bin/python3 -I /tests/grader/grade.py
"""


def files(spec: SpreadsheetSpec, original: bytes) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    grader = {f"tests/grader/{source.name}": source.read_bytes() for source in sorted(INSIDE.glob("*.py"))}
    return {SPEC: spec.to_json(), ORIGINAL: original, "tests/test.sh": TEST_SH, **grader}


def read(bundle: Path) -> SpreadsheetSpec:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return SpreadsheetSpec.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError) as error:
        raise FactoryError(f"{bundle} is no task on a workbook: {error}.") from error


class SpreadsheetVerifier:
    """Grades workbooks by running the bundle in a fresh container; see the module."""

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
