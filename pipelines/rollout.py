"""Attempts at tasks by an agent, each graded by the task's own verifier and kept as a trajectory.

The agent works in a sandbox of the task's image without network; the model is spoken to from here, or, by an
agent of others, at the attempt's own session and nowhere else. What it left becomes a patch against the
project as imaged, made from objects, and is graded in fresh sandboxes as any submission is. An attempt that
infrastructure broke leaves no record and is made again by the same command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from envs.agents.atif import document
from envs.agents.attempt import (
    Attempt,
    Budget,
    Desk,
    Ending,
    agent,
    agents,
    attempt,
    require_context,
)
from envs.agents.blackbox import Layers, Recipe, recipe, recipes, work
from envs.agents.door import Door
from envs.agents.workspace import Workspace, ignored_by
from envs.docker.backend import DockerBackend
from envs.model import Model
from envs.sandbox import Changed, ContentRefused, Network, SandboxBackend, SandboxError, SandboxSpec
from pipelines.blackbox import Others, recorded, relayed
from pipelines.bundles import project, verified_bundle
from pipelines.family import family
from pipelines.swe.compose import limits
from pipelines.swe.image import bundle_image
from pipelines.swe.trees import EXECUTABLE, FILE, LINK, Entry, ObjectStore
from pipelines.work_folder import work_folder
from verifiers.tests.bundle import Bundle
from verifiers.verdict import Submission, Verdict, VerdictKind
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.query import Reader
from warehouse.records import Task, Trajectory, content_id, to_json
from warehouse.settings import Settings

NO_MODEL = "A rollout needs a model: set VERIFACTORY_MODEL_BASE_URL and VERIFACTORY_MODEL_NAME."


class RolloutOptions(BaseModel):
    """Who attempts, how often, and what an attempt may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: str = Field(
        "tools", description="Scaffold: tools, shell, plan, or one that is installed; or the recipe of an "
        "agent of others: mini-swe-agent, or a file *.toml.",
    )  # fmt: skip
    agent_command: str = Field("", description="Instead: a command in the task's container.")
    context: str = Field(
        "whole", description="What is shown of a long conversation: whole, sliding-window, "
        "discard-tool-results or summary.",
    )  # fmt: skip
    samples: int = Field(1, ge=1, description="Attempts at each task.")
    budget: Budget = Field(default_factory=Budget, description="What an attempt may take.")
    again: str = Field("", description="A label that makes this a new run instead of resuming the last.")

    def others(self) -> Recipe | None:
        """Of an agent of others; None: it is a scaffold. Raises FactoryError where there is none such."""
        if not self.agent_command and self.agent in agents():
            return None
        found = recipe(self.agent, self.agent_command)
        if found is None:
            known = ", ".join(sorted({*agents(), *recipes()}))
            raise FactoryError(
                f"There is no agent called {self.agent!r}; there are: {known}, and recipes in files *.toml."
            )
        return found


@dataclass(frozen=True)
class Job:
    """One attempt to be made."""

    task: Task
    sample: int
    trajectory_id: str
    run_id: str


Told = Callable[[Job, Trajectory | None, str], None]
"""Called as an attempt ends: its trajectory, or None and what broke it."""


