"""Builds environments: plan → resolve → image → smoke, repaired by rule, or a reason why not.

A language's toolchain plans recipes in the order they are worth trying; this module walks them. Each is
resolved in a sandbox of the toolchain image, built, and smoked without network. When a step breaks, the
toolchain may mend the recipe; repairs are bounded, and a recipe that cannot be mended gives way to the next.
What failed last is the reason recorded.

An environment is its recipe, its manifest and its tree: their hash is its id and its image's tag, so building
the same thing again finds the image and stops. The context directory is the bundle's `environment/` folder,
byte for byte the same wherever and whenever it is made.

Where a model is configured, it is asked last: for a recipe, which is tried like those of a plan
(`envs.repair_loop`).
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envs import registries
from envs.images import ensure_base
from envs.languages import Broken, Healthy, Recipe, Resolved, Runner, Toolchain, Upstream, detect
from envs.languages.tree import pack
from envs.reasons import INFRASTRUCTURE, REASONS, classify, last_word
from envs.sandbox import (
    BuildError,
    BuiltImage,
    Limits,
    Network,
    Sandbox,
    SandboxBackend,
    SandboxError,
    SandboxSpec,
)
from warehouse.records import Environment, content_id, to_json
from warehouse.settings import Settings

MAX_REPAIRS = 4  # of one recipe
ENOUGH = 0.9  # share of the test files that must collect before other interpreters are not tried
LOG_CHARACTERS = 200_000


@dataclass(frozen=True)
class BuiltEnvironment:
    """An image that keeps the environment contract, and everything needed to make it again."""

    environment_id: str
    image: str
    digest: str
    language: str
    recipe: Recipe
    manifest: tuple[str, ...]
    dockerfile: str
    context: Path
    """The bundle's environment/ folder."""
    runner: Runner
    collected: int
    attempts: int
    size_bytes: int
    seconds: float
    log: str
    transcript: bytes = b""
    """What the model said, where the recipe is one of its own."""

    def record(self, log_sha256: str = "") -> Environment:
        """The row; `log_sha256` names the log in the artifact store."""
        return Environment(
            environment_id=self.environment_id,
            language=self.language,
            recipe=to_json(self.recipe.model_dump(mode="json")),
            manifest=self.manifest,
            dockerfile=self.dockerfile,
            image_digest=self.digest,
            size_bytes=self.size_bytes,
            attempts=self.attempts,
            build_seconds=round(self.seconds, 3),
            build_log=log_sha256,
        )


@dataclass(frozen=True)
class BuildFailure:
    """Why there is no environment: a code of REASONS, one line for people, and the log."""

    reason: str
    detail: str
    log: str
    attempts: int
    seconds: float
    transcript: bytes = b""


@dataclass
class Trail:
    """What happened so far, in order."""

    attempts: int = 0
    parts: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, title: str, text: str) -> None:
        self.parts.append(f"=== {title}\n{text.strip()}\n")

    @property
    def log(self) -> str:
        return "\n".join(self.parts)[-LOG_CHARACTERS:]

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


