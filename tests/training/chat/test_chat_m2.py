"""M2's chat format, to the character, and what is learnt of a conversation.

The expected texts are written by hand from the published template's rules. While this was built, 4 000 random
conversations were also rendered by a copy of the template itself: all were equal.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.chat.m2 import ASK, Segment, completion, render, samples, segments
from training.chat.messages import Message, Tool, ToolCall
from warehouse.errors import FactoryError

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a café, now.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Rain in "}, {"type": "text", "text": "Köln?"}]},
    {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "I must look.",
        "tool_calls": [
            {"function": {"name": "weather", "arguments": '{"place": "Köln", "days": 2, "units": null}'}},
            {"function": {"name": "radar", "arguments": {}}},
        ],
    },
    {"role": "tool", "content": "rain"},
    {"role": "tool", "content": "no echo"},
    {"role": "assistant", "content": "<think>\nRain, then.\n</think>\n\nYes."},
    {"role": "user", "content": "Tomorrow?"},
    {"role": "assistant", "content": "No.", "reasoning_content": "Two days were given."},
]
SYSTEM = """\
]~!b[]~b]system
Be brief.

# Tools
You may call one or more tools to assist with the user query.
Here are the tools available in JSONSchema format:

<tools>
<tool>{"name": "weather", "description": "The weather of a café, now.", "parameters": {"type": "object", \
"properties": {"place": {"type": "string"}}}}</tool>
</tools>

When making tool calls, use XML format to invoke tools and pass parameters:

