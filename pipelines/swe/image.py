"""The environment image of a bundle: found by its tag, or built again from its own `environment/` folder."""

from __future__ import annotations

import tomllib

from envs.builder import INFRASTRUCTURE, classify
from envs.images import ensure_base
from envs.languages import Broken
from envs.sandbox import BuildError, BuiltImage, Network, SandboxBackend, SandboxError
from verifiers.tests.bundle import Bundle
from warehouse.settings import Settings


class EnvironmentLost(SandboxError):
    """The image is gone and its own context no longer builds it: the environment has decayed."""


async def bundle_image(bundle: Bundle, backend: SandboxBackend, settings: Settings) -> BuiltImage:
    """The image; SandboxError when it is gone and cannot be built again: no submission is to blame.

    It is EnvironmentLost where another try would end the same way.
    """
    metadata = tomllib.loads((bundle.path / "task.toml").read_text(encoding="utf-8"))["metadata"]
    tag = f"verifactory/env:{metadata['environment_id']}"
    if digest := await backend.digest(tag):
        return BuiltImage(tag=tag, digest=digest, size_bytes=0, seconds=0.0, log="")
    base = await ensure_base(metadata["suite"], settings)
    try:
        return await backend.build(
            bundle.environment,
            tag=tag,
            build_args={"BASE": base},
            network=Network.ALLOWLIST,
            timeout=settings.build_seconds,
        )
    except BuildError as error:
        said = f"The image of task {bundle.task_id} cannot be built again: {error}"
        broken = Broken("build", f"{error.log}\n{error}")
        kind = SandboxError if classify(broken) in INFRASTRUCTURE else EnvironmentLost
        raise kind(said) from error
