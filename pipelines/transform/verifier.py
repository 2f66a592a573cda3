"""What grades a transformed task: its bundle says of which kind it is."""

from __future__ import annotations

from pathlib import Path

from envs.sandbox import BuiltImage, SandboxBackend
from pipelines.swe.compose import limits
from pipelines.swe.family import SweVerifier
from pipelines.swe.image import bundle_image
from pipelines.transform.kind import kind_name
from verifiers.review import ReviewVerifier
from verifiers.swe_test import TestWritingVerifier
from verifiers.tests.bundle import Bundle
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
        async def image_for(loaded: Bundle) -> BuiltImage:
            return await bundle_image(loaded, sandboxes, self.settings)

        special = VERIFIERS.get(kind_name(bundle))
        if special is None:
            return await SweVerifier(self.settings).grade(bundle, submission, sandboxes, haste)
        verifier = special(image_for, limits=limits(self.settings), runtime=self.settings.runtime)
        return await verifier.grade(bundle, submission, sandboxes, haste)
