"""Agents of four dialects, each through its vendor's own client, with the habits that real ones have.

A conversation is a list of entries; an agent writes it in its dialect, and may forget reasoning, write
arguments anew, or trim text on the way.
"""

from __future__ import annotations

import json
import operator
import random
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from google import genai

PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "line": {"type": "integer"}, "share": {"type": "number"}},
}
NAMES = ("read", "write")


@dataclass
class Habits:
    """What an agent does to what it got."""

    keeps_reasoning: bool
    rewrites: bool
    """Arguments as JSON: other spaces, another order of keys."""
    trims: bool
    stops: bool
    """It gives stop sequences."""


@dataclass
class Entry:
    """`kind` is system, user, assistant or tools."""

    kind: str
    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """id, name, arguments"""
    results: list[str] = field(default_factory=list)
    token: str = ""


def shuffled(arguments: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    keys = list(arguments)
    rng.shuffle(keys)
    return {key: arguments[key] for key in keys}


def spelt(arguments: dict[str, Any], habits: Habits, rng: random.Random) -> str:
    if not habits.rewrites:
        return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(shuffled(arguments, rng), indent=rng.choice([None, 2]))


class OpenAIChatAgent:
    def __init__(self, base: str) -> None:
        self.client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0)

    def written(self, entries: list[Entry], habits: Habits, rng: random.Random) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for n, entry in enumerate(entries):
            if entry.kind == "tools":
                made = entries[n - 1].calls
                messages += [
                    {"role": "tool", "tool_call_id": call[0], "content": text}
                    for call, text in zip(made, entry.results, strict=True)
                ]
                continue
            message: dict[str, Any] = {"role": entry.kind, "content": entry.text}
            if entry.calls:
                message["tool_calls"] = [
                    {"id": i, "type": "function", "function": {"name": f, "arguments": spelt(a, habits, rng)}}
                    for i, f, a in entry.calls
                ]
            if entry.reasoning:
                message["reasoning_content"] = entry.reasoning
            messages.append(message)
        return messages

    async def ask(self, entries: list[Entry], habits: Habits, rng: random.Random, stream: bool) -> Entry:
        more: dict[str, Any] = {"stop": ["\nNEVER:"]} if habits.stops else {}
        tools = [{"type": "function", "function": {"name": f, "parameters": PARAMETERS}} for f in NAMES]
        asked: Any = {"model": "m", "messages": self.written(entries, habits, rng), "tools": tools, **more}
        if not stream:
            answer = await self.client.chat.completions.create(**asked)
            said = answer.choices[0].message
            return Entry(
                "assistant",
                said.content or "",
                getattr(said, "reasoning_content", "") or "",
                [(c.id, c.function.name, json.loads(c.function.arguments)) for c in said.tool_calls or ()],  # ty: ignore[unresolved-attribute]
                token=answer.id.removeprefix("chatcmpl-"),
            )
        found = Entry("assistant")
        calls: dict[int, list[str]] = {}
        async for chunk in await self.client.chat.completions.create(**asked, stream=True):
            found.token = chunk.id.removeprefix("chatcmpl-")
            delta = chunk.choices[0].delta
            found.text += delta.content or ""
            found.reasoning += getattr(delta, "reasoning_content", "") or ""
            for call in delta.tool_calls or ():
                assert call.function is not None
                at = calls.setdefault(call.index, [call.id or "", call.function.name or "", ""])
                at[2] += call.function.arguments or ""
        found.calls = [(i, f, json.loads(a)) for i, f, a in calls.values()]
        return found

    async def close(self) -> None:
        await self.client.close()


