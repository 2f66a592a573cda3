"""The warehouse's tasks as prompts of an RL run: an agent works in the task's container, its verifier judges.

What `verifactory rollout` does for one model at one endpoint, at the address of a session instead. Attempts
that the engine or a sandbox broke are not the policy's, and are made again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import ClassVar

from envs.agents.attempt import Budget, require_context
from envs.agents.blackbox import Layers, Recipe
from envs.docker.backend import DockerBackend
from envs.model import Model
from envs.sandbox import SandboxError
from pipelines.blackbox import Others, given
from pipelines.bundles import verified_bundle
from pipelines.rollout import Job, RolloutOptions, Room
from pipelines.selection import select_tasks
from pipelines.swe.trees import ObjectStore
from pipelines.work_folder import work_folder
from training.forge.rl.domain import Judgement, Prompt, Unjudged
from verifiers.tests.bundle import Bundle
from warehouse.records import Task
from warehouse.settings import Settings


@dataclass
class WarehouseTasks:
    """The domain. `where` chooses among `task_overview`; the rest is as in `verifactory rollout`."""

    where: str = "status = 'published'"
    agent: str = "tools"
    agent_command: str = ""
    context: str = "whole"
    turns: int = 60
    tokens: int = 200_000
    minutes: float = 30
    answer_tokens: int = 4096
    name: ClassVar[str] = "tasks"
    _tasks: dict[str, Task] = field(default_factory=dict, repr=False)
    _bundles: dict[str, Bundle] = field(default_factory=dict, repr=False)
    _backend: DockerBackend | None = field(default=None, repr=False)
    _layers: Layers | None = field(default=None, repr=False)
    _store: ObjectStore | None = field(default=None, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def __post_init__(self) -> None:
        require_context(self.context)
        self._options = RolloutOptions(
            agent=self.agent, agent_command=self.agent_command, context=self.context,
            budget=Budget(turns=self.turns, tokens=self.tokens, minutes=self.minutes),
        )  # fmt: skip
        self._recipe: Recipe | None = self._options.others()
        self._settings = Settings()

    async def open(self) -> None:
        settings = self._settings
        self._tasks = {task.task_id: task for task in select_tasks(settings, self.where)}
        self._bundles = {name: verified_bundle(settings, task) for name, task in self._tasks.items()}
        folder = self._open.enter_context(work_folder(settings))
        self._store = ObjectStore.create(folder / "objects.git")
        self._backend = DockerBackend(settings)
        self._layers = Layers(self._backend, settings.build_seconds)

    async def close(self) -> None:
        if self._backend is not None:
            await self._backend.close()
        self._open.close()

    def prompts(self, seed: int) -> Iterator[Prompt]:
        """Every task once in an order of the seed's, then again in another."""
        rng, names = random.Random(seed), sorted(self._tasks)
        while True:
            rng.shuffle(names)
            yield from (Prompt(name) for name in names)

    async def attempt(self, key: str, url: str, attempt: str) -> Judgement:
        if key not in self._tasks:
            raise Unjudged(f"task {key} is no longer among those chosen")
        assert self._backend is not None
        assert self._store is not None
        asked = self._settings.model_copy(
            update={"model_base_url": url, "model_name": "policy", "model_tokens": self.answer_tokens}
        )
        async with Model(asked) as model:
            others = Others(self._recipe, self._layers, given(url)) if self._recipe and self._layers else None
            room = Room(asked, self._backend, model, self._bundles, self._store, self._options, others)
            try:
                made = await room.attempt(Job(self._tasks[key], 0, attempt, "rl"))
            except SandboxError as error:
                raise Unjudged(str(error)) from error
        if made.reward is None:
            raise Unjudged(f"{made.ending}: {made.detail}")
        return Judgement(made.reward, evidence=f"{made.ending}, {made.turns} turns, {made.verdict}")
