"""Verification of code reviews: findings are matched with defects by file and line.

The answer is a file `review.json` in the tree, `{"findings": [{"file": …, "line": …, "claim": …}, …]}`, so
the submission is a patch like any other. A finding matches a defect when it names its file and a line at most
`window` lines from it; one finding counts for one defect and one defect for one finding. The reward is the
harmonic mean of the share of findings that match (precision) and of defects that are found (recall), so that
flagging everything is worth little: how little, the length of the change says (`blanket`). The claims are
kept as evidence; whether one says the right thing about its line is not decided here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from envs.sandbox import Limits, SandboxBackend
from verifiers.tests.bundle import load
from verifiers.tests.grader import ImageFor, TestsVerifier
from verifiers.tests.spec import RelativePath
from verifiers.verdict import Haste, Submission, Verdict
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside" / "review.py"
SPEC = "tests/review.json"
CHANGE = "tests/change.patch"
ANSWER = "review.json"
WINDOW = 2

TEST_SH = b"""\
#!/bin/sh
# Grades the review that /submission.patch writes or, without one, the one in the tree as it stands.
# The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/review.py /submission.patch
fi
exec /usr/bin/python3 -I /tests/review.py
"""


class Defect(BaseModel):
    """Lines of the changed file that are wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    first: int = Field(ge=1)
    last: int = Field(ge=1)
    kind: str = Field(description="What is wrong, as a code.")
    tests: tuple[str, ...] = Field(
        (), description="Tests that fail because of it, as seen when it was planted."
    )


class ReviewSpec(BaseModel):
    """`tests/review.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(1, alias="schema")
    answer: RelativePath = ANSWER
    window: int = Field(WINDOW, ge=0, description="Lines that a finding may be off.")
    defects: tuple[Defect, ...] = Field(min_length=1)

    def to_json(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


def files(spec: ReviewSpec, change: bytes) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    return {
        SPEC: spec.to_json(),
        CHANGE: change,
        "tests/test.sh": TEST_SH,
        "tests/review.py": INSIDE.read_bytes(),
    }


def answer(findings: list[tuple[str, int, str]]) -> bytes:
    """The file that a reviewer writes."""
    listed = [{"file": path, "line": line, "claim": claim} for path, line, claim in findings]
    return (json.dumps({"findings": listed}, indent=1, ensure_ascii=True) + "\n").encode()


def blanket(lines: Mapping[str, set[int]], window: int) -> list[tuple[str, int, str]]:
    """The cheapest way to flag everything: findings so far apart that each line is near one of them.

    A task in which this earns much is none, so whoever makes tasks has to ask.
    """
    found: list[tuple[str, int, str]] = []
    for path in sorted(lines):
        covered = 0
        for line in sorted(lines[path]):
            if line > covered:
                found.append((path, line + window, "may be wrong"))
                covered = line + 2 * window
    return found


def read(bundle: Path) -> ReviewSpec:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return ReviewSpec.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError) as error:
        raise FactoryError(f"{bundle} is no task of reviewing a change: {error}.") from error


class ReviewVerifier:
    """Grades reviews by running the bundle; see the module."""

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
