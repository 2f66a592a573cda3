"""What every toolchain must keep, on a small real project of its language, built and run in containers.

A project is a module `projects/<name>.py` with plain data: FILES (at least one passing, one failing and one
skipped test), STATUSES (every test id of the tree as it is) and MESSAGES (what some of them say), LOG_COMMAND
and LOG_REPORT (the same run as a log, and its parser), GOLD and HIDDEN (files of a change and of its tests),
with FAIL_TO_PASS and PASS_TO_PASS, BROKEN (files that do not compile, or load) and BROKEN_MISSING (tests that
must be missing then). LANGUAGE names the toolchain where the module's own name does not, MODES git modes.
"""

from __future__ import annotations

import asyncio
import importlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from projects import NAMES, diff

from envs import formats
from envs.builder import BuiltEnvironment, build_environment
from envs.docker.backend import DockerBackend
from envs.languages import Upstream, detect
from envs.languages.tree import Tree
from envs.reports import TestReport
from envs.sandbox import BuiltImage, Limits, Network, Sandbox, SandboxSpec
from verifiers.tests.bundle import Bundle, render, write_tests
from verifiers.tests.grader import TestsVerifier, observe
from verifiers.tests.spec import TestSpec, infrastructure
from verifiers.verdict import Submission, VerdictKind
from warehouse.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.network]

LIMITS = Limits(memory_mb=1536, cpus=2.0, pids=512)
OUT = "/tmp/contract"


@dataclass(frozen=True)
class Made:
    """A project in its environment."""

    project: ModuleType
    environment: BuiltEnvironment
    spec: TestSpec
    backend: DockerBackend

    async def observe(
        self, folder: Path, *, seed: int | None = None, files: dict[str, str] | None = None
    ) -> TestReport:
        write_tests(folder, self.spec, {})
        patch = diff(self.project.FILES, files).encode() if files else b""
        return await observe(
            self.backend, self.environment.image, folder, state="base", seed=seed, patch=patch, limits=LIMITS
        )


