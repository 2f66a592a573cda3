"""The mini-projects of the toolchains as tasks: built, their inversions proved, and rendered as bundles."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from envs.builder import BuiltEnvironment, build_environment
from envs.docker.backend import DockerBackend
from envs.languages import Upstream, detect
from envs.languages.tree import Tree
from envs.reports import TestReport
from envs.sandbox import BuiltImage, Limits
from verifiers.integrity.inversions import proved
from verifiers.integrity.patch import patch, text
from verifiers.tests.bundle import Bundle, load, render
from verifiers.tests.grader import TestsVerifier, observe
from verifiers.tests.spec import TestSpec, infrastructure
from warehouse.settings import Settings

PROJECTS = Path(__file__).resolve().parents[1] / "envs"
LIMITS = Limits(memory_mb=1536, cpus=2.0, pids=512)
# So that no other test has, or removes, the same image.
OWN = {"NOTES-OF-INTEGRITY.md": "A project to cheat on.\n"}
DATE = datetime(2024, 6, 1, tzinfo=UTC)


def project(name: str) -> ModuleType:
    if str(PROJECTS) not in sys.path:
        sys.path.insert(0, str(PROJECTS))
    return importlib.import_module(f"projects.{name}")


@dataclass(frozen=True)
class NativeTarget:
    """One project as a task."""

    project: ModuleType
    image: str
    bundle: Bundle
    verifier: TestsVerifier


async def native_target(name: str, backend: DockerBackend, settings: Settings, folder: Path) -> NativeTarget:
    made = project(name)
    base = {path: content.encode() for path, content in {**made.FILES, **OWN}.items()}
    tree = Tree(base, getattr(made, "MODES", {}))
    after = {
        path: content.encode() for path, content in {**made.FILES, **OWN, **made.GOLD, **made.HIDDEN}.items()
    }
    toolchain = detect(tree)
    assert toolchain is not None
    upstream = Upstream("calc", "1.0", DATE, tree, Tree(after, tree.modes))
    environment = await build_environment(upstream, backend=backend, settings=settings, workdir=folder)
    assert isinstance(environment, BuiltEnvironment), environment
    gold = patch(base, {path: text(content) for path, content in made.GOLD.items()})
    hidden = {path: ("100644", content.encode()) for path, content in made.HIDDEN.items()}
    spec = _spec(made, environment, toolchain, tree)

    async def on_gold(tests: Path) -> TestReport:
        return await observe(backend, environment.image, tests, state="after", patch=gold, limits=LIMITS)

    spec = spec.model_copy(update={"inversions": await proved(spec, hidden, toolchain.language, on_gold)})
    digest = render(
        folder / "bundle", task_id=f"native-{name}", kind="bug_fix", repo="calc", instruction="Fix it.\n",
        environment_dir=environment.context, hidden=hidden, gold_patch=gold, spec=spec, licenses={},
        metadata={"language": toolchain.language},
    )  # fmt: skip

    async def image_for(_: Bundle) -> BuiltImage:
        return BuiltImage(tag=environment.image, digest="", size_bytes=0, seconds=0.0, log="")

    return NativeTarget(made, environment.image, load(digest.path), TestsVerifier(image_for, limits=LIMITS))


def _spec(made: ModuleType, environment: BuiltEnvironment, toolchain: object, tree: Tree) -> TestSpec:
    runner = environment.runner
    steering = getattr(toolchain, "steering")  # noqa: B009 - a class variable of every native toolchain
    protected, _ = infrastructure(frozenset(tree), frozenset(made.GOLD), steering)
    tests = sorted(path for path in tree if toolchain.is_test(path) and path not in made.HIDDEN)  # ty: ignore
    return TestSpec(
        runner="command", command=runner.command, build=runner.build, env=runner.env, report=runner.report,
        report_files=runner.report_files, log_report=runner.log_report,
        args=toolchain.arguments(tree),  # ty: ignore
        protected=tuple(dict.fromkeys((*protected, *tests))), steering=steering,
        fail_to_pass=made.FAIL_TO_PASS, pass_to_pass=made.PASS_TO_PASS, suite_seconds=600,
    )  # fmt: skip
