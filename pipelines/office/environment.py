"""The environment of an office task: the office image with the task's workbook in `/app`, one commit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from envs import registries
from envs.builder import write_context
from envs.images import ensure_base
from envs.languages import layers
from envs.languages.tree import Tree, pack
from envs.reasons import last_word
from envs.sandbox import BuildError, BuiltImage, Network, SandboxBackend, SandboxError, SandboxSpec
from pipelines.family import Context
from verifiers.documents.image import DOCUMENT_PACKAGES, DOCUMENT_TOOLS
from verifiers.spreadsheet.image import PACKAGES, SUITE, TOOLS, office_image
from warehouse.records import Environment, content_id, to_json

LANGUAGE, DOCUMENT = "spreadsheet", "document"
TASK = f"ADD app.tar /app/\nWORKDIR /app\nRUN {layers.steps(*layers.COMMIT, *layers.SETTLE)}\n"
IMAGES = {LANGUAGE: ("office", TOOLS, PACKAGES), DOCUMENT: ("documents", DOCUMENT_TOOLS, DOCUMENT_PACKAGES)}
"""What is worked on → the image's name, its lines and its Debian packages."""

_manifests: dict[str, tuple[str, ...]] = {}
_reading = asyncio.Lock()


@dataclass(frozen=True)
class OfficeEnvironment:
    """An image with a workbook in it, and its row."""

    image: BuiltImage
    context: Path
    record: Environment


async def environment(
    files: dict[str, bytes], context: Context, language: str = LANGUAGE
) -> OfficeEnvironment:
    """The image with `files` in `/app`; `language` is what is worked on. Raises SandboxError: what does
    not build here is never the task's fault.
    """
    name, lines, packages = IMAGES[language]
    tools = await office_image(context.sandboxes, context.settings, lines, name)
    manifest = await _manifest(tools, context.sandboxes, context.settings.runtime, packages)
    dockerfile = lines + TASK
    packed = await asyncio.to_thread(pack, Tree(files=files))
    parts = {
        "Dockerfile": dockerfile.encode(),
        "app.tar": packed,
        "requirements.lock": "".join(f"{line}\n" for line in manifest).encode(),
    }
    recipe = {"language": language, "suite": SUITE, "packages": packages}
    environment_id = content_id(
        recipe, manifest, {name: content_id(data.hex()) for name, data in parts.items()}
    )
    folder = write_context(context.workdir / "environments" / environment_id, parts)
    tag = f"verifactory/env:{environment_id}"
    try:
        image = await context.sandboxes.build(
            folder,
            tag=tag,
            build_args={"BASE": await ensure_base(SUITE, context.settings)},
            network=Network.ALLOWLIST,
            allowed_hosts=registries.hosts(),
            timeout=context.settings.build_seconds,
        )
    except BuildError as error:
        raise SandboxError(f"{tag} did not build: {error}: {last_word(error.log)}") from error
    record = Environment(
        environment_id=environment_id,
        language=language,
        recipe=to_json(recipe),
        manifest=manifest,
        dockerfile=dockerfile,
        image_digest=image.digest,
        size_bytes=image.size_bytes,
        attempts=1,
        build_seconds=round(image.seconds, 3),
    )
    return OfficeEnvironment(image, folder, record)


async def _manifest(
    tools: BuiltImage, sandboxes: SandboxBackend, runtime: str | None, packages: tuple[str, ...]
) -> tuple[str, ...]:
    """Versions of what the image was made with, read from it once."""
    async with _reading:
        if tools.digest not in _manifests:
            sandbox = await sandboxes.start(
                SandboxSpec(image=tools.tag, network=Network.NONE, workdir="/", user="root", runtime=runtime)
            )
            try:
                told = await sandbox.exec(
                    ["dpkg-query", "-W", "-f=${Package}=${Version}\\n", *packages, "libreoffice-core-nogui"],
                    timeout=60,
                )
            finally:
                await sandbox.stop()
            _manifests[tools.digest] = tuple(sorted(told.stdout.decode().split()))
    return _manifests[tools.digest]
