"""What grades a transformed task: its bundle says of which kind it is."""

from __future__ import annotations

from pathlib import Path

from envs.sandbox import SandboxBackend
from pipelines.grading import BundleVerifier
from pipelines.transform.kind import kind_name
from verifiers.review import ReviewVerifier
from verifiers.swe_test import TestWritingVerifier
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Haste, Submission, Verdict
from warehouse.settings import Settings

# Kinds that are not graded by hidden tests.
VERIFIERS = {"swe_test": TestWritingVerifier, "code_review": ReviewVerifier}


class TransformVerifier:
    """See `verifiers.verdict.Verifier`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        kind = VERIFIERS.get(kind_name(bundle), TestsVerifier)
        return await BundleVerifier(self.settings, kind).grade(bundle, submission, sandboxes, haste)
