"""The scaffolds that ship: calls of tools, commands in prose, and a planner before a worker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from envs.agents.attempt import Desk
from envs.agents.context import Conversation
from envs.model import Call, Reply, Tool, parsed, tool_message

FENCED = re.compile(r"```(?:bash|sh)?[ \t]*\n(.*?)\n?```", re.S)
CUT = "Your answer was cut off at its limit of tokens: think less, or do it in smaller steps. "
WORKER = (
    "You are a software engineer at work in a container. Read the code that matters, change it so that it "
    "does what is asked, and check what you did by running it. There is no network. "
)
PLANNER = (
    "You are a software engineer who plans a change that a colleague will make. Read the code, run what "
    "helps you to understand it, change nothing, and hand in a plan: which files, which functions, what to "
    "do in each, how to check it. "
)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Bash(_Arguments):
    command: str = Field(min_length=1, description="Run by bash in the project's folder.")


class Edit(_Arguments):
    path: str = Field(min_length=1, description="File, absolute or below the project's folder.")
    old: str = Field(description="Text to replace, which is in the file once; empty to make the file.")
    new: str = Field(description="What to put there.")


class Submit(_Arguments):
    pass


class Plan(_Arguments):
    plan: str = Field(min_length=1, description="The plan, for a colleague who has seen nothing.")


BASH = Tool("bash", "Run a command; it says what it printed and how it ended.", Bash)
EDIT = Tool("edit", "Replace text in a file, or make one.", Edit)
SUBMIT = Tool("submit", "Hand in what is in the project's folder. Nothing can be done after it.", Submit)
PLAN = Tool("plan", "Hand in the plan.", Plan)


class ToolCalling:
    """Tools `bash`, `edit` and `submit`, called as the endpoint's protocol has it; thinking is kept."""

    name: ClassVar[str] = "tools"

    async def work(self, desk: Desk) -> None:
        talk = desk.open(
            {"role": "system", "content": f"{WORKER}Call `submit` when you are done."},
            {"role": "user", "content": desk.instruction},
        )
        await called(desk, talk, (BASH, EDIT, SUBMIT), last="submit")


class ShellBlocks:
    """One fenced command in each answer, for models that call no tools; `submit` alone hands in."""

    name: ClassVar[str] = "shell"

    async def work(self, desk: Desk) -> None:
        talk = desk.open(
            {
                "role": "system",
                "content": f"{WORKER}Answer with a thought and exactly one command, in a block that starts "
                "with ```bash and ends with ```. You are told what it printed. When you are done, give the "
                "command `submit` alone.",
            },
            {"role": "user", "content": desk.instruction},
        )
        while True:
            reply = await desk.turn(talk)
            blocks = FENCED.findall(reply.text)
            if len(blocks) != 1 or not blocks[0].strip():
                found = (
                    f"Your answer holds {len(blocks)} blocks; give exactly one command in a ```bash block."
                )
                talk.say({"role": "user", "content": (CUT if reply.cut else "") + found})
                desk.judged(useful=False)
                continue
            if blocks[0].strip() == "submit":
                return
            talk.say({"role": "user", "content": await desk.run(blocks[0])})
            desk.judged(useful=True)


class PlannerAndWorker:
    """A planner reads and hands in a plan; a worker, who sees nothing else of it, makes the change."""

    name: ClassVar[str] = "plan"

    async def work(self, desk: Desk) -> None:
        asked = {"role": "user", "content": desk.instruction}
        talk = desk.open({"role": "system", "content": f"{PLANNER}Call `plan` when you are done."}, asked)
        made = await called(desk, talk, (BASH, PLAN), last="plan")
        assert isinstance(made, Plan)
        talk = desk.open(
            {"role": "system", "content": f"{WORKER}Call `submit` when you are done."},
            asked,
            {"role": "user", "content": f"A colleague has looked at the code and proposes:\n\n{made.plan}"},
        )
        await called(desk, talk, (BASH, EDIT, SUBMIT), last="submit")


async def called(desk: Desk, talk: Conversation, tools: Sequence[Tool], *, last: str) -> BaseModel:
    """Turns until the tool `last` is called as it should be; its arguments."""
    names = ", ".join(f"`{tool.name}`" for tool in tools)
    while True:
        reply = await desk.turn(talk, tools)
        ending, useful = await _answered(desk, talk, reply, tools, last)
        if ending is not None:
            return ending
        if not reply.calls:
            talk.say(
                {"role": "user", "content": f"{CUT if reply.cut else ''}Go on by calling a tool: {names}."}
            )
        desk.judged(useful)


async def _answered(
    desk: Desk, talk: Conversation, reply: Reply, tools: Sequence[Tool], last: str
) -> tuple[BaseModel | None, bool]:
    """Does what a turn asks for; what ended the conversation, and whether the turn was of use."""
    ending, useful = None, False
    for call in reply.calls:
        arguments, fault = _arguments(call, tools)
        if ending is not None:
            said = "Not done: you have handed in."
        elif arguments is None:
            said = fault
        elif call.name == last:
            ending, said = arguments, "Done."
        else:
            said, useful = await _done(desk, arguments), True
        talk.say(tool_message(call, said))
    return ending, useful


def _arguments(call: Call, tools: Sequence[Tool]) -> tuple[BaseModel | None, str]:
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        return None, f"There is no tool {call.name[:60]!r}; there are: {', '.join(t.name for t in tools)}."
    return parsed(call.arguments, tool.arguments)


async def _done(desk: Desk, arguments: BaseModel) -> str:
    match arguments:
        case Bash(command=command):
            return await desk.run(command)
        case Edit(path=path, old=old, new=new):
            return await desk.workspace.edit(path, old, new)
    raise AssertionError(arguments)
