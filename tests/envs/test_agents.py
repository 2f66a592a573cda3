"""Context managers, over any conversation; and what of a workspace counts as left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.agents.context import (
    CONTEXTS,
    LEFT_OUT,
    Conversation,
    DiscardToolResults,
    SlidingWindow,
    Summary,
)
from envs.agents.workspace import ignored_by
from envs.model import Message

OPENING: list[Message] = [{"role": "system", "content": "s"}, {"role": "user", "content": "task"}]
# Each turn: how many tools it calls; 0 is an answer in prose, which is answered in prose.
TURNS = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=30)


async def summed_up(messages: Sequence[Message]) -> str:
    return f"{len(messages)} messages"


def take_turn(talk: Conversation, number: int, calls: int) -> None:
    ids = [f"{number}-{i}" for i in range(calls)]
    talk.say({"role": "assistant", "content": str(number), "tool_calls": [{"id": i} for i in ids]})
    if not calls:
        talk.say({"role": "user", "content": "go on"})
    talk.say(*({"role": "tool", "tool_call_id": i, "content": f"output {i}"} for i in ids))


def is_whole(messages: Sequence[Message]) -> bool:
    """Every call is answered next, and every answer has its call: what endpoints insist on."""
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                return False
            waiting.remove(message["tool_call_id"])
        elif waiting:
            return False
        else:
            waiting = {call["id"] for call in message.get("tool_calls", ())}
    return not waiting


@pytest.mark.parametrize("name", sorted(CONTEXTS))
@given(turns=TURNS)
def test_what_is_shown_is_whole_and_can_be_rebuilt(name: str, turns: list[tuple[int, float]]) -> None:
    talk, states = Conversation.of(OPENING), []
    for number, (calls, share) in enumerate(turns):
        asyncio.run(CONTEXTS[name]().manage(talk, share, summed_up))
        shown = talk.shown
        assert shown[:2] == OPENING
        assert is_whole(shown)
        states.append((talk.state, shown))
        take_turn(talk, number, calls)
    for state, shown in states:
        assert [talk.log[number] for number in state] == shown


def shown_after(manager: object, turns: int, share: float) -> list[Message]:
    talk = Conversation.of(OPENING)
    for number in range(turns):
        take_turn(talk, number, 1)
    asyncio.run(manager.manage(talk, share, summed_up))  # ty: ignore[unresolved-attribute]
    return talk.shown


def test_each_manager_does_what_it_is_called() -> None:
    outputs = [m["content"] for m in shown_after(DiscardToolResults(), 5, 0.4) if m["role"] == "tool"]
    assert outputs == [LEFT_OUT, LEFT_OUT, "output 2-0", "output 3-0", "output 4-0"]
    window = shown_after(SlidingWindow(keep=2), 5, 0.6)
    assert [m["content"] for m in window[2:]] == ["3", "output 3-0", "4", "output 4-0"]
    summary = shown_after(Summary(), 5, 0.7)
    assert len(summary) == 3
    assert summary[2]["content"].endswith("13 messages")  # the opening, 10, and what asks for it
    for manager in (DiscardToolResults(), SlidingWindow(), Summary()):
        assert len(shown_after(manager, 5, 0.1)) == 12  # below its limit, nothing changes


def test_only_what_nobody_ignores_is_left() -> None:
    rules = {"": "*.log\n/dist/\n!keep.log\n", "sub/": "local.txt\n"}
    ignored = ignored_by(rules, {"tracked.log", "dist/kept"}.__contains__)
    left = ["a.py", "keep.log", "tracked.log", "dist/kept", "local.txt", "other/dist/x"]
    out = ["a.log", "dist/x", "sub/local.txt", "a/__pycache__/b.pyc", ".git/index", "node_modules/m/i.js"]
    assert [path for path in left if ignored(path)] == []
    assert [path for path in out if not ignored(path)] == []
