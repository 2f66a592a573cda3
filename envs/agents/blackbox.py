"""Agents of others, unmodified: a command in the task's container whose model is at the attempt's session.

A recipe says how the agent comes into an image on top of the task's own, which command starts it and which
variables it reads; recipes that ship are files in `recipes/`. The agent runs as the user `agent` in the
project's folder, reaches its session (`Door`) and nothing else, and what it leaves is read as any attempt's.
A time limit ends it with all that it started.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from envs.agents.attempt import Budget, Ending
from envs.agents.door import BUDGET, Door
from envs.agents.workspace import HOME, USER
from envs.builder import INFRASTRUCTURE, classify
from envs.languages import Broken
from envs.outputs import printed, shortened
from envs.sandbox import (
    SERVICE_URL,
    BuildError,
    BuiltImage,
    ExecResult,
    Network,
    Outcome,
    Sandbox,
    SandboxBackend,
    SandboxError,
)
from warehouse.errors import FactoryError
from warehouse.records import content_id

RECIPES = Path(__file__).with_name("recipes")
INSTRUCTION = "/instruction.md"
COMMAND = "command"  # the name of an agent that is a command and nothing more
DETAIL_CHARACTERS = 2_000
PLACES = {
    "instruction_file": INSTRUCTION,
    "base_url": f"{SERVICE_URL}/v1",
    "root_url": SERVICE_URL,
}
# What SDKs read by themselves. No key is needed, but most want one.
SDK = {
    "OPENAI_BASE_URL": PLACES["base_url"], "OPENAI_API_BASE": PLACES["base_url"], "OPENAI_API_KEY": "none",
    "ANTHROPIC_BASE_URL": SERVICE_URL, "ANTHROPIC_API_KEY": "none",
    "GOOGLE_GEMINI_BASE_URL": SERVICE_URL, "GEMINI_API_KEY": "none",
}  # fmt: skip
NAMES = ("instruction_file", "base_url", "root_url", "model", "workdir")
_PLACE = re.compile(r"\{(" + "|".join(NAMES) + r")\}")
_CONTEXT = "context_length_exceeded"


class Recipe(BaseModel):
    """How one agent is installed and started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="What trajectories call it; of a file, its name.")
    about: str = Field("", description="For people.")
    install: str = Field(
        "", description="Instructions of a Dockerfile, run as root on top of the task's image, which reach "
        "the package registries; COPY --from=IMAGE takes an agent out of an image of its own.",
    )  # fmt: skip
    command: str = Field(
        min_length=1,
        description=f"Run by bash in the project's folder. Filled in, in braces: {', '.join(NAMES)}.",
    )  # fmt: skip
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables, beside those that SDKs read; the same is filled in."
    )

    @field_validator("install")
    @classmethod
    def _on_top(cls, text: str) -> str:
        if re.search(r"^\s*FROM\b", text, re.I | re.M):
            raise ValueError("it goes on top of the task's image and has no FROM; use COPY --from=IMAGE")
        return text

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe from a TOML file. Raises FactoryError."""
        try:
            return cls.model_validate({**tomllib.loads(path.read_text("utf-8")), "name": path.stem})
        except OSError as error:
            raise FactoryError(
                f"The agent's recipe {path} cannot be read: {error.strerror}; name a file."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FactoryError(f"The agent's recipe {path} is not valid TOML: {error}.") from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise FactoryError(
                f"The agent's recipe {path} does not fit at {where}: {fault['msg']}."
            ) from error

    def line(self, model: str, workdir: str) -> str:
        """The command line, ready for bash."""
        return _filled(self.command, model, workdir, quote=True)

    def variables(self, model: str, workdir: str) -> dict[str, str]:
        """Its environment."""
        own = {name: _filled(value, model, workdir, quote=False) for name, value in self.env.items()}
        return {"HOME": HOME, **SDK, **own}


def _filled(text: str, model: str, workdir: str, *, quote: bool) -> str:
    values = {**PLACES, "model": model, "workdir": workdir}
    return _PLACE.sub(lambda m: shlex.quote(values[m[1]]) if quote else values[m[1]], text)


def recipes() -> dict[str, Path]:
    """Those that ship, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.toml"))}