async def rollout(
    settings: Settings, tasks: list[Task], options: RolloutOptions, told: Told
) -> list[Trajectory]:
    """Makes the attempts that are not in the warehouse yet; those of this run, old and new.

    Raises FactoryError without a model, or for a bundle that is not the one that was validated.
    """
    if (model := Model.of(settings)) is None:
        raise FactoryError(NO_MODEL)
    require_context(options.context)
    foreign = options.others()
    bundles = {task.task_id: verified_bundle(settings, task) for task in tasks}
    asked = options.model_dump(mode="json", exclude={"samples"} if foreign else {"samples", "agent_command"})
    how = [foreign.model_dump(mode="json")] if foreign else []  # another recipe is another agent
    run_id = f"rollout-{content_id(asked, model.name, *how)[:12]}"
    jobs = [
        Job(task, sample, content_id(run_id, task.task_id, sample), run_id)
        for sample in range(options.samples)
        for task in tasks
    ]
    await asyncio.to_thread(load, settings)  # also what a killed run left, and tables that are new
    made = _made(settings, jobs)
    gate, backend = asyncio.Semaphore(settings.parallel), DockerBackend(settings)

    async def one(job: Job, room: Room) -> None:
        async with gate:
            try:
                trajectory = await room.attempt(job)
            except SandboxError as error:
                told(job, None, str(error))
                return
        with Outbox(settings) as outbox:
            outbox.append([trajectory])
        made[job.trajectory_id] = trajectory
        told(job, trajectory, "")

    try:
        with work_folder(settings) as folder:
            async with model, AsyncExitStack() as opened:
                store = ObjectStore.create(folder / "objects.git")
                others = None
                if foreign is not None:
                    sessions = await opened.enter_async_context(relayed(model, options.budget))
                    others = Others(foreign, Layers(backend, settings.build_seconds), sessions)
                room = Room(settings, backend, model, bundles, store, options, others)
                async with asyncio.TaskGroup() as group:
                    for job in jobs:
                        if job.trajectory_id not in made:
                            group.create_task(one(job, room))
    finally:
        await backend.close()
        await asyncio.to_thread(load, settings)
    return [made[job.trajectory_id] for job in jobs if job.trajectory_id in made]


@dataclass(frozen=True)
class Left:
    """An attempt, what it changed, why that cannot be taken, if so, and how often the model answered."""

    made: Attempt
    changes: Mapping[str, Changed]
    refused: str
    answers: int

    @property
    def worth(self) -> bool:
        """Whether what is there says something of the model's work."""
        unmade = self.made.ending is Ending.AGENT_FAILED and not self.answers
        return not self.refused and not unmade and self.made.ending is not Ending.MODEL_FAILED