async def build_environment(
    upstream: Upstream,
    *,
    backend: SandboxBackend,
    settings: Settings,
    workdir: Path,
    toolchain: Toolchain[Any] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BuiltEnvironment | BuildFailure:
    """The environment of `upstream.base`, with packages as of `upstream.date`; contexts are left below
    `workdir`.

    Raises SandboxError for infrastructure and FactoryError for what the user can mend. A project that cannot
    be built is not an error: it is a BuildFailure.
    """
    trail = Trail()
    chosen = toolchain or detect(upstream.gold)
    if chosen is None:
        return _failure(Broken("plan", REASONS["unsupported_language"], reason="unsupported_language"), trail)
    plan = chosen.plan(upstream)
    builder = Builder(upstream, chosen, backend, settings, workdir, trail, progress)
    outcome = _failure(plan, trail) if isinstance(plan, Broken) else await builder.walk(plan)
    if settings.model_base_url and isinstance(outcome, BuildFailure):
        from envs.repair_loop.environment import asked

        return await asked(builder, outcome, plan)
    return outcome


def _failure(broken: Broken, trail: Trail) -> BuildFailure:
    reason = classify(broken)
    detail = f"{REASONS[reason]}: {last_word(broken.log)}"
    return BuildFailure(reason, detail, trail.log or broken.log, trail.attempts, trail.seconds)


@dataclass
class Builder:
    """One environment in the making; all but `trail` is given."""

    upstream: Upstream
    toolchain: Toolchain[Any]
    backend: SandboxBackend
    settings: Settings
    workdir: Path
    trail: Trail
    progress: Callable[[str], None]
    failed: list[tuple[Recipe, Broken]] = field(default_factory=list)
    """What recipes came to when no rule fitted any more."""

    async def walk(self, plan: list[Recipe]) -> BuiltEnvironment | BuildFailure:
        """The first healthy environment; else the one that collects most; else why the last recipe failed."""
        partial: list[BuiltEnvironment] = []
        broken = Broken("plan", "The plan is empty.", reason="build_failed")
        for recipe in plan:
            outcome, found = await self.mend(recipe)
            if isinstance(outcome, BuiltEnvironment):
                return outcome
            broken, partial = outcome, partial + ([found] if found else [])
            if classify(broken) in INFRASTRUCTURE:
                break
        if partial:
            return max(partial, key=lambda environment: environment.collected)
        return _failure(broken, self.trail)

    async def mend(self, recipe: Recipe) -> tuple[BuiltEnvironment | Broken, BuiltEnvironment | None]:
        """Build a recipe, repairing it as long as a rule fits; with what broke comes what works in part."""
        partial: BuiltEnvironment | None = None
        broken = Broken("build", "")
        for _ in range(MAX_REPAIRS + 1):
            self.trail.attempts += 1
            outcome, environment, recipe = await self.attempt(recipe)
            if outcome is None and environment is not None:
                return environment, None
            assert outcome is not None
            broken, partial = outcome, environment or partial
            self.trail.add(f"broken at {broken.stage}: {classify(broken)}", broken.log)
            mended = self.toolchain.repair(recipe, broken)
            if mended is None or classify(broken) in INFRASTRUCTURE:
                break
            self.trail.add("repair", mended.notes[-1])
            self.progress(f"{self.upstream.name}: {mended.notes[-1]}")
            recipe = mended
        if partial is not None and broken.share >= ENOUGH:
            return partial, None
        self.failed.append((recipe, broken))
        return broken, partial

    async def attempt(self, recipe: Recipe) -> tuple[Broken | None, BuiltEnvironment | None, Recipe]:
        """One pass: what broke, the environment if any test was collected, and the recipe as resolved."""
        started = time.monotonic()
        resolved = await self.resolve(recipe)
        if isinstance(resolved, Broken):
            return resolved, None, recipe
        self.trail.add("resolved", "\n".join((*resolved.recipe.notes, *resolved.manifest)))
        files = self.toolchain.context(resolved) | {"app.tar": pack(self.upstream.base)}
        environment_id = _environment_id(resolved, files)
        context = write_context(self.workdir / environment_id, files)
        built = await self.image(resolved.recipe, f"verifactory/env:{environment_id}", context)
        if isinstance(built, Broken):
            return built, None, resolved.recipe
        health = await self.smoke(resolved, built.tag)
        environment = BuiltEnvironment(
            environment_id=environment_id,
            image=built.tag,
            digest=built.digest,
            language=resolved.recipe.language,
            recipe=resolved.recipe,
            manifest=resolved.manifest,
            dockerfile=files["Dockerfile"].decode(),
            context=context,
            runner=self.toolchain.runner(resolved),
            collected=health.collected,
            attempts=self.trail.attempts,
            size_bytes=built.size_bytes,
            seconds=time.monotonic() - started,
            log=self.trail.log,
        )
        broken = health if isinstance(health, Broken) else None
        return broken, environment if health.collected else None, resolved.recipe

    async def resolve(self, recipe: Recipe) -> Resolved | Broken:
        self.progress(
            f"{self.upstream.name}: resolving as of {self.upstream.date:%Y-%m-%d} on {recipe.suite}"
        )
        image = await toolchain_image(self.toolchain, recipe, self.backend, self.settings)
        sandbox = await self.start(image, Network.ALLOWLIST)
        try:
            return await self.toolchain.resolve(
                recipe, self.upstream.gold, sandbox, timeout=self.settings.build_seconds
            )
        finally:
            await sandbox.stop()

    async def image(self, recipe: Recipe, tag: str, context: Path) -> BuiltImage | Broken:
        self.progress(f"{self.upstream.name}: building {tag}")
        base = await ensure_base(recipe.suite, self.settings)
        try:
            built = await self.backend.build(
                context,
                tag=tag,
                build_args={"BASE": base},
                network=Network.ALLOWLIST,
                allowed_hosts=registries.hosts(),
                shares=await toolchain_image(self.toolchain, recipe, self.backend, self.settings),
                timeout=self.settings.build_seconds,
            )
        except BuildError as error:
            return Broken("build", f"{error.log}\n{error}")
        self.trail.add("built", built.log)
        return built

    async def smoke(self, resolved: Resolved, image: str) -> Healthy | Broken:
        self.progress(f"{self.upstream.name}: importing and collecting")
        sandbox = await self.start(image, Network.NONE)
        try:
            return await self.toolchain.smoke(
                resolved, self.upstream, sandbox, timeout=self.settings.suite_seconds
            )
        finally:
            await sandbox.stop()

    async def start(self, image: str, network: Network) -> Sandbox:
        limits = Limits(memory_mb=self.settings.memory_mb, cpus=self.settings.cpus, pids=self.settings.pids)
        hosts = registries.hosts() if network is Network.ALLOWLIST else ()
        return await self.backend.start(
            SandboxSpec(
                image=image,
                network=network,
                allowed_hosts=hosts,
                limits=limits,
                runtime=self.settings.runtime,
            )
        )


async def toolchain_image(
    toolchain: Toolchain[Any], recipe: Recipe, backend: SandboxBackend, settings: Settings
) -> str:
    """The image that a recipe is resolved in: the first layers of every environment of its suite.

    It is ours, whatever the project: one that does not build is infrastructure, and raises SandboxError.
    """
    base = await ensure_base(recipe.suite, settings)
    dockerfile = toolchain.toolchain(recipe)
    tag = f"verifactory/toolchain:{recipe.language}-{recipe.suite}-{content_id(base, dockerfile)[:12]}"
    if await backend.has_image(tag):
        return tag
    context = write_context(
        settings.cache / "toolchains" / tag.rpartition(":")[2], {"Dockerfile": dockerfile.encode()}
    )
    with (context / "lock").open("w") as lock:
        # one process makes it; the others wait, then find its layers
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not await backend.has_image(tag):
            try:
                await backend.build(
                    context,
                    tag=tag,
                    build_args={"BASE": base},
                    network=Network.ALLOWLIST,
                    allowed_hosts=registries.hosts(),
                    timeout=settings.build_seconds,
                )
            except BuildError as error:
                raise SandboxError(f"{tag} did not build: {error}: {last_word(error.log)}") from error
    return tag


def _environment_id(resolved: Resolved, files: dict[str, bytes]) -> str:
    """Of recipe and manifest; the tree is part of the recipe, and its Dockerfile the recipe's meaning."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return content_id(resolved.recipe.model_dump(mode="json"), resolved.manifest, digests)


def write_context(folder: Path, files: dict[str, bytes]) -> Path:
    """The files under `folder`; what is there already is the same, since its name is a hash of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        target = folder / name
        partial = target.with_name(f".{name}.{time.monotonic_ns()}")
        partial.write_bytes(data)
        partial.replace(target)
    return folder
