"""The conversation: turns of the model, its tools, and the ways it can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from envs.languages import Broken, Recipe, Upstream
from envs.model import Call, Message, Model, ModelError, Reply, Tool, metered, parsed, tool_message
from envs.repair_loop.briefing import failure, opening, recipe_text
from envs.repair_loop.proposal import Proposal, form_of
from envs.repair_loop.shell import MOST_SECONDS, Shell
from envs.repair_loop.transcript import Transcript
from envs.sandbox import Sandbox
from warehouse.settings import Settings

RECIPES = 6  # that are built
WRONG_ANSWERS = 4  # in a row, until there is no use in going on
ARGUMENTS_SHOWN = 300
SUBMIT = "submit_recipe"

NO_TOOL = "Answer by calling one of the tools: shell, reset, submit_recipe or give_up."
CUT = "Your answer was cut off at its limit of tokens: think less, or do it in smaller steps. "

# Reasons of the model's transport → of a repair.
FROM_MODEL = {"model_context_full": "agent_budget", "model_invalid_answer": "agent_invalid_answer"}


class ShellArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    command: str = Field(min_length=1, description="For `sh -c`, in /app.")
    seconds: float = Field(120, gt=0, le=MOST_SECONDS, description="Time limit.")
    as_root: bool = Field(False, description="As root instead of `agent`.")


class ResetArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    suite: str = Field(
        "", pattern=r"^(bullseye|bookworm|trixie)?$", description="Another Debian suite; '' keeps it."
    )


class GiveUpArguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    why: str = Field(min_length=1, description="What cannot be had, in one sentence.")


@dataclass(frozen=True)
class Tried:
    """What became of a recipe built from scratch: the environment if a test was found, and what broke."""

    environment: Any
    broken: Broken | None
    works: bool


@dataclass(frozen=True)
class Job:
    """One environment to mend. `build` and `open` are the builder's own."""

    upstream: Upstream
    recipe: Recipe
    broken: Broken
    build: Callable[[Recipe], Awaitable[Tried]]
    open: Callable[[Recipe], Awaitable[Sandbox]]


@dataclass(frozen=True)
class Mended:
    """An environment that the ordinary builder made of the model's recipe."""

    environment: Any
    transcript: bytes
    proposal: Proposal | None = None
    """What was submitted for it, where it works as a whole."""


@dataclass(frozen=True)
class Unmended:
    """Why there is none: a code of `envs.builder.REASONS` and one line."""

    reason: str
    detail: str
    transcript: bytes


async def mend(job: Job, model: Model, settings: Settings) -> Mended | Unmended:
    """Let the model mend a recipe of a language that has a form for it.

    Raises SandboxError for infrastructure.
    """
    form = form_of(job.recipe)
    assert form is not None, job.recipe.language
    async with model:
        return await _Conversation(job, form, model, settings, Transcript(model.redacted)).run()