class OpenAIResponsesAgent:
    def __init__(self, base: str) -> None:
        self.client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0)
        self.shown: dict[str, list[Entry]] = {}

    def written(self, entries: list[Entry], habits: Habits, rng: random.Random) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for n, entry in enumerate(entries):
            if entry.kind == "tools":
                items += [
                    {"type": "function_call_output", "call_id": call[0], "output": text}
                    for call, text in zip(entries[n - 1].calls, entry.results, strict=True)
                ]
                continue
            if entry.reasoning:
                told = [{"type": "reasoning_text", "text": entry.reasoning}]
                items.append({"type": "reasoning", "id": "rs_x", "summary": [], "content": told})
            if entry.text or not entry.calls:
                items.append({"type": "message", "role": entry.kind, "content": entry.text})
            items += [
                {"type": "function_call", "call_id": i, "name": f, "arguments": spelt(a, habits, rng)}
                for i, f, a in entry.calls
            ]
        return items

    async def ask(self, entries: list[Entry], habits: Habits, rng: random.Random, stream: bool) -> Entry:
        tools = [{"type": "function", "name": f, "parameters": PARAMETERS, "strict": False} for f in NAMES]
        asked: Any = {"model": "m", "tools": tools}
        last = max((n for n, entry in enumerate(entries) if entry.kind == "assistant"), default=-1)
        before = self.shown.get(entries[last].token) if last >= 0 else None
        # The gateway keeps the conversation, as long as nothing of it is changed.
        same = before is not None and len(before) == last and all(map(operator.is_, before, entries))
        if same and habits.stops:
            asked["previous_response_id"] = f"resp_{entries[last].token}"
            rest = self.written(entries[last:], habits, rng)
            own = len(self.written(entries[last : last + 1], habits, rng))
            asked["input"] = self.written(entries[:1], habits, rng) * (entries[0].kind == "system")
            asked["input"] += rest[own:]
        else:
            asked["input"] = self.written(entries, habits, rng)
        if not stream:
            found = self.read(await self.client.responses.create(**asked))
            self.shown[found.token] = list(entries)
            return found
        whole: Any = None
        told = {"text": "", "reasoning": ""}
        async for event in await self.client.responses.create(**asked, stream=True):
            if event.type == "response.output_text.delta":
                told["text"] += event.delta
            elif event.type == "response.reasoning_text.delta":
                told["reasoning"] += event.delta
            elif event.type == "response.completed":
                whole = event.response
        found = self.read(whole)
        assert (found.text, found.reasoning) == (told["text"], told["reasoning"])
        self.shown[found.token] = list(entries)
        return found

    def read(self, answer: Any) -> Entry:
        found = Entry("assistant", answer.output_text, token=answer.id.removeprefix("resp_"))
        for item in answer.output:
            if item.type == "reasoning":
                found.reasoning = "".join(part.text for part in item.content)
            elif item.type == "function_call":
                found.calls.append((item.call_id, item.name, json.loads(item.arguments)))
        return found

    async def close(self) -> None:
        await self.client.close()


class AnthropicAgent:
    def __init__(self, base: str) -> None:
        self.client = anthropic.AsyncAnthropic(base_url=base, api_key="x", max_retries=0)

    def written(self, entries: list[Entry], habits: Habits, rng: random.Random) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for n, entry in enumerate(entries):
            blocks: list[dict[str, Any]] = []
            if entry.kind == "tools":
                blocks = [
                    {"type": "tool_result", "tool_use_id": call[0], "content": text}
                    for call, text in zip(entries[n - 1].calls, entry.results, strict=True)
                ]
            else:
                if entry.reasoning:
                    blocks.append(
                        {"type": "thinking", "thinking": entry.reasoning, "signature": entry.token or "s"}
                    )
                if entry.text or not (entry.reasoning or entry.calls):
                    blocks.append({"type": "text", "text": entry.text})
                blocks += [
                    {
                        "type": "tool_use",
                        "id": i,
                        "name": f,
                        "input": shuffled(a, rng) if habits.rewrites else a,
                    }
                    for i, f, a in entry.calls
                ]
            if entry.kind != "system":
                messages.append(
                    {"role": "assistant" if entry.kind == "assistant" else "user", "content": blocks}
                )
        return messages

    async def ask(self, entries: list[Entry], habits: Habits, rng: random.Random, stream: bool) -> Entry:
        asked: Any = {
            "model": "m",
            "max_tokens": 100_000,
            "messages": self.written(entries, habits, rng),
            "tools": [{"name": f, "input_schema": PARAMETERS} for f in NAMES],
        }
        if entries[0].kind == "system":
            asked["system"] = entries[0].text
        if habits.stops:
            asked["stop_sequences"] = ["\nNEVER:"]
        if habits.keeps_reasoning:
            asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        if stream:
            async with self.client.messages.stream(**asked) as events:
                answer: Any = await events.get_final_message()
        else:
            answer = await self.client.messages.create(**asked, timeout=600)
        found = Entry("assistant", token=answer.id.removeprefix("msg_"))
        for block in answer.content:
            match block.type:
                case "thinking":
                    found.reasoning += block.thinking
                case "text":
                    found.text += block.text
                case "tool_use":
                    found.calls.append((block.id, block.name, block.input))
        return found

    async def close(self) -> None:
        await self.client.close()


