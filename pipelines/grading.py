"""Grading a task's bundle in its own environment, built again from the bundle where its image is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envs.sandbox import BuiltImage, SandboxBackend
from pipelines.swe.compose import limits
from pipelines.swe.image import bundle_image
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Haste, Submission, Verdict, Verifier
from warehouse.settings import Settings


@dataclass(frozen=True)
class BundleVerifier:
    """See `verifiers.verdict.Verifier`. `kind` makes the verifier of such bundles."""

    settings: Settings
    kind: Callable[..., Verifier] = TestsVerifier

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        async def image_for(loaded: Bundle) -> BuiltImage:
            return await bundle_image(loaded, sandboxes, self.settings)

        verifier = self.kind(image_for, limits=limits(self.settings), runtime=self.settings.runtime)
        return await verifier.grade(bundle, submission, sandboxes, haste)