class _End(Exception):
    """The conversation is over, without an environment."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass
class _Conversation:
    job: Job
    form: type[Proposal]
    model: Model
    settings: Settings
    transcript: Transcript
    messages: list[Message] = field(default_factory=list)
    built: list[Recipe] = field(default_factory=list)
    partial: list[Any] = field(default_factory=list)
    """Environments that work, though a part of the suite could not be collected."""
    wrong: int = 0
    submitted: Proposal | None = None
    started: float = field(default_factory=time.monotonic)

    async def run(self) -> Mended | Unmended:
        shell = Shell(
            self.job.upstream.base,
            lambda suite: self.job.open(self.job.recipe.model_copy(update={"suite": suite})),
            self.job.recipe.suite,
            getattr(self.job.recipe, "env", {}),
        )
        limit = asyncio.timeout(self.settings.repair_minutes * 60)
        try:
            async with limit:
                return self._mended(await self._converse(shell))
        except _End as end:
            return self._ended(end.reason, str(end))
        except ModelError as error:
            return self._ended(FROM_MODEL.get(error.reason, error.reason), str(error))
        except TimeoutError:
            if not limit.expired():
                raise
            return self._ended("agent_budget", f"{self.settings.repair_minutes:g} minutes were over")
        finally:
            await shell.close()

    async def _converse(self, shell: Shell) -> Any:
        """The environment. Raises _End or ModelError where there is none."""
        settings = self.settings
        first = opening(
            self.job.upstream, self.job.recipe, self.job.broken,
            turns=settings.repair_turns, tokens=settings.repair_tokens, minutes=settings.repair_minutes,
        )  # fmt: skip
        self.transcript.add("model", name=self.model.name)
        self._say(*first)
        with metered() as usage:
            for _ in range(settings.repair_turns):
                if usage.tokens >= settings.repair_tokens:
                    raise _End("agent_budget", f"{usage.tokens} tokens were spent")
                reply = await self.model.say(self.messages, self._tools())
                self._say(reply.message)
                if environment := await self._answer(reply, shell):
                    return environment
        raise _End("agent_budget", f"{settings.repair_turns} turns were over")

    def _say(self, *messages: Message) -> None:
        for message in messages:
            self.messages.append(message)
            self.transcript.add("message", **message)

    def _tools(self) -> tuple[Tool, ...]:
        return (
            Tool("shell", "Run a command in the trial sandbox.", ShellArguments),
            Tool("reset", "Get a fresh trial sandbox, of another Debian suite if named.", ResetArguments),
            Tool(
                SUBMIT,
                "Build the failed recipe with these changes from scratch and run the suite. What is left out "
                "stays as in the recipe that you were given.",
                self.form,
            ),
            Tool("give_up", "End: the environment cannot be had.", GiveUpArguments),
        )

    async def _answer(self, reply: Reply, shell: Shell) -> Any:
        """Do what a turn asks for; the environment if that made one."""
        environment, useful = None, False
        for call in reply.calls:
            if environment is not None:
                self._say(tool_message(call, "Not done: the recipe before works."))
                continue
            said, used, environment = await self._call(call, shell)
            useful |= used
            self._say(tool_message(call, said))
        if not reply.calls:
            self._say({"role": "user", "content": (CUT if reply.cut else "") + NO_TOOL})
        self.wrong = 0 if useful else self.wrong + 1
        if environment is None and self.wrong >= WRONG_ANSWERS:
            last = " ".join((reply.text or (reply.calls[0].name if reply.calls else "nothing")).split())
            submitted = bool(reply.calls) and reply.calls[-1].name == SUBMIT
            reason = "agent_invalid_recipe" if submitted else "agent_invalid_answer"
            raise _End(reason, f"{self.wrong} answers in a row, the last: {last[:120]!r}")
        return environment

    async def _call(self, call: Call, shell: Shell) -> tuple[str, bool, Any]:
        """(what the tool says, whether the call was one, the environment)."""
        tool = next((tool for tool in self._tools() if tool.name == call.name), None)
        if tool is None:
            return f"There is no tool {call.name[:60]!r}. {NO_TOOL}", False, None
        arguments, fault = parsed(call.arguments, tool.arguments)
        match arguments:
            case None:
                return f"{fault} You sent: {call.arguments[:ARGUMENTS_SHOWN]}", False, None
            case ShellArguments(command=command, seconds=seconds, as_root=as_root):
                return await shell.run(command, seconds=seconds, as_root=as_root), True, None
            case ResetArguments(suite=suite):
                await shell.reset(suite or shell.suite)
                return f"The next command finds a fresh {shell.suite}.", True, None
            case GiveUpArguments(why=why):
                self.transcript.add("given_up", why=why)
                raise _End("agent_gave_up", " ".join(why.split())[:300])
            case Proposal():
                return await self._submit(arguments)
        raise AssertionError(call.name)

    async def _submit(self, proposal: Proposal) -> tuple[str, bool, Any]:
        try:
            recipe = proposal.applied(self.job.recipe, self.job.upstream)
        except ValueError as error:
            return f"Not a recipe: {error}", False, None
        if any(_same(recipe, had) for had in (self.job.recipe, *self.built)):
            return "That recipe was built before, and failed: change something.", False, None
        self.built.append(recipe)
        self.submitted = proposal
        self.transcript.add("built", recipe=recipe.model_dump(mode="json"))
        tried = await self.job.build(recipe)
        if tried.works:
            return "It works.", True, tried.environment
        assert tried.broken is not None
        if tried.environment is not None:
            self.partial.append(tried.environment)
        if len(self.built) >= RECIPES:
            raise _End(
                "agent_invalid_recipe", f"none of {RECIPES} works; the last broke at {tried.broken.stage}"
            )
        return f"{failure(tried.broken)}\n\nThe recipe was:\n{recipe_text(recipe)}", True, None

    def _mended(self, environment: Any) -> Mended:
        self.transcript.add("outcome", reason="", detail="mended")
        return Mended(environment, self.transcript.data, self.submitted)

    def _ended(self, reason: str, detail: str) -> Mended | Unmended:
        """Without a whole environment; the one that collects most is better than none."""
        self.transcript.add("outcome", reason=reason, detail=detail)
        if self.partial and reason != "model_unavailable":
            best = max(self.partial, key=lambda environment: environment.collected)
            return Mended(best, self.transcript.data)
        if reason == "agent_budget" and self.built:
            detail = f"{detail}; {len(self.built)} recipes did not work"
        return Unmended(reason, detail, self.transcript.data)


def _same(one: Recipe, other: Recipe) -> bool:
    return one.model_copy(update={"notes": ()}) == other.model_copy(update={"notes": ()})
