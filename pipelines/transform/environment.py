"""The environment of a derived task: its parent's recipe and packages, with another tree in it.

Nothing is resolved again. All layers up to the tree are the parent's own, so a variant costs the tree and its
installation in place.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from envs import registries
from envs.builder import INFRASTRUCTURE, BuiltEnvironment, classify
from envs.images import ensure_base
from envs.languages import Broken, Recipe, Runner
from envs.languages.tree import Tree as PackedTree
from envs.languages.tree import pack
from envs.sandbox import BuildError, Network, SandboxError
from pipelines.family import Context
from pipelines.transform.parent import Parent
from warehouse.records import Environment, content_id


class DoesNotBuild(Exception):
    """The tree cannot be installed: it is no task."""


@dataclass(frozen=True)
class Derived:
    """The environment, and its record."""

    built: BuiltEnvironment
    record: Environment


async def derived(parent: Parent, tree: str, context: Context) -> Derived:
    """The image of `parent`'s environment with `tree` as its project.

    Raises DoesNotBuild when the tree is to blame, SandboxError when the daemon or a registry is.
    """
    view = parent.objects.tree(tree)
    packed = await asyncio.to_thread(pack, PackedTree(files=view, modes=view.modes))
    given = parent.bundle.environment
    names = sorted(p.relative_to(given).as_posix() for p in given.rglob("*") if p.is_file())
    digests = {
        name: hashlib.sha256(packed if name == "app.tar" else (given / name).read_bytes()).hexdigest()
        for name in names
    }
    recipe = json.loads(parent.environment.recipe)
    environment_id = content_id(recipe, parent.environment.manifest, digests)
    folder = context.workdir / "environments" / environment_id
    await asyncio.to_thread(_lay_out, given, folder, packed)
    base = await ensure_base(recipe["suite"], context.settings)
    tag = f"verifactory/env:{environment_id}"
    try:
        image = await context.sandboxes.build(
            folder,
            tag=tag,
            build_args={"BASE": base},
            network=Network.ALLOWLIST,
            allowed_hosts=registries.hosts(),
            timeout=context.settings.build_seconds,
        )
    except BuildError as error:
        if classify(Broken("build", f"{error.log}\n{error}")) in INFRASTRUCTURE:
            raise SandboxError(f"{tag} cannot be built: {error}") from error
        raise DoesNotBuild(str(error)) from error
    built = BuiltEnvironment(
        environment_id=environment_id,
        image=image.tag,
        digest=image.digest,
        language=parent.task.language,
        recipe=Recipe(language=parent.task.language, suite=recipe["suite"]),
        manifest=parent.environment.manifest,
        dockerfile=parent.environment.dockerfile,
        context=folder,
        runner=Runner(framework=parent.bundle.spec.runner, command=parent.bundle.spec.command),
        collected=0,
        attempts=1,
        size_bytes=image.size_bytes,
        seconds=image.seconds,
        log=image.log,
    )
    record = parent.environment.model_copy(
        update={
            "environment_id": environment_id,
            "image_digest": image.digest,
            "size_bytes": image.size_bytes,
            "attempts": 1,
            "build_seconds": round(image.seconds, 3),
            "build_log": "",
        }
    )
    return Derived(built, Environment.model_validate(record.model_dump(exclude={"recorded_at"})))


def _lay_out(given: Path, folder: Path, packed: bytes) -> None:
    """The parent's `environment/` with another `app.tar`; what is there already is the same."""
    if folder.exists():
        return
    part = folder.with_name(f".{folder.name}-{id(packed)}")
    shutil.copytree(given, part)
    (part / "app.tar").write_bytes(packed)
    part.replace(folder)
