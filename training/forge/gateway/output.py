"""What the model wrote, read as it comes: reasoning, visible text, tool calls in M2's format.

The model goes on from `]~b]ai⏎<think>⏎`. `Reader.feed` takes text in pieces of any size and gives events that
an agent may be shown at once; held back is only what may still turn out to be a mark. A call is told when its
block is complete. A block that is not well formed is told as the text it is, and named in `Said.malformed`.

The events of any split of a text, joined, are those of the whole text (a property test).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from training.chat.m2 import CALL, END_CALL
from training.chat.messages import CLOSE, Message, Tool, ToolCall
from training.forge.gateway.ask import Called, Event, Reasoned, Said, Spoke
from training.forge.gateway.spelling import overlap
from training.process import INVOKE

_INVOKES = re.compile(rf"\n?(?:{INVOKE.pattern})+\n?", re.DOTALL)
_NAME = re.compile(r'<invoke name="([^"\n]+)">\n')
_PARAMETER = re.compile(r'<parameter name="([^"\n]+)">(.*?)</parameter>\n', re.DOTALL)


class Reader:
    """Reads one completion. `tools` say which parameters are text."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._types = {str(tool.function["name"]): _types(tool) for tool in tools}
        self._held = ""
        self._state = self._reasoning
        self._begun = False  # whether the present stretch of text has shown anything
        self._blank = ""  # newlines that are shown only if something follows
        self._reasoned: list[str] = []
        self._spoke: list[str] = []
        self._calls: list[Called] = []
        self._malformed: list[str] = []

    def feed(self, text: str) -> list[Event]:
        """The events that `text` completes."""
        self._held += text
        events: list[Event] = []
        while True:
            state = self._state
            events += self._note(state(last=False))
            if self._state == state:
                return events

    def end(self) -> list[Event]:
        """What was held back: nothing more will come."""
        events: list[Event] = []
        while True:
            state = self._state
            events += self._note(state(last=True))
            if self._state == state:
                return events

    def said(self) -> Said:
        """The whole message, as its events told it."""
        message = Message(
            role="assistant",
            content="".join(self._spoke),
            reasoning="".join(self._reasoned),
            calls=tuple(called.call for called in self._calls),
        )
        return Said(message, tuple(called.id for called in self._calls), tuple(self._malformed))

    def _note(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case Reasoned(text):
                    self._reasoned.append(text)
                case Spoke(text):
                    self._spoke.append(text)
                case Called():
                    self._calls.append(event)
            yield event

    def _reasoning(self, *, last: bool) -> list[Event]:
        text, found = self._until(CLOSE, last)
        if found:
            self._turn_to(self._content)
        return [Reasoned(text)] if text else []

    def _content(self, *, last: bool) -> list[Event]:
        text, found = self._until(CALL, last)
        if found:
            self._state = self._block
        return [Spoke(text)] if text else []

    def _block(self, *, last: bool) -> list[Event]:
        body, mark, rest = self._held.partition(END_CALL)
        if not mark and not last:
            return []
        self._held = rest if mark else ""
        calls = self._parsed(body) if mark else None
        self._state = self._content
        if calls is not None:
            self._begun, self._blank = bool(self._spoke), ""
            return [Called(f"call_{secrets.token_hex(12)}", call) for call in calls]
        self._malformed.append("a tool call is not well formed" if mark else "a tool call is not closed")
        raw = f"{self._blank}{CALL}{body}{mark}"
        self._blank, self._begun = "", True
        return [Spoke(raw)]

    def _turn_to(self, state: Any) -> None:
        self._state, self._begun, self._blank = state, False, ""

    def _until(self, mark: str, last: bool) -> tuple[str, bool]:
        """What may be shown of the text up to `mark`, without newlines around it."""
        before, found, rest = self._held.partition(mark)
        if found:
            self._held = rest
        else:
            keep = 0 if last else overlap(before, mark)
            before, self._held = before[: len(before) - keep], before[len(before) - keep :]
        before = self._blank + before
        if not self._begun:
            before = before.lstrip("\n")
        shown = before.rstrip("\n")
        self._blank = before[len(shown) :]
        self._begun = self._begun or bool(shown)
        return shown, bool(found)

    def _parsed(self, body: str) -> list[ToolCall] | None:
        if not _INVOKES.fullmatch(body):
            return None
        return [self._call(match.group()) for match in INVOKE.finditer(body)]

    def _call(self, text: str) -> ToolCall:
        named = _NAME.match(text)
        assert named is not None
        types = self._types.get(named[1], {})
        arguments = {key: _value(value, types.get(key)) for key, value in _PARAMETER.findall(text)}
        return ToolCall(name=named[1], arguments=arguments)


def _types(tool: Tool) -> dict[str, frozenset[str]]:
    """The JSON types that a tool's schema allows for each parameter; those it leaves open are missing."""
    parameters = tool.function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {str(key): found for key, schema in properties.items() if (found := _allowed(schema))}


def _allowed(schema: object) -> frozenset[str]:
    if not isinstance(schema, dict):
        return frozenset()
    kinds = schema.get("type")
    found: set[str] = {str(kind).lower() for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind}
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found.update(kind for part in schema[key] for kind in _allowed(part))
    return frozenset(found)


def _value(text: str, types: frozenset[str] | None) -> Any:
    """A parameter by its schema: text as it is, anything else as JSON where it is JSON."""
    if not types or types == {"string"}:
        return text
    try:
        value = json.loads(text, parse_constant=_no_json, parse_float=_finite)
    except (ValueError, RecursionError):
        return text
    return text if "string" in types and value is not None else value


def _no_json(name: str) -> Any:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value
