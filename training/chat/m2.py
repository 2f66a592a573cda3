"""MiniMax-M2's chat format, to the character.

A conversation is a list of blocks `]~b]role⏎ … [e~[⏎`, the first of them always `system`, with the tools that
are offered. The model is asked with `]~b]ai⏎<think>⏎`: it always thinks first, and what it generates ends
with `[e~[`. The newline after that mark is the template's, not the model's.

**Reasoning is interleaved**: within the turn that a user's message opens, over any number of tool calls, all
of the assistant's reasoning stays in the context. The next user message drops it from every message before.
So the text of a longer conversation extends the shorter one's while only tools answer, and branches off when
the user speaks: what is to be learnt of such a conversation is one sample for each user message, which share
prefixes (`samples`), not one text with gaps.

Learnt is exactly what the model generates when it is asked: reasoning, `</think>`, content, calls and
`[e~[`. A message without reasoning is written without `<think>`, as the template writes it, although the
model is never asked that way; whether such messages are trained on is for whoever picks the data to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.chat.messages import Message, Tool, ToolCall
from warehouse.errors import FactoryError

BEGIN, BLOCK, END = "]~!b[", "]~b]", "[e~["
CALL, END_CALL = "<minimax:tool_call>", "</minimax:tool_call>"
ASK = f"{BLOCK}ai\n<think>\n"  # what the model goes on from
IDENTITY = "You are a helpful assistant."

# What the format says before and after the list of tools.
OFFER = (
    "\n\n# Tools\nYou may call one or more tools to assist with the user query.\n"
    "Here are the tools available in JSONSchema format:\n\n<tools>\n"
)
USAGE = (
    "</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n"
    f'\n{CALL}\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
    f'<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n{END_CALL}'
)


@dataclass(frozen=True)
class Segment:
    """A stretch of text that is learnt, or is not; `message` is the number of its message, -1 for none."""

    text: str
    learnt: bool
    message: int


def render(
    messages: Sequence[Message], tools: Sequence[Tool] = (), *, ask: bool = False, identity: str = IDENTITY
) -> str:
    """The text of a conversation; with `ask`, up to where the model goes on."""
    text = "".join(segment.text for segment in segments(messages, tools, identity=identity))
    return text + ASK if ask else text


def segments(
    messages: Sequence[Message], tools: Sequence[Tool] = (), *, identity: str = IDENTITY
) -> list[Segment]:
    """The text of a conversation in stretches. Learnt are the assistant's messages after the last user's.

    `identity` stands where there is no system message. Raises FactoryError where a tool answers no call, or a
    system message is not the first.
    """
    numbered = list(enumerate(messages))
    system = identity
    if numbered and numbered[0][1].role == "system":
        system = numbered.pop(0)[1].content or identity
    last_user = max((n for n, message in numbered if message.role == "user"), default=-1)
    out = [Segment(f"{BEGIN}{BLOCK}system\n{system}{_offer(tools)}{END}\n", False, -1)]
    called = False
    for n, message in numbered:
        if message.role == "assistant":
            out += _assistant(message, n, current=n > last_user)
            called = bool(message.calls)
        elif message.role == "tool":
            if not called:
                raise FactoryError(
                    f"Message {n} is a tool's answer, but no call stands before it; repair the conversation."
                )
            out.append(Segment(_answer(messages, n), False, n))
        elif message.role == "user":
            out.append(Segment(f"{BLOCK}user\n{message.content}{END}\n", False, n))
        else:
            raise FactoryError(
                f"Message {n} is a system message, but only the first may be one; give it another role."
            )
    return out


def samples(
    messages: Sequence[Message], tools: Sequence[Tool] = (), *, identity: str = IDENTITY
) -> list[list[Segment]]:
    """Every assistant message learnt once, in the context it was generated in: one sample a user turn."""
    ends = [n for n, m in enumerate(messages) if m.role == "user" and n and messages[n - 1].role != "user"]
    found = [segments(messages[:end], tools, identity=identity) for end in [*ends, len(messages)]]
    return [sample for sample in found if any(segment.learnt for segment in sample)]


def completion(message: Message) -> str:
    """What the model generates for `message` after `ASK`, its end mark included.

    The context that a message leaves behind (`segments`) is `ASK + completion` where it has reasoning.
    """
    return f"{message.reasoning}\n</think>\n\n{_said(message)}{END}"


def _assistant(message: Message, number: int, *, current: bool) -> list[Segment]:
    if current and message.reasoning:
        head, learnt = ASK, completion(message)
    else:
        head, learnt = f"{BLOCK}ai\n", f"{_said(message)}{END}"
    return [
        Segment(head, False, number),
        Segment(learnt, current, number),
        Segment("\n", False, number),
    ]


def _said(message: Message) -> str:
    if not message.calls:
        return message.content
    return f"{message.content}\n{CALL}\n{''.join(map(_invoke, message.calls))}{END_CALL}"


def _invoke(call: ToolCall) -> str:
    parameters = "".join(
        f'<parameter name="{key}">{value if isinstance(value, str) else compact(value)}</parameter>\n'
        for key, value in call.arguments.items()
    )
    return f'<invoke name="{call.name}">\n{parameters}</invoke>\n'


def _answer(messages: Sequence[Message], number: int) -> str:
    """A tool's answer; answers in a row share one block."""
    first = messages[number - 1].role != "tool"
    last = number + 1 == len(messages) or messages[number + 1].role != "tool"
    return (
        f"{BLOCK + 'tool' if first else ''}\n<response>{messages[number].content}</response>"
        f"{END + chr(10) if last else ''}"
    )


def _offer(tools: Sequence[Tool]) -> str:
    if not tools:
        return ""
    return OFFER + "".join(f"<tool>{compact(tool.function)}</tool>\n" for tool in tools) + USAGE


def compact(value: Any) -> str:
    """JSON as templates write it: characters as they are, keys in their order."""
    return json.dumps(value, ensure_ascii=False)