@pytest.fixture(scope="module", params=NAMES)
def made(
    request: pytest.FixtureRequest,
    docker: DockerBackend,
    docker_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    """Claimed, planned, resolved, built and smoked. What the projects of a language share is cached."""
    folder = tmp_path_factory.mktemp(request.param)
    project = importlib.import_module(f"projects.{request.param}")
    made = asyncio.run(_make(project, request.param, docker, docker_settings, folder))
    yield made
    docker.daemon.client.api.remove_image(made.environment.image)


async def _make(
    project: ModuleType, name: str, docker: DockerBackend, settings: Settings, folder: Path
) -> Made:
    tree = Tree({path: text.encode() for path, text in project.FILES.items()}, getattr(project, "MODES", {}))
    toolchain = detect(tree)
    assert toolchain is not None
    assert toolchain.language == getattr(project, "LANGUAGE", name)
    gold = Tree(
        {path: text.encode() for path, text in {**project.FILES, **project.GOLD, **project.HIDDEN}.items()},
        tree.modes,
    )
    upstream = Upstream("calc", "1.0", datetime(2024, 6, 1, tzinfo=UTC), tree, gold)
    environment = await build_environment(upstream, backend=docker, settings=settings, workdir=folder)
    assert isinstance(environment, BuiltEnvironment), environment
    assert environment.collected >= len(project.STATUSES), environment.log
    runner = environment.runner
    protected, _ = infrastructure(frozenset(tree), frozenset(project.GOLD), toolchain.steering)
    tests = sorted(path for path in tree if toolchain.is_test(path))
    spec = TestSpec(
        runner="command", command=runner.command, build=runner.build, env=runner.env, report=runner.report,
        report_files=runner.report_files, log_report=runner.log_report, args=toolchain.arguments(tree),
        protected=tuple(dict.fromkeys((*protected, *tests))), steering=toolchain.steering,
        fail_to_pass=project.FAIL_TO_PASS, pass_to_pass=project.PASS_TO_PASS, suite_seconds=300,
    )  # fmt: skip
    return Made(project, environment, spec, docker)


def statuses(report: TestReport) -> dict[str, str]:
    return {result.id: result.status.value for result in report.results}


async def test_a_project_is_run_and_reported(made: Made, tmp_path: Path) -> None:
    """Ids, statuses and messages; the same again, shuffled or not; nothing from what does not compile."""
    project = made.project
    first = await made.observe(tmp_path / "first")
    assert statuses(first) == project.STATUSES, first.log
    assert (first.outcome, first.disagreements) == ("finished", ())
    assert first.exit_code != 0
    said = {result.id: result.message for result in first.results}
    for name, words in project.MESSAGES.items():
        assert words in said[name], said[name]

    again = await made.observe(tmp_path / "again", seed=1234567890)
    assert statuses(again) == statuses(first)

    broken = await made.observe(tmp_path / "broken", files=project.BROKEN)
    assert not set(project.BROKEN_MISSING) & set(statuses(broken)), broken
    assert broken.exit_code != 0
    assert broken.disagreements == ()


async def test_a_log_says_what_the_report_says(made: Made) -> None:
    """The fallback parser, on a real log of the same project; and malformed reports earn nothing."""
    sandbox = await made.backend.start(
        SandboxSpec(image=made.environment.image, network=Network.NONE, limits=LIMITS)
    )
    try:
        log = await _log(made, sandbox)
    finally:
        await sandbox.stop()
    parsed = formats.parse(made.project.LOG_REPORT, log, {})
    assert {result.id: result.status.value for result in parsed} == made.project.STATUSES, log[
        -2000:
    ].decode()
    for malformed in (b"", b"\x00\xff{<", log[: len(log) // 2][::-1]):
        for name in {made.spec.report, made.spec.log_report, made.project.LOG_REPORT} - {""}:
            for files in ({}, {"report.xml": malformed, "report.json": malformed}):
                try:
                    found = formats.parse(name, malformed, files)
                except ValueError:
                    continue
                assert not set(made.spec.fail_to_pass) & {r.id for r in found}


async def _log(made: Made, sandbox: Sandbox) -> bytes:
    """What LOG_COMMAND says, run as grading runs the suite."""
    await sandbox.exec(["sh", "-c", f"mkdir -p {OUT}/home && chown -R tester {OUT} /app"], timeout=60)
    env = {"HOME": f"{OUT}/home", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    env |= {k: v.replace("{out}", OUT) for k, v in made.spec.env.items() if "{seed}" not in v}
    if made.spec.build:
        command = [part.replace("{out}", OUT) for part in made.spec.build if "{seed}" not in part]
        built = await sandbox.exec(command, timeout=300, user="tester", workdir="/app", env=env)
        assert built.ok, built.text()
    command = shlex.join(part.replace("{out}", OUT) for part in made.project.LOG_COMMAND)
    told = await sandbox.exec(
        ["sh", "-c", f"{command} 2>&1"], timeout=300, user="tester", workdir="/app", env=env
    )
    return told.stdout


async def test_the_gold_patch_earns_and_doing_nothing_does_not(made: Made, tmp_path: Path) -> None:
    """Full, zero and repeated, through the grader and a rendered bundle."""
    project, folder = made.project, made.environment.context
    hidden = {path: ("100644", text.encode()) for path, text in project.HIDDEN.items()}
    gold = diff(project.FILES, project.GOLD).encode()
    spec = made.spec.model_copy(
        update={"protected": tuple(path for path in made.spec.protected if path not in hidden)}
    )
    rendered = render(
        tmp_path / "bundle", task_id="t1", kind="bug_fix", repo="calc", instruction="Fix it.\n",
        environment_dir=folder, hidden=hidden, gold_patch=gold, spec=spec, licenses={}, metadata={},
    )  # fmt: skip

    async def image_for(bundle: Bundle) -> BuiltImage:
        return BuiltImage(tag=made.environment.image, digest="", size_bytes=0, seconds=0.0, log="")

    verifier = TestsVerifier(image_for, limits=LIMITS)
    full = await verifier.grade(rendered.path, Submission(patch=gold), made.backend)
    assert (full.kind, full.reward) == (VerdictKind.SCORED, 1.0), full
    zero = await verifier.grade(rendered.path, Submission(), made.backend)
    assert (zero.kind, zero.reward) == (VerdictKind.SCORED, 0.0), zero
    wrong = diff(project.FILES, project.BROKEN).encode()
    broken = await verifier.grade(rendered.path, Submission(patch=wrong), made.backend)
    assert (broken.kind, broken.reward) == (VerdictKind.SCORED, 0.0), broken
    again = await verifier.grade(rendered.path, Submission(patch=gold), made.backend)
    assert (again.kind, again.reward) == (full.kind, full.reward)
