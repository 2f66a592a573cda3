"""Verification of tests that somebody wrote: a test is worth what it tells apart.

A submission may add and change test files; what else it does is undone. Its tests are run on several states
of one project, each in turn and in an order that is drawn: the *base* (what the author saw), the *gold* state
(twice), another form of the gold state that behaves the same, and mutants of it. They earn the reward when

- something fails on the base and passes on gold (it shows the defect, or asks for the feature),
- nothing of theirs fails on gold, or on its other form (a test must not demand one spelling), and
- what passes on gold fails on at least a share of the mutants (it looks at the behaviour).

`inside/swe_test.py` does this in the container; every bundle carries it, with the suite's own supervisor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.sandbox import Limits, SandboxBackend
from verifiers.tests.bundle import load
from verifiers.tests.grader import ImageFor, TestsVerifier
from verifiers.tests.spec import RelativePath
from verifiers.verdict import Haste, Submission, Verdict
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside" / "swe_test.py"
SPEC = "tests/swe_test.json"

TEST_SH = b"""\
#!/bin/sh
# Grades the tests that /submission.patch writes or, without one, those that the tree has as it stands.
# The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/swe_test.py /submission.patch
fi
exec /usr/bin/python3 -I /tests/swe_test.py
"""


class State(BaseModel):
    """One state of the project that a submission's tests are run on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    role: Literal["base", "gold", "mutant"]
    patch: str = Field("", description="File below `tests/states/`, from the tree as imaged; '' for none.")


class WrittenTestsSpec(BaseModel):
    """`tests/swe_test.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(1, alias="schema")
    states: tuple[State, ...]
    kill_share: float = Field(gt=0, le=1, description="Share of the mutants that must be found.")
    state_seconds: float = Field(gt=0, description="Limit of one run of the submission's tests.")
    test_files: tuple[RelativePath, ...] = Field((), description="Paths that a submission may write.")
    test_folders: tuple[RelativePath, ...] = Field((), description="Folders below which it may write.")
    test_names: tuple[str, ...] = Field((), description="Patterns of file names that it may write anywhere.")
    known: tuple[str, ...] = Field((), description="Tests that the tree has without any submission.")
    ignored: tuple[str, ...] = Field((), description="Those of them that fail or waver on gold all the same.")

    @model_validator(mode="after")
    def _states_tell_something(self) -> WrittenTestsSpec:
        roles = [state.role for state in self.states]
        if roles.count("base") != 1 or "gold" not in roles or "mutant" not in roles:
            raise ValueError("tests to write need one base state, a gold state and at least one mutant")
        if len({state.name for state in self.states}) != len(roles):
            raise ValueError("two states have one name")
        return self

    @property
    def grading_seconds(self) -> float:
        """How long one grading can take."""
        return len(self.states) * (self.state_seconds + 120)

    def to_json(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


def files(spec: WrittenTestsSpec, patches: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    return {
        SPEC: spec.to_json(),
        "tests/test.sh": TEST_SH,
        "tests/swe_test.py": INSIDE.read_bytes(),
        **{f"tests/states/{name}": patch for name, patch in patches.items()},
    }


def read(bundle: Path) -> WrittenTestsSpec:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return WrittenTestsSpec.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise FactoryError(f"{bundle} is no task of writing tests: {error}.") from error


class TestWritingVerifier:
    """Grades tests by running the bundle; see the module."""

    __test__ = False

    def __init__(
        self, image_for: ImageFor, *, limits: Limits | None = None, runtime: str | None = None
    ) -> None:
        self.tests = TestsVerifier(image_for, limits=limits, runtime=runtime)

    async def grade(
        self, bundle: Path, submission: Submission, sandboxes: SandboxBackend, haste: Haste | None = None
    ) -> Verdict:
        """Raises FactoryError for a bundle that was changed or is of another kind."""
        read(bundle)
        return await self.tests.grade(bundle, submission, sandboxes, haste)
