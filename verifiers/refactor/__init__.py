"""Verification of changes that must improve structure and keep behaviour.

A bundle of this kind carries targets beside the suite's own supervisor: measures of the source, read from its
syntax trees, that the base does not meet and upstream's change does. The instruction states every one of
them. A submission is paid when it meets all of them and every test is maintained. `inside/` does this in the
container, before anything of the submission has run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from verifiers.refactor.inside.structure import RULES
from verifiers.tests.bundle import load
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside"
SPEC = "tests/refactor.json"
PARSE_SECONDS = 300.0  # copying and parsing, at the most

TEST_SH = b"""\
#!/bin/sh
# Grades /submission.patch against the tree as the image has it or, without one, the tree as it stands:
# structure, then tests. The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/refactor.py /submission.patch
fi
exec /usr/bin/python3 -I /tests/refactor.py
"""

# What the instruction says of a target, by its rule.
SENTENCES = {
    "complexity": "The cyclomatic complexity of `{name}` in `{path}`, now {base}, must be at most {most}.",
    "length": "`{name}` in `{path}`, now {base} statements long, must have at most {most}.",
    "worst_complexity": "No function in the files of {folders} may have a cyclomatic complexity above "
    "{most}.",
    "duplication": "Repeated code in the files of {folders}, now {base} syntax nodes in compound statements "
    "that stand there more than once, must come down to at most {most}.",
    "absent": "`{name}` must not be defined in `{path}` any more.",
    "present": "`{name}` must be defined in `{path}`.",
    "imports": "No source file may import `{name}` any more ({base} do).",
    "uses": "`{name}`, which the source names {base} times, must not be named any more.",
    "evaluated": "Code may not go into strings or out of the source tree (`exec`, `eval` and their like).",
}
assert SENTENCES.keys() == RULES.keys()


class Target(BaseModel):
    """A measure and the most that it may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal[
        "complexity", "length", "worst_complexity", "duplication", "absent", "present", "imports", "uses",
        "evaluated",
    ]  # fmt: skip
    name: str = Field("", description="Qualified name of a function or class, or a module.")
    path: str = Field("", description="File that it is taken of.")
    folders: tuple[str, ...] = Field((), description="Folders whose files it is taken of; '' is the root.")
    most: int = Field(ge=0)
    base: int | None = Field(None, description="What the base has; told to the solver.")

    def sentence(self) -> str:
        folders = ", ".join(f"`{folder or '.'}`" for folder in self.folders)
        return SENTENCES[self.rule].format(
            name=self.name, path=self.path, folders=folders, most=self.most, base=self.base
        )


class RefactorSpec(BaseModel):
    """`tests/refactor.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(1, alias="schema")
    targets: tuple[Target, ...] = Field(min_length=1)
    suffixes: tuple[str, ...] = Field((".py",), description="Of files of source.")
    unreadable: tuple[str, ...] = Field(
        (), description="Files that do not parse in the base either; one more, and no target is met."
    )
    suite_seconds: float = Field(600, gt=0, description="Limit of the tests.")

    @property
    def grading_seconds(self) -> float:
        """How long one grading can take: what `TestSpec.suite_seconds` of such a bundle is."""
        return self.suite_seconds + PARSE_SECONDS

    def section(self) -> str:
        """What the instruction says of the targets."""
        lines = [f"- {target.sentence()}" for target in self.targets]
        return "\n".join(["## Structure", "", "Behaviour stays as it is. All of this must hold:", "", *lines])

    def to_json(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


def files(spec: RefactorSpec) -> dict[str, bytes]:
    """What a bundle of this kind holds besides what every bundle does, by path."""
    return {
        SPEC: spec.to_json(),
        "tests/test.sh": TEST_SH,
        "tests/refactor.py": (INSIDE / "refactor.py").read_bytes(),
        "tests/structure.py": (INSIDE / "structure.py").read_bytes(),
    }


def read(bundle: Path) -> RefactorSpec:
    """The spec of an intact bundle. Raises FactoryError for any other."""
    load(bundle)
    try:
        return RefactorSpec.model_validate_json((bundle / SPEC).read_bytes())
    except (OSError, ValidationError, json.JSONDecodeError) as error:
        raise FactoryError(f"{bundle} is no task of changing structure: {error}.") from error