class GeminiAgent:
    def __init__(self, base: str) -> None:
        self.client = genai.Client(api_key="x", http_options={"base_url": base})

    def written(self, entries: list[Entry], habits: Habits, rng: random.Random) -> list[dict[str, Any]]:
        contents: list[dict[str, Any]] = []
        for n, entry in enumerate(entries):
            parts: list[dict[str, Any]] = []
            if entry.kind == "tools":
                parts = [
                    {"function_response": {"id": call[0], "name": call[1], "response": {"result": text}}}
                    for call, text in zip(entries[n - 1].calls, entry.results, strict=True)
                ]
            else:
                if entry.reasoning:
                    parts.append({"text": entry.reasoning, "thought": True})
                if entry.text or not (entry.reasoning or entry.calls):
                    parts.append({"text": entry.text})
                parts += [
                    {
                        "function_call": {
                            "id": i,
                            "name": f,
                            "args": shuffled(a, rng) if habits.rewrites else a,
                        }
                    }
                    for i, f, a in entry.calls
                ]
            if entry.kind != "system":
                contents.append({"role": "model" if entry.kind == "assistant" else "user", "parts": parts})
        return contents

    async def ask(self, entries: list[Entry], habits: Habits, rng: random.Random, stream: bool) -> Entry:
        config: dict[str, Any] = {
            "tools": [
                {"function_declarations": [{"name": f, "parameters": upper(PARAMETERS)} for f in NAMES]}
            ],
            "automatic_function_calling": {"disable": True},
        }
        if entries[0].kind == "system":
            config["system_instruction"] = entries[0].text
        if habits.stops:
            config["stop_sequences"] = ["\nNEVER:"]
        if habits.keeps_reasoning:
            config["thinking_config"] = {"include_thoughts": True}
        asked: Any = {"model": "m", "contents": self.written(entries, habits, rng), "config": config}
        found = Entry("assistant")
        if stream:
            async for chunk in await self.client.aio.models.generate_content_stream(**asked):
                self.read(chunk, found)
        else:
            self.read(await self.client.aio.models.generate_content(**asked), found)
        return found

    def read(self, answer: Any, found: Entry) -> None:
        found.token = answer.response_id
        for part in answer.candidates[0].content.parts:
            if part.function_call:
                call = part.function_call
                found.calls.append((call.id, call.name, dict(call.args)))
            elif part.thought:
                found.reasoning += part.text
            else:
                found.text += part.text or ""

    async def close(self) -> None:
        await self.client.aio.aclose()


def upper(schema: Any) -> Any:
    """The schema with types as this dialect writes them."""
    if not isinstance(schema, dict):
        return schema
    return {key: value.upper() if key == "type" else upper(value) for key, value in schema.items()}


AGENTS = {
    "openai-chat": OpenAIChatAgent,
    "openai-responses": OpenAIResponsesAgent,
    "anthropic": AnthropicAgent,
    "gemini": GeminiAgent,
}
