"""The transform family: validated tasks become further tasks, each with its parent (`Task.parent`).

A source is a predicate over `task_overview` that chooses the parents; only tasks of upstream changes are
parents, so nothing is transformed twice. Each kind is a module with `mine`, `build`, `compose` and `validate`
of its own; all are graded by what their bundles carry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.family import Attempts, Context, Control, Done, Mined, Rejected
from pipelines.selection import select_tasks
from pipelines.transform.bug_injection import BugInjection
from pipelines.transform.code_review import CodeReview
from pipelines.transform.commit_merge import CommitMerge
from pipelines.transform.kind import FAMILY, Item, Kind, kind_name
from pipelines.transform.parent import load_parents
from pipelines.transform.verifier import TransformVerifier
from pipelines.transform.written_tests import WrittenTests
from verifiers.problems import Problem
from verifiers.tests.bundle import load
from verifiers.verdict import Submission, Verifier
from warehouse.errors import FactoryError
from warehouse.records import Task
from warehouse.settings import Settings

KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (BugInjection(), CommitMerge(), WrittenTests(), CodeReview())
}
PARENTS = "status IN ('validated', 'certified', 'published')"


class TransformOptions(BaseModel):
    """Make further tasks of validated ones: planted bugs, merged changes, tests to write, changes to review.

    Examples:

    verifactory run transform --where "status = 'validated'"

    verifactory run transform --kind bug_injection --where "repo = 'parse'" --variants 8
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str = Field(PARENTS, description="SQL predicate over task_overview that chooses the parents.")
    kind: tuple[str, ...] = Field(
        tuple(KINDS), description=f"What to make: {', '.join(KINDS)}; repeat for more, all by default."
    )
    variants: int = Field(5, ge=1, description="Planted bugs wanted per parent.")
    mutants: int = Field(24, ge=1, description="Mutants tried per parent, at most.")
    seed: int = Field(0, description="Another seed draws other mutants.")
    limit: int | None = Field(None, ge=1, description="Accepted candidates; none by default.")

    @field_validator("kind")
    @classmethod
    def _known_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(kinds) - set(KINDS):
            raise ValueError(f"there is no kind {', '.join(sorted(unknown))}; choose of {', '.join(KINDS)}")
        return kinds

    def identity(self) -> dict[str, Any]:
        """What makes a run another run."""
        return self.model_dump(mode="json", exclude={"where", "limit"})


class TransformFamily:
    """See `pipelines.family.Family`."""

    name: ClassVar[str] = FAMILY
    Options: ClassVar[type[BaseModel]] = TransformOptions

    def inputs(self, options: TransformOptions) -> list[str]:
        return [options.where]

    def mine(self, source: str, options: TransformOptions, settings: Settings) -> Iterator[Mined]:
        """What may be made of the chosen parents, newest parent first."""
        tasks = [task for task in select_tasks(settings, source) if task.family == "swe"]
        if not tasks:
            raise FactoryError(
                f"No upstream task matches {source!r}; transformed tasks are not transformed again."
            )
        tasks.sort(key=lambda task: (task.source_date, task.task_id), reverse=True)
        parents = load_parents(settings, tasks)
        for name in dict.fromkeys(options.kind):
            yield from KINDS[name].mine(parents, options)

    async def build(self, mined: Mined, context: Context) -> Done[Item] | Rejected:
        item: Item = mined.change
        return _item(item.kind, await item.kind.build(mined, item.value, context))

    async def compose(self, built: Item, context: Context) -> Done[Item] | Rejected:
        return _item(built.kind, await built.kind.compose(built.value, context))

    async def validate(self, draft: Item, context: Context) -> Done[Task] | Rejected:
        return await draft.kind.validate(draft.value, context)

    def verifier(self, settings: Settings) -> Verifier:
        return TransformVerifier(settings)

    def controls(self, bundle: Path) -> list[Control]:
        return _kind(bundle).controls(bundle)

    def partial(self, bundle: Path) -> Submission | None:
        return _kind(bundle).partial(bundle)

    def problems(self, bundle: Path, settings: Settings) -> tuple[Problem, ...]:
        return _kind(bundle).problems(bundle, settings)

    async def leaked(self, bundle: Path, context: Context) -> tuple[Problem, ...]:
        return await _kind(bundle).leaked(bundle, context)

    def attempts(self, bundle: Path) -> Attempts:
        return _kind(bundle).attempts(bundle)


def _item(kind: Kind, done: Done[Any] | Rejected) -> Done[Item] | Rejected:
    return Done(Item(kind, done.value), done.records) if isinstance(done, Done) else done


def _kind(bundle: Path) -> Kind:
    """The kind of an intact bundle. Raises FactoryError for one that was changed."""
    load(bundle)
    return KINDS[kind_name(bundle)]
