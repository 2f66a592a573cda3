"""Verification of changes that must make things faster: tests keep passing, and the clock is the kernel's.

A bundle of this kind carries, beside the suite's own supervisor, the upstream change and a workload: tests
of the project that need long before it and less after it. A submission whose tests hold is measured against
base and gold in one container, in turns, and is paid when it saves at least a share of what gold saves, which
a paired permutation test must find significant. Where this machine cannot tell gold from the base well above
its own noise, the verdict is `infrastructure` with the reason `unstable`: no reward, not a false one.

`inside/` does this in the container. What is measured is CPU time, unless validation found that only wall
time tells (waiting, parallel work).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.sandbox import Limits, Network, SandboxBackend, SandboxError, SandboxSpec
from verifiers.performance.inside.significance import finding
from verifiers.tests.bundle import load
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside"
SPEC = "tests/performance.json"
REASON = "unstable"  # how the reason of such an infrastructure verdict is known

TEST_SH = b"""\
#!/bin/sh
# Grades /submission.patch against the tree as the image has it or, without one, the tree as it stands: tests,
# then speed. The exit status is not the verdict: /logs/verifier/reward.json is. Status 75 and no reward file:
# this machine is too noisy to tell; run it again.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/performance.py grade /submission.patch
fi
exec /usr/bin/python3 -I /tests/performance.py grade
"""


class PerformanceSpec(BaseModel):
    """`tests/performance.json`: the workload, and what counts as faster."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(1, alias="schema")
    tests: tuple[str, ...] = Field(
        min_length=1, description="Ids that every measured run must report as passed."
    )
    args: tuple[str, ...] = Field(description="What the runner is given, to run them and little else.")
    measure: Literal["cpu", "wall"] = Field("cpu", description="Time that counts.")
    share: float = Field(0.5, gt=0, le=1, description="Share of gold's gain that earns the reward.")
    least_gain: float = Field(
        0.05, gt=0, lt=1, description="Least gain of gold, as a share of the base's time."
    )
    alpha: float = Field(0.025, gt=0, lt=0.5, description="Level of each of the two looks at the samples.")
    blocks: int = Field(6, ge=6, description="Blocks before the first look; six give p = 1/64 at best.")
    most_blocks: int = Field(12, le=14, description="Blocks before the last look.")
    run_seconds: float = Field(120, gt=0, description="Limit of one measured run.")
    seconds: float = Field(900, gt=0, description="Limit of all measured runs together.")
    suite_seconds: float = Field(600, gt=0, description="Limit of the tests that come first.")

    @model_validator(mode="after")
    def _looks_are_in_order(self) -> PerformanceSpec:
        if self.most_blocks < self.blocks:
            raise ValueError("most_blocks is at least blocks")
        return self

    @property
    def grading_seconds(self) -> float:
        """How long one grading can take: what `TestSpec.suite_seconds` of such a bundle is."""
        return self.suite_seconds + self.seconds + 2 * self.run_seconds

    def to_json(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


class Measured(BaseModel):
    """Samples of base and gold. `unstable` says why there are none, or not enough."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: tuple[dict[str, Any], ...] = ()
    unstable: str = ""

    def finding(self, spec: PerformanceSpec, measure: str) -> dict[str, Any]:
        """What the samples of one measure say of gold: see `inside/significance.py`."""
        of = [
            {"base": [one[measure] for one in block["base"]], "gold": block["gold"][measure]}
            for block in self.blocks
        ]
        return finding(of, spec.model_dump())


def files(spec: PerformanceSpec, gold_patch: bytes) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    modules = {f"tests/{path.name}": path.read_bytes() for path in sorted(INSIDE.glob("*.py"))}
    return {
        SPEC: spec.to_json(),
        "tests/test.sh": TEST_SH,
        "tests/performance.patch": gold_patch,
        **{name: data for name, data in modules.items() if not name.endswith("__init__.py")},
    }


def read(bundle: Path) -> PerformanceSpec:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return PerformanceSpec.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise FactoryError(f"{bundle} is no task of making something faster: {error}.") from error


async def measure(
    backend: SandboxBackend,
    image: str,
    tests: Path,
    spec: PerformanceSpec,
    *,
    limits: Limits,
    runtime: str | None,
) -> Measured:
    """Base and gold, in a sandbox of their own. `tests` is a draft's `tests/` with `files` laid in."""
    output = "/logs/verifier/measured.json"
    sandbox = await backend.start(
        SandboxSpec(
            image=image, network=Network.NONE, limits=limits, workdir="/", user="root", runtime=runtime
        )
    )
    try:
        await sandbox.upload({"/tests": tests})
        command = ["/usr/bin/python3", "-I", "/tests/performance.py", "measure", output]
        result = await sandbox.exec(command, timeout=spec.grading_seconds, user="root")
        if not result.ok:
            raise SandboxError(f"Measuring in {image} failed ({result.outcome}): {result.text(1000)}")
        found = await sandbox.download(output, max_bytes=1 << 20)
    finally:
        await sandbox.stop()
    return Measured.model_validate_json(next(iter(found.values())))
