"""The office image: Debian 13 with LibreOffice Calc, and nothing of a desktop.

It is where workbooks are recalculated by the authority and, with a workbook on top, where agents work. Built
by recipe as the toolchains are: its first layers are those of every office task, so a task adds its files
alone.
"""

from __future__ import annotations

import asyncio
import fcntl

from envs import registries
from envs.builder import write_context
from envs.images import ensure_base
from envs.languages import layers
from envs.reasons import last_word
from envs.sandbox import BuildError, BuiltImage, Network, SandboxBackend, SandboxError
from warehouse.records import content_id
from warehouse.settings import Settings

SUITE = "trixie"
PUBLIC = "debian:trixie-slim"
IRONCALC = "0.9.1"
PACKAGES = (
    *layers.PACKAGES, "libreoffice-calc-nogui", "python3", "python3-defusedxml", "python3-openpyxl",
    "python3-uno", "python3-venv", "python3-xlsxwriter",
)  # fmt: skip

TOOLS = f"""\
ARG BASE={PUBLIC}
FROM ${{BASE}}
RUN {layers.apt(PACKAGES)}
RUN {layers.steps(*layers.ACCOUNTS)}
RUN python3 -m venv /opt/ironcalc && /opt/ironcalc/bin/pip install --no-cache-dir ironcalc=={IRONCALC} && \\
    rm -rf /opt/ironcalc/bin/pip* /opt/ironcalc/lib/python3*/site-packages/pip*
"""
"""Lines that every office image begins with, the same bytes, so that the builder finds them made."""


async def office_image(
    backend: SandboxBackend, settings: Settings, tools: str = TOOLS, name: str = "office"
) -> BuiltImage:
    """The image with the tools alone, made when it is missing; `tools` are its lines, for an image with more.

    It is ours, whatever the task: one that does not build is infrastructure, and raises SandboxError.
    """
    base = await ensure_base(SUITE, settings)
    tag = f"verifactory/toolchain:{name}-{SUITE}-{content_id(base, tools)[:12]}"
    context = write_context(
        settings.cache / "toolchains" / tag.rpartition(":")[2], {"Dockerfile": tools.encode()}
    )
    with (context / "lock").open("w") as lock:
        # one process makes it; the others wait, then find it
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if digest := await backend.digest(tag):
            return BuiltImage(tag=tag, digest=digest, size_bytes=0, seconds=0.0, log="")
        try:
            return await backend.build(
                context, tag=tag, build_args={"BASE": base}, network=Network.ALLOWLIST,
                allowed_hosts=registries.hosts(), timeout=settings.build_seconds,
            )  # fmt: skip
        except BuildError as error:
            raise SandboxError(f"{tag} did not build: {error}: {last_word(error.log)}") from error
