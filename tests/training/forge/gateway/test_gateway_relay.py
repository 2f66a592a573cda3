"""A gateway in front of an endpoint without tokens: every dialect by its vendor's client; transcripts."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest
from agents import AGENTS, Entry, Habits
from scripted_model import Raw, Say, Script, Use, by_turn, serving

from envs.model import Model, Usage
from training.forge.gateway.relay import Relay, Relayed
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.settings import Limits
from training.forge.gateway.transcript import transcript
from warehouse.settings import Settings

HABITS = Habits(keeps_reasoning=True, rewrites=False, trims=False, stops=False)


@asynccontextmanager
async def relaying(script: Script) -> AsyncGenerator[tuple[Relay, str, Any]]:
    with serving(script, key=None) as endpoint:
        settings = Settings(model_base_url=endpoint.url, model_name="m")
        async with Model(settings) as model:
            relay = Relay(model)
            async with running(Server(relay, "key")) as url:
                yield relay, url, endpoint


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", AGENTS)
async def test_each_dialect_reaches_the_endpoint_and_goes_on(dialect: str, stream: bool) -> None:
    script = by_turn(Use("read", {"path": "a"}), Say("All is well."))
    async with relaying(script) as (relay, url, endpoint):
        session = relay.open("t")
        agent = AGENTS[dialect](f"{url}/s/{session.secret}")
        said = [Entry("user", "Do it.")]
        first = await agent.ask(said, HABITS, random.Random(0), stream)
        assert [call[1:] for call in first.calls] == [("read", {"path": "a"})]
        said += [first, Entry("tools", results=["its text"])]
        last = await agent.ask(said, HABITS, random.Random(0), stream)
        await agent.close()
        assert last.text == "All is well."
        assert endpoint.refused == [], "calls and answers belong together"
        assert len(endpoint.requests) == 2
        assert endpoint.requests[1]["tools"] == endpoint.requests[0]["tools"]
        talks, turns = transcript(relay.turns["t"])
        assert len(talks) == 1
        assert [turn.answer for turn in turns] == [len(turns[0].state), len(talks[0].log) - 1]
        assert [m["role"] for m in talks[0].log][-4:] == ["user", "assistant", "tool", "assistant"]
        assert session.sampled == sum(turn.read + turn.written for turn in turns) > 0


async def test_what_fails_is_told_and_budgets_hold() -> None:
    script = by_turn(Raw(400, '{"error": {"message": "maximum context length"}}'))
    async with relaying(script) as (relay, url, _):
        session = relay.open("t")
        client = openai.AsyncOpenAI(base_url=f"{url}/s/{session.secret}/v1", api_key="none", max_retries=0)
        said: list[Any] = [{"role": "user", "content": "x"}]
        with pytest.raises(openai.BadRequestError, match="context") as raised:
            await client.chat.completions.create(model="m", messages=said)
        assert raised.value.code == "context_length_exceeded"
        await client.close()
        tight = relay.open("tight", limits=Limits(tokens=1))
        tight.sampled = 1
        async with aiohttp.ClientSession() as plain:
            for secret, path, status in (
                (tight.secret, "chat/completions", 403), ("x" * 32, "chat/completions", 404),
                (tight.secret, "messages/count_tokens", 400),
            ):  # fmt: skip
                body = {"model": "m", "messages": said, "max_tokens": 5}
                async with plain.post(f"{url}/s/{secret}/v1/{path}", json=body) as got:
                    assert got.status == status
        assert relay.turns.get("t", []) == []


async def test_a_call_that_is_none_comes_as_text_and_the_conversation_goes_on() -> None:
    async with relaying(by_turn(Use("bash", "{not json"), Say("Well."))) as (relay, url, endpoint):
        session = relay.open("t")
        client = openai.AsyncOpenAI(base_url=f"{url}/s/{session.secret}/v1", api_key="none", max_retries=0)
        said: list[Any] = [{"role": "user", "content": "x"}]
        first = (await client.chat.completions.create(model="m", messages=said)).choices[0].message
        assert (first.tool_calls, first.content) == (None, "bash: {not json")
        said += [{"role": "assistant", "content": first.content}, {"role": "user", "content": "No."}]
        await client.chat.completions.create(model="m", messages=said)
        assert endpoint.refused == []
        assert json.dumps(endpoint.requests[1]["messages"]).count("tool_calls") == 0
        await client.close()


def test_a_transcript_knows_sub_agents_compaction_and_retries() -> None:
    def of(*said: str) -> tuple[dict[str, Any], ...]:
        roles = {"S": "system", "U": "user", "A": "assistant"}
        return tuple({"role": roles[text[0]], "content": text} for text in said)

    def turn(shown: tuple[dict[str, Any], ...], answer: str) -> Relayed:
        return Relayed(shown, of(answer)[0], Usage(1, 10, 2), 0.5)

    talks, turns = transcript([
        turn(of("S", "U1"), "A1"),
        turn(of("S", "U1", "A1", "U2"), "A2"),
        turn(of("S", "U9"), "A9"),  # a sub-agent
        turn(of("S", "U1", "A1", "U2"), "A2 again"),  # a retry
        turn(of("S", "U1", "A2 again", "U3"), "A3"),  # one turn was left out
    ])  # fmt: skip
    assert [[m["content"] for m in talk.log] for talk in talks] == [
        ["S", "U1", "A1", "U2", "A2", "A2 again", "U3", "A3"], ["S", "U9", "A9"],
    ]  # fmt: skip
    assert [(t.conversation, t.state, t.answer) for t in turns] == [
        (0, (0, 1), 2), (0, (0, 1, 2, 3), 4), (1, (0, 1), 2), (0, (0, 1, 2, 3), 5), (0, (0, 1, 5, 6), 7),
    ]  # fmt: skip
    assert (turns[0].read, turns[0].written) == (10, 2)