def recipe(agent: str, command: str = "") -> Recipe | None:
    """The recipe of an agent: of a command, of a file `*.toml`, or one that ships; None: it is no such agent.

    Raises FactoryError.
    """
    if command:
        return Recipe(name=COMMAND, command=command)
    path = Path(agent) if agent.endswith(".toml") else recipes().get(agent)
    return None if path is None else Recipe.read(path)


@dataclass
class Layers:
    """Images of tasks with an agent on top, each made once."""

    backend: SandboxBackend
    seconds: float
    """Time limit of one build."""
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def image(self, made: Recipe, below: BuiltImage) -> str:
        """The tag. Raises FactoryError where the recipe is at fault, SandboxError for infrastructure."""
        if not made.install.strip():
            return below.tag
        dockerfile = f"FROM {below.tag}\nUSER root\n{made.install}"
        tag = f"verifactory/agent:{content_id(made.install, below.digest)}"  # whatever the image is called
        async with self._locks[tag]:
            if not await self.backend.digest(tag):
                await self._build(made, dockerfile, tag, below.tag)
        return tag

    async def _build(self, made: Recipe, dockerfile: str, tag: str, below: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "Dockerfile").write_text(dockerfile, "utf-8")
            try:
                await self.backend.build(
                    Path(folder), tag=tag, network=Network.ALLOWLIST, timeout=self.seconds
                )
            except BuildError as error:
                log = f"{error.log}\n{error}"
                where = "The installation failed" if classify(Broken("build", log)) in INFRASTRUCTURE else ""
                said = f"{where or 'The recipe does not build'} of agent {made.name} on {below}: {error}"
                raise (SandboxError if where else FactoryError)(
                    f"{said}; its log ends: {log[-800:]}"
                ) from error


@dataclass(frozen=True)
class Ended:
    """How an agent of others ended."""

    ending: Ending
    detail: str
    seconds: float


async def work(
    made: Recipe, sandbox: Sandbox, workdir: str, instruction: str, model: str, budget: Budget, door: Door
) -> Ended:
    """Lets the agent work until it ends, or its time is over. Raises SandboxError."""
    await sandbox.upload({INSTRUCTION: instruction.encode()})
    ended = await sandbox.exec(
        ["bash", "-c", made.line(model, workdir)],
        timeout=budget.minutes * 60, user=USER, workdir=workdir, env=made.variables(model, workdir),
    )  # fmt: skip
    ending = ending_of(ended, door)
    said = shortened(printed(ended), head=0, tail=DETAIL_CHARACTERS)
    told = {
        Ending.AGENT_FAILED: f"exit status {ended.exit_code} ({ended.outcome}): {said}",
        Ending.MODEL_FAILED: f"{door.fault}; the agent said: {said}",
    }
    return Ended(ending, told.get(ending, ""), ended.seconds)


def ending_of(ended: ExecResult, door: Door) -> Ending:
    """By what the session saw first: an agent that ends well after a refusal has not submitted."""
    if ended.outcome is Outcome.TIMEOUT:
        return Ending.MINUTES
    match door.fault:
        case "":
            return Ending.SUBMITTED if ended.ok else Ending.AGENT_FAILED
        case str(fault) if fault == BUDGET:
            return Ending.TURNS if door.answered >= door.turns else Ending.TOKENS
        case str(fault) if fault == _CONTEXT:
            return Ending.CONTEXT_FULL
        case "invalid_request" | "not_found":  # what it asked for was no request: its own doing
            return Ending.SUBMITTED if ended.ok else Ending.AGENT_FAILED
        case _:
            return Ending.MODEL_FAILED