<minimax:tool_call>
<invoke name="tool-name-1">
<parameter name="param-key-1">param-value-1</parameter>
<parameter name="param-key-2">param-value-2</parameter>
...
</invoke>
</minimax:tool_call>[e~[
"""
ASKED = "]~b]user\nRain in Köln?[e~[\n"
CALLS = """\
Let me see.
<minimax:tool_call>
<invoke name="weather">
<parameter name="place">Köln</parameter>
<parameter name="days">2</parameter>
<parameter name="units">null</parameter>
</invoke>
<invoke name="radar">
</invoke>
</minimax:tool_call>[e~["""
ANSWERS = "\n]~b]tool\n<response>rain</response>\n<response>no echo</response>[e~[\n"


def conversation() -> tuple[list[Message], list[Tool]]:
    return [Message.read(message) for message in TALK], [Tool.read(WEATHER)]


def text(parts: list[Segment]) -> str:
    return "".join(part.text for part in parts)


def test_reasoning_stays_within_a_tool_loop() -> None:
    messages, tools = conversation()
    assert render(messages[:5], tools, ask=True) == (
        SYSTEM + ASKED + "]~b]ai\n<think>\nI must look.\n</think>\n\n" + CALLS + ANSWERS + "]~b]ai\n<think>\n"
    )


def test_reasoning_is_dropped_by_the_next_user_message() -> None:
    messages, tools = conversation()
    assert render(messages[:7], tools, ask=True) == (
        SYSTEM
        + ASKED
        + "]~b]ai\n"
        + CALLS
        + ANSWERS
        + "]~b]ai\nYes.[e~[\n]~b]user\nTomorrow?[e~[\n]~b]ai\n<think>\n"
    )


def test_without_a_system_message_the_identity_stands() -> None:
    assert render([Message(role="user", content="Hi")]) == (
        "]~!b[]~b]system\nYou are a helpful assistant.[e~[\n]~b]user\nHi[e~[\n"
    )
    assert "]~b]system\nYou are Ada.[e~[" in render([], identity="You are Ada.")


def test_learnt_is_what_the_model_generated() -> None:
    messages, tools = conversation()
    first, second = samples(messages, tools)
    assert [s.text for s in first if s.learnt] == [
        "I must look.\n</think>\n\n" + CALLS,
        "Rain, then.\n</think>\n\nYes.[e~[",
    ]
    assert [s.text for s in second if s.learnt] == ["Two days were given.\n</think>\n\nNo.[e~["]
    assert text(first) == render(messages[:6], tools)
    assert text(second) == render(messages, tools)
    assert [s.message for s in second if s.learnt] == [7]


def test_the_newline_after_the_end_is_the_templates() -> None:
    messages, tools = conversation()
    for sample in samples(messages, tools):
        for part, after in pairwise(sample):
            if part.learnt:
                assert part.text.endswith("[e~[")
                assert (after.text, after.learnt) == ("\n", False)


def test_a_message_without_reasoning_has_no_think() -> None:
    messages = [Message(role="user", content="Hi"), Message(role="assistant", content="Ho")]
    assert render(messages).endswith("]~b]user\nHi[e~[\n]~b]ai\nHo[e~[\n")
    assert [s.text for s in segments(messages) if s.learnt] == ["Ho[e~["]


WORDS = st.text("aé <\n{", max_size=6)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), WORDS, st.lists(WORDS, max_size=2))
CALLED = st.builds(
    ToolCall, name=st.sampled_from("fgh"), arguments=st.dictionaries(WORDS, VALUES, max_size=2)
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """User turns of assistant messages, each followed by its tools' answers; every message has reasoning."""
    messages = [Message(role="system", content=draw(WORDS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 3))):
        messages += [Message(role="user", content=draw(WORDS)) for _ in range(draw(st.integers(1, 2)))]
        for _ in range(draw(st.integers(0, 3))):
            calls = tuple(draw(st.lists(CALLED, max_size=2)))
            messages.append(
                Message(role="assistant", content=draw(WORDS), reasoning=draw(WORDS) + "r", calls=calls)
            )
            messages += [Message(role="tool", content=draw(WORDS)) for _ in calls]
    return messages


@settings(max_examples=300)
@given(messages=conversations())
def test_each_message_is_learnt_once_after_what_the_model_was_asked_with(messages: list[Message]) -> None:
    learnt: list[int] = []
    for sample in samples(messages):
        before = ""
        for part in sample:
            if part.learnt:
                assert before == render(messages[: part.message], ask=True)
                assert part.text == completion(messages[part.message])
                learnt.append(part.message)
            before += part.text
    assert learnt == [n for n, message in enumerate(messages) if message.role == "assistant"]


@settings(max_examples=200)
@given(messages=conversations())
def test_the_text_is_append_only_until_the_user_speaks(messages: list[Message]) -> None:
    for n in range(1, len(messages)):
        if messages[n].role in ("assistant", "tool"):
            whole = render(messages[:n])
            if messages[n].role == messages[n - 1].role == "tool":
                whole = whole.removesuffix("[e~[\n")  # answers in a row share a block
            assert render(messages[: n + 1]).startswith(whole)


def test_a_new_user_message_is_a_branch() -> None:
    messages, tools = conversation()
    assert not render(messages[:7], tools).startswith(render(messages[:6], tools))
    assert ASK.startswith("]~b]ai\n")


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([{"role": "user"}, {"role": "tool", "content": "x"}], "no call stands before it"),
        (
            [{"role": "user"}, {"role": "assistant", "content": "a"}, {"role": "tool", "content": "x"}],
            "Message 2 is a tool's answer, but no call",
        ),
        ([{"role": "user"}, {"role": "system", "content": "x"}], "Message 1 is a system message"),
        ([{"role": "critic", "content": "x"}], "role 'critic'; the roles are system, user, assistant, tool"),
        ([{"role": "user", "content": 5}], "content is int"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "is not text"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "The arguments of a call of f are not JSON",
        ),
        ([{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}], "is not a name with"),
        ([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}], "is not a name with"),
    ],
)
def test_what_is_no_conversation_is_one_sentence(messages: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(FactoryError, match=sentence):
        render([Message.read(message) for message in messages])


def test_a_tool_needs_a_name() -> None:
    assert Tool.read({"name": "f"}).function == {"name": "f"}
    with pytest.raises(FactoryError, match="A tool has no name"):
        Tool.read({"type": "function", "function": {}})


def test_reasoning_comes_in_three_shapes() -> None:
    shapes: list[dict[str, Any]] = [
        {"content": "b", "reasoning_content": "a"},
        {"content": "b", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]},
        {"content": "<think>\na\n</think>\n\nb"},
    ]
    for shape in shapes:
        assert Message.read({"role": "assistant", **shape}) == Message(
            role="assistant", content="b", reasoning="a"
        )
