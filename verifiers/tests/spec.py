"""`tests/spec.json`: everything the supervisor in the container needs to know about one task's tests."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SCHEMA = 1


def _relative(path: str) -> str:
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or ".git" in pure.parts:
        raise ValueError(f"{path!r} must be a path inside the project, relative to its root")
    return path


RelativePath = Annotated[str, AfterValidator(_relative)]


class HiddenFile(BaseModel):
    """A test file that the submission's author does not see; its bytes lie at `tests/hidden/<path>`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    mode: Literal["100644", "100755", "120000"] = Field(description="As in a git tree; 120000 is a link.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Inversion(BaseModel):
    """A hidden test's assertion and what stands there when the test has to fail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: RelativePath
    tests: tuple[str, ...] = Field(description="Tests that were seen to fail with it, and with no other.")
    start: int = Field(ge=0, description="First byte that is replaced.")
    end: int = Field(ge=0, description="The byte after the last.")
    replacement: str


class TestSpec(BaseModel):
    """How one task's tests are run, and which of them decide its reward."""

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(SCHEMA, alias="schema")
    workdir: str = Field("/app", description="The project, a git repository with one commit.")
    runner: Literal["pytest", "unittest", "command", "own"] = Field(
        description="Of Python, with a reporter of ours in its process; a command that reports by itself; or "
        "none, in a bundle whose `tests/test.sh` grades what is no suite of tests."
    )
    python: str = Field(
        "", description="Interpreter that runs the tests; '' is the contract's, or none of a command."
    )
    options: tuple[str, ...] = Field((), description="Options of the runner, passed on as they are.")
    command: tuple[str, ...] = Field(
        (),
        description="Of the runner `command`, before `args`. `{out}` is a private folder, `{test_seconds}` "
        "and `{suite_seconds}` are the limits; what names `{seed}` is there in shuffled runs only.",
    )
    build: tuple[str, ...] = Field(
        (), description="Command before every run, as the test user; when it fails, no test ran."
    )
    report: str = Field(
        "", pattern=r"^[a-z0-9_]*$", description="`report_<name>.py` beside the supervisor, the parser."
    )
    report_files: tuple[str, ...] = Field(
        (), description="Globs of report files, below the project or with `{out}/` below that folder."
    )
    log_report: str = Field(
        "",
        pattern=r"^[a-z0-9_]*$",
        description="Parser of the log, asked when no report file was left and compared with them else.",
    )
    args: tuple[str, ...] = Field(
        (), description="Test files and folders; those that a state lacks are left out."
    )
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables for the tests, besides the fixed ones."
    )
    rebuild: tuple[str, ...] = Field(
        (), description="Command to run after a patch, as the test user; () for none."
    )
    test_seconds: float = Field(60, gt=0, description="Limit of one test.")
    collect_seconds: float = Field(180, gt=0, description="Limit of importing one test file.")
    suite_seconds: float = Field(600, gt=0, description="Limit of one whole run.")
    user: str = Field(
        "tester", description="Who runs the tests; '' runs them as the supervisor, for trusted suites."
    )
    hidden: tuple[HiddenFile, ...] = ()
    inversions: tuple[Inversion, ...] = Field(
        (),
        description="Of the runner `command`, whose tests the supervisor cannot invert by itself "
        "(verifiers/integrity/inversions.py).",
    )
    deleted: tuple[RelativePath, ...] = Field((), description="Test files that the gold change deletes.")
    protected: tuple[RelativePath, ...] = Field(
        (),
        description="Files, and folders ending in '/', that a submission cannot change.",
    )
    unprotected: tuple[RelativePath, ...] = Field(
        (),
        description="Files that steer tests but that the gold patch touches: submissions may, too.",
    )
    steering: str = Field(
        "",
        description="Pattern of further files that steer tests: what a submission adds of them is removed.",
    )
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    new: tuple[str, ...] = Field(
        (), description="Tests that did not exist, or could not be collected, before."
    )

    @model_validator(mode="before")
    @classmethod
    def _interpreter_by_contract(cls, values: Any) -> Any:
        """Python's runners have the interpreter of the environment contract unless another is named."""
        without = isinstance(values, dict) and values.get("runner") not in ("command", "own")
        if without and not values.get("python"):
            return values | {"python": "/opt/venv/bin/python"}
        return values

    @model_validator(mode="after")
    def _commands_report(self) -> TestSpec:
        if (self.runner == "command") != bool(self.command and self.report):
            raise ValueError("the runner `command`, and no other, needs `command` and `report`")
        return self

    @model_validator(mode="after")
    def _roles_are_disjoint(self) -> TestSpec:
        roles = (*self.fail_to_pass, *self.pass_to_pass, *self.new)
        if len(set(roles)) != len(roles):
            raise ValueError("a test id may stand in one of fail_to_pass, pass_to_pass and new, once")
        return self

    @property
    def limit_seconds(self) -> float:
        """How long one call of the supervisor can take: a rebuild counts against the suite."""
        return self.suite_seconds + 120

    def to_json(self) -> bytes:
        return (self.model_dump_json(by_alias=True, indent=1) + "\n").encode()


# Files that steer a test run (the supervisor keeps the same list for what a submission adds).
INFRASTRUCTURE = re.compile(
    r"(^|/)(conftest\.py|\.?pytest\.ini|\.?pytest\.toml|tox\.ini|setup\.cfg|pyproject\.toml"
    r"|sitecustomize\.py|usercustomize\.py)$"
)


def infrastructure(
    paths: set[str] | frozenset[str], touched_by_gold: set[str] | frozenset[str], steering: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(protected, unprotected) among the base tree's `paths`: what the gold patch touches stays open to
    submissions. `steering` is the toolchain's own pattern.
    """
    steering_paths = {
        path
        for path in paths | touched_by_gold
        if INFRASTRUCTURE.search(path) or (steering and re.search(steering, path))
    }
    return tuple(sorted(steering_paths - touched_by_gold)), tuple(sorted(steering_paths & touched_by_gold))
