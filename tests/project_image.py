"""The environment image of a small Python project of the tests, by the contract of docs/design.md."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from envs.builder import toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import toolchain
from envs.languages.python.recipe import PythonRecipe
from envs.sandbox import BuiltImage, Network
from warehouse.records import content_id
from warehouse.settings import Settings

INSTALL = " && uv pip install --no-cache --python=/opt/venv/bin/python pytest"
DOCKERFILE = f"""\
ARG BASE
FROM $BASE
RUN python3 -m venv --without-pip /opt/venv{INSTALL}
ADD app.tar /app/
RUN cd /app && git init -q && git add -A -f && \\
    git -c user.name=a -c user.email=a@b commit -q -m Base && chown -R agent:agent /app && \\
    echo /app > "$(ls -d /opt/venv/lib/python*/site-packages)/app.pth"
"""


async def build(files: Mapping[str, str], app_tar: bytes, dockerfile: str = DOCKERFILE) -> BuiltImage:
    """On the real toolchain; found again by its name where it is there already."""
    home = Path(tempfile.mkdtemp())
    settings = Settings(home=home)
    backend = DockerBackend(settings)
    recipe = PythonRecipe(
        name="calc", version="1", python="3.11", suite="bookworm", requires=(),
        index_date=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    context = Path(tempfile.mkdtemp())
    try:
        base = await toolchain_image(toolchain("python"), recipe, backend, settings)
        (context / "Dockerfile").write_text(dockerfile)
        (context / "app.tar").write_bytes(app_tar)
        tag = f"verifactory/verifier-tests:{content_id(base, dockerfile, files)}"
        return await backend.build(
            context, tag=tag, build_args={"BASE": base}, network=Network.ALLOWLIST, timeout=600
        )
    finally:
        await backend.close()
        shutil.rmtree(context)
        shutil.rmtree(home)