@dataclass(frozen=True)
class Room:
    """What every attempt of a run shares."""

    settings: Settings
    sandboxes: SandboxBackend
    model: Model
    bundles: Mapping[str, Bundle]
    store: ObjectStore
    options: RolloutOptions
    others: Others | None = None
    """Whose agent it is, if not ours."""

    async def attempt(self, job: Job) -> Trajectory:
        """Raises SandboxError."""
        bundle = self.bundles[job.task.task_id]
        if self.others is None:
            left = await self._work(bundle, job.task)
        else:
            left = await self._work_of(self.others, bundle, job)
        made, refused = left.made, left.refused
        patch = b"" if refused else await asyncio.to_thread(self._patch, bundle, left.changes)
        verdict = await self._graded(bundle, job.task, patch) if left.worth else None
        return Trajectory(
            trajectory_id=job.trajectory_id,
            task_id=job.task.task_id,
            run_id=job.run_id,
            sample=job.sample,
            agent=made.agent,
            context=self.options.context,
            model=self.model.name,
            ending=made.ending,
            detail=self.model.redacted(made.detail),
            verdict=verdict.kind if verdict else "",
            reward=verdict.reward if verdict else 0.0 if refused else None,
            reason=verdict.reason if verdict else refused,
            turns=left.answers,
            tokens_read=made.usage.read,
            tokens_written=made.usage.written,
            cost_usd=made.usage.cost_usd,
            seconds=round(made.seconds, 3),
            patch=_text(patch),
            trajectory=to_json(document(made, session=job.trajectory_id, model=self.model.name)),
        )

    async def _work(self, bundle: Bundle, task: Task) -> Left:
        """A scaffold of ours at work."""
        image = await bundle_image(bundle, self.sandboxes, self.settings)
        sandbox = await self.sandboxes.start(self._spec(image.tag))
        try:
            workspace = Workspace(sandbox, bundle.spec.workdir)
            desk = Desk(task.instruction, self.model, workspace, self.options.budget, self.options.context)
            made = await attempt(agent(self.options.agent), desk)
            return await self._left(bundle, workspace, made, len(made.turns))
        finally:
            await sandbox.stop()

    async def _work_of(self, others: Others, bundle: Bundle, job: Job) -> Left:
        """An agent of others at work."""
        image = await bundle_image(bundle, self.sandboxes, self.settings)
        tag = await others.layers.image(others.recipe, image)
        budget, workdir = self.options.budget, bundle.spec.workdir
        async with others.opened(job.trajectory_id) as session, Door(session.url, budget.turns) as door:
            sandbox = await self.sandboxes.start(self._spec(tag, door.socket))
            try:
                ended = await work(
                    others.recipe, sandbox, workdir, job.task.instruction, self.model.name, budget, door
                )
                made = recorded(others.recipe.name, ended, session)
                return await self._left(bundle, Workspace(sandbox, workdir), made, door.answered)
            finally:
                await sandbox.stop()

    def _spec(self, image: str, service: Path | None = None) -> SandboxSpec:
        return SandboxSpec(
            image=image, network=Network.SERVICE if service else Network.NONE, service=service,
            limits=limits(self.settings), runtime=self.settings.runtime,
        )  # fmt: skip

    async def _left(self, bundle: Bundle, workspace: Workspace, made: Attempt, answers: int) -> Left:
        """What an attempt left, without what the project ignores. Raises SandboxError."""
        if made.ending is Ending.MODEL_FAILED and not answers:
            raise SandboxError(f"The model gave no answer: {made.detail}")
        base = await asyncio.to_thread(project, bundle.environment / "app.tar")
        texts = {
            path.removesuffix(".gitignore"): entry.data.decode("utf-8", "replace")
            for path, entry in base.items()
            if PurePosixPath(path).name == ".gitignore"
        }
        try:
            changes = await workspace.changes(ignored_by(texts, base.__contains__))
        except ContentRefused as error:
            return Left(made, {}, str(error), answers)
        return Left(made, changes, "", answers)

    def _patch(self, bundle: Bundle, changes: Mapping[str, Changed]) -> bytes:
        """The patch from the project as imaged to what the agent left."""
        files = project(bundle.environment / "app.tar")
        base = self.store.write_tree(files)
        entries: dict[str, Entry | None] = {}
        for path, change in changes.items():
            if change.data is None:  # of a folder, all that was in it
                entries |= {name: None for name in files if name == path or name.startswith(f"{path}/")}
            else:
                mode = LINK if change.link else EXECUTABLE if change.executable else FILE
                entries[path] = Entry(mode, change.data)
        return self.store.diff(base, self.store.replace(base, entries))

    async def _graded(self, bundle: Bundle, task: Task, patch: bytes) -> Verdict:
        verdict = (
            await family(task.family)
            .verifier(self.settings)
            .grade(bundle.path, Submission(patch=patch), self.sandboxes)
        )
        if verdict.kind is VerdictKind.INFRASTRUCTURE:
            raise SandboxError(f"What was left at task {task.task_id} could not be graded: {verdict.reason}")
        return verdict


def _made(settings: Settings, jobs: list[Job]) -> dict[str, Trajectory]:
    """Trajectories that are in the warehouse already."""
    columns = ", ".join(Trajectory.model_fields)
    found = Reader(settings).sql(
        f"SELECT {columns} FROM trajectories WHERE run_id = $run", {"run": jobs[0].run_id if jobs else ""}
    )
    rows = [Trajectory.model_validate(dict(zip(found.columns, row, strict=True))) for row in found.rows]
    wanted = {job.trajectory_id for job in jobs}
    return {row.trajectory_id: row for row in rows if row.trajectory_id in wanted}


def _text(patch: bytes) -> str:
    try:
        return patch.decode()
    except UnicodeDecodeError:
        return ""
