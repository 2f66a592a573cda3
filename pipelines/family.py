"""The contract every family keeps: mine → build → compose → validate, over records and a sandbox backend.

A family knows how its tasks are made; the factory (`pipelines.factory`) knows how work is scheduled, recorded
and resumed. A step returns `Done` with the value the next step takes and the records to store, or `Rejected`
with a reason code. It raises `SandboxError` for infrastructure (the item is retried) and `FactoryError` for
what the user can mend. What follows is the same for every family: certify (`pipelines.certify`) and publish
(`pipelines.publish`), over the evidence that the family brings. Families register under the entry-point group
`verifactory.families`; a new family changes no command-line code. `tests/pipelines/test_family_contract.py`
is the test suite each of them must pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel

from envs.sandbox import SandboxBackend
from verifiers.integrity.trials import Trial
from verifiers.problems import Problem
from verifiers.verdict import Haste, Submission, Verifier
from warehouse.errors import FactoryError
from warehouse.records import Candidate, Record, Source, Task
from warehouse.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Done(Generic[T]):
    """A step that succeeded."""

    value: T
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A step that ended the item, for a reason with a stable code: `no_fail_to_pass`, `license_unknown`, …"""

    reason: str
    detail: str = ""
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Mined:
    """One candidate as mined. `change` is the family's own payload; a rejected candidate carries None."""

    source: Source
    candidate: Candidate
    change: Any = None


@dataclass(frozen=True)
class Control:
    """A submission whose reward is known beforehand."""

    name: str
    submission: Submission
    expected: float
    haste: Haste | None = None
    """For submissions of which nothing but the reward is asked."""


@dataclass(frozen=True)
class Attempts:
    """What is tried on a bundle for its certificate: submissions that must not be paid."""

    trials: tuple[Trial, ...]
    inapplicable: Mapping[str, str]
    """Cheats of the catalogue that the bundle gives no hold, and why."""


@dataclass(frozen=True)
class Context:
    """What every step is given besides its item."""

    settings: Settings
    sandboxes: SandboxBackend
    run_id: str
    workdir: Path


class Family(Protocol):
    """One way of making tasks."""

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """What a user may set, with `limit: int | None` and `identity()`; extra keys are forbidden."""

    def inputs(self, options: Any) -> list[str]:
        """What will be mined, one shard each: package names, repository paths, …"""
        ...

    def mine(self, source: str, options: Any, settings: Settings) -> Iterator[Mined]:
        """Pure reading, newest change first. Bad input raises FactoryError."""
        ...

    async def build(self, mined: Mined, context: Context) -> Done[Any] | Rejected: ...

    async def compose(self, built: Any, context: Context) -> Done[Any] | Rejected: ...

    async def validate(self, draft: Any, context: Context) -> Done[Task] | Rejected: ...

    def verifier(self, settings: Settings) -> Verifier:
        """What grades this family's bundles."""
        ...

    def controls(self, bundle: Path) -> list[Control]:
        """At least gold (expected 1) and nop (expected 0), from the bundle itself."""
        ...

    def partial(self, bundle: Path) -> Submission | None:
        """A part of the gold solution, which should not earn the whole reward; None where there is none."""
        ...

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        """What reading the bundle finds (`verifactory tasks lint`); nothing of it is run."""
        ...

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        """What of the answer lies in the environment that an agent is given."""
        ...

    def attempts(self, bundle: Path) -> Attempts:
        """The cheats of the catalogue that concern this bundle."""
        ...


def families() -> dict[str, type[Family]]:
    """Installed families by name."""
    return {entry.name: entry.load() for entry in entry_points(group="verifactory.families")}


def family(name: str) -> Family:
    """The family called `name`."""
    known = families()
    if name not in known:
        raise FactoryError(f"There is no family called {name!r}; installed are: {', '.join(sorted(known))}.")
    return known[name]()
