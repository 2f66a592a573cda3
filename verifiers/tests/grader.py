"""Grades submissions by running their bundle, and observes suites while a task is being made.

Every run gets a fresh sandbox from the environment image, without network. Whatever a submission does to its
run, within its limits, is scored; only a sandbox or an image that is broken is `infrastructure`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from envs.reports import TestReport
from envs.sandbox import (
    BuiltImage,
    ExecResult,
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxBackend,
    SandboxError,
    SandboxSpec,
)
from verifiers.tests.bundle import Bundle, load
from verifiers.tests.spec import TestSpec
from verifiers.verdict import Check, Haste, Submission, Verdict, VerdictKind

PATCH = "/submission.patch"
LOGS = "/logs/verifier"
REPORT_BYTES = 64 << 20
HASTE = "VERIFACTORY_HASTE"  # the variable that tells the supervisor of it
MALFORMED = 65  # the supervisor's exit status for a patch that does not apply

ImageFor = Callable[[Bundle], Awaitable[BuiltImage]]
"""Finds or builds the environment image of a bundle."""


class ObserveError(Exception):
    """A suite that cannot be observed, by its own fault: `patch_does_not_apply`, `observe_timeout`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TestsVerifier:
    """The verifier of SWE tasks: hidden tests decide."""

    __test__ = False

    def __init__(
        self, image_for: ImageFor, *, limits: Limits | None = None, runtime: str | None = None
    ) -> None:
        self.image_for = image_for
        self.limits = limits or Limits()
        self.runtime = runtime

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        """Run the bundle on a submission. Raises FactoryError for a bundle that was changed."""
        loaded = load(bundle)
        begin = time.monotonic()
        try:
            image = await self.image_for(loaded)
            verdict = await self._grade(loaded, image, submission, sandboxes, haste)
        except SandboxError as error:
            return _infrastructure(str(error), time.monotonic() - begin)
        return verdict.model_copy(update={"image_digest": image.digest, "seconds": time.monotonic() - begin})

    async def _grade(
        self,
        bundle: Bundle,
        image: BuiltImage,
        submission: Submission,
        sandboxes: SandboxBackend,
        haste: Haste | None,
    ) -> Verdict:
        sandbox = await sandboxes.start(_sandbox_spec(image.tag, self.limits, self.runtime))
        try:
            await sandbox.upload({"/tests": bundle.tests, PATCH: submission.patch})
            result = await sandbox.exec(
                ["/bin/sh", "/tests/test.sh"], timeout=bundle.spec.limit_seconds, user="root",
                env={HASTE: haste.model_dump_json()} if haste else None,
            )  # fmt: skip
            if result.outcome is Outcome.EXITED and result.exit_code != 0:
                return _infrastructure(f"the supervisor ended with {result.exit_code}: {result.text(1000)}")
            return await _verdict(sandbox, result)
        finally:
            await sandbox.stop()


async def observe(
    backend: SandboxBackend,
    image: str,
    tests: Path,
    *,
    state: Literal["base", "before", "after"],
    seed: int | None = None,
    faketime: str = "",
    patch: bytes = b"",
    limits: Limits | None = None,
    runtime: str | None = None,
) -> TestReport:
    """One run of a suite in one state, in a sandbox of its own. `tests` is what `bundle.write_tests` wrote.

    Raises ObserveError for what the change itself is to blame for, SandboxError for infrastructure.
    """
    spec = TestSpec.model_validate_json((tests / "spec.json").read_bytes())
    command = [
        "/usr/bin/python3",
        "-I",
        "/tests/supervisor.py",
        "observe",
        "--state",
        state,
        "--output",
        f"{LOGS}/report.json",
    ]
    command += ["--seed", str(seed)] if seed is not None else []
    command += ["--faketime", faketime] if faketime else []
    command += ["--patch", PATCH] if patch else []
    sandbox = await backend.start(_sandbox_spec(image, limits or Limits(), runtime))
    try:
        await sandbox.upload({"/tests": tests})
        if patch:
            await sandbox.upload({PATCH: patch})
        result = await sandbox.exec(command, timeout=spec.limit_seconds, user="root")
        if result.outcome is Outcome.TIMEOUT:
            raise ObserveError("observe_timeout", f"no report after {spec.limit_seconds:g} s")
        if result.exit_code == MALFORMED:
            raise ObserveError("patch_does_not_apply", result.text(1000))
        if not result.ok:
            raise SandboxError(
                f"Observing tests in {image} failed with status {result.exit_code}: {result.text(1000)}"
            )
        files = await sandbox.download(f"{LOGS}/report.json", max_bytes=REPORT_BYTES)
    finally:
        await sandbox.stop()
    return TestReport.model_validate_json(next(iter(files.values())))


def _sandbox_spec(image: str, limits: Limits, runtime: str | None) -> SandboxSpec:
    return SandboxSpec(
        image=image, network=Network.NONE, limits=limits, workdir="/", user="root", runtime=runtime
    )


async def _verdict(sandbox: Sandbox, result: ExecResult) -> Verdict:
    """What the supervisor wrote, whatever else happened: it writes a zero before it runs anything foreign."""
    ended = "" if result.outcome is Outcome.EXITED else f"the grading run was ended: {result.outcome}"
    try:
        files = await sandbox.download(LOGS, max_bytes=REPORT_BYTES)
        reward = json.loads(files["reward.json"])["reward"]
        return _read(json.loads(files["report.json"]), reward, ended)
    except (KeyError, ValueError, TypeError, ValidationError) as error:
        if ended:
            return Verdict(kind=VerdictKind.SCORED, reward=0.0, reason=ended)
        return _infrastructure(f"the supervisor left no report that can be read: {error!r}")


def _read(report: dict[str, Any], reward: float, ended: str) -> Verdict:
    checks = tuple(Check.model_validate(check) for check in report["checks"])
    return Verdict(
        kind=VerdictKind(report["kind"]), reward=reward, checks=checks, reason=ended or report["reason"],
        inverted=(report["report"] or {}).get("inverted", 0),
    )  # fmt: skip


def _infrastructure(reason: str, seconds: float = 0.0) -> Verdict:
    return Verdict(kind=VerdictKind.INFRASTRUCTURE, reward=None, reason=reason[:2000], seconds=seconds)
