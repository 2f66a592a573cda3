"""What goes wrong is told in each dialect's own error, through its vendor's client, and kept as partial."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from agents import AGENTS, Entry, Habits
from google.genai import errors as gemini
from scripted import ScriptedEngine

from training.chat.m2 import completion
from training.chat.messages import Message, ToolCall
from training.corpus.tokens import ByteTokenizer
from training.forge.gateway.faults import Kind
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.recorder import MemoryRecorder
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.settings import Deadlines, GatewaySettings, Limits, Policy
from training.forge.gateway.tree import Turn
from training.forge.pool.recorder import PoolRecorder
from training.forge.pool.sqlite import SqlitePool

TOKENS = ByteTokenizer()
PLAIN = Habits(keeps_reasoning=True, rewrites=False, trims=False, stops=False)
ERRORS = (openai.APIError, anthropic.APIError, gemini.APIError)
SAID = Message(role="assistant", content="All is well that ends.", reasoning="Let me think.")


def says(message: Message) -> Callable[[list[int]], list[int]]:
    return lambda prompt: TOKENS.encode(completion(message))


@dataclass
class Case:
    engine: ScriptedEngine
    gateway: Gateway
    recorder: MemoryRecorder
    url: str

    async def ask(self, dialect: str, *, stream: bool, limits: Limits | None = None, **more: Any) -> Entry:
        name = f"{dialect}-{len(self.recorder.turns)}-{len(self.gateway.sessions)}"
        session = self.gateway.open(name, limits=limits, policy=more.get("policy"))
        agent = AGENTS[dialect](f"{self.url}/s/{session.secret}")
        try:
            return await agent.ask([Entry("user", "Do it.")], PLAIN, random.Random(0), stream)
        finally:
            await agent.close()

    @property
    def last(self) -> Turn:
        return self.recorder.turns[-1][1]


@asynccontextmanager
async def case(engine: ScriptedEngine, **settings: Any) -> AsyncIterator[Case]:
    recorder = MemoryRecorder()
    gateway = Gateway(engine, TOKENS, recorder, GatewaySettings(**settings))
    async with running(Server(gateway, "key")) as url:
        yield Case(engine, gateway, recorder, url)


def told(error: Exception) -> tuple[int | None, str]:
    """Status and text of an error of any of the clients; a fault in a stream has no status."""
    code = getattr(error, "status_code", None) or getattr(error, "code", None)
    return code if isinstance(code, int) else None, str(error)


FAULTS = [
    ("unreachable", Kind.ENGINE_UNREACHABLE, 503, 0),
    ("dies", Kind.ENGINE_DIED, 502, 3),
    ("hangs", Kind.ENGINE_TIMEOUT, 504, 3),
    ("nan", Kind.NAN_LOGPROBS, 502, None),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", AGENTS)
async def test_an_engine_that_fails_is_named_and_its_tokens_kept(dialect: str, stream: bool) -> None:
    engine = ScriptedEngine(says(SAID))
    async with case(engine, deadlines=Deadlines(answer=0.5, token=0.5)) as found:
        for fail, kind, status, kept in FAULTS:
            engine.fail = fail
            with pytest.raises(ERRORS) as raised:
                await found.ask(dialect, stream=stream)
            got, text = told(raised.value)
            if not stream or fail == "unreachable":
                assert got == status
            assert "engine scripted" in text, text
            fault = found.last.fault
            assert fault is not None
            assert fault.kind is kind
            assert fault.peer == "engine scripted"
            sampled = engine.seen[-1][1]
            assert found.last.response.tolist() == sampled[: len(found.last.response)]
            if kept is not None:
                assert len(found.last.response) == kept
        engine.fail = ""
        assert (await found.ask(dialect, stream=stream)).text == SAID.content, "the run goes on"


@pytest.mark.parametrize("dialect", AGENTS)
async def test_a_prompt_over_context_is_the_dialects_own_error(dialect: str) -> None:
    async with case(ScriptedEngine(says(SAID), context=100)) as found:
        for stream in (False, True):
            with pytest.raises(ERRORS) as raised:
                await found.ask(dialect, stream=stream)
            status, text = told(raised.value)
            assert status == 400
            assert "maximum context length is 100 tokens" in text
            if isinstance(raised.value, openai.APIError):
                assert raised.value.code == "context_length_exceeded"
            if isinstance(raised.value, anthropic.APIError):
                assert "prompt is too long" in text
        assert found.recorder.turns == []


@pytest.mark.parametrize("dialect", AGENTS)
async def test_an_agent_that_never_stops_uses_up_its_session(dialect: str) -> None:
    async with case(ScriptedEngine(says(SAID))) as found:
        limits = Limits(turns=5, tokens=100)
        session = found.gateway.open("endless", limits=limits)
        agent = AGENTS[dialect](f"{found.url}/s/{session.secret}")
        entries = [Entry("user", "Do it.")]

        async def endless() -> None:
            for _ in range(10):
                entries.append(await agent.ask(entries, PLAIN, random.Random(0), False))
                entries.append(Entry("user", "More."))

        with pytest.raises(ERRORS, match="has used up its 100 sampled tokens") as raised:
            await endless()
        assert told(raised.value)[0] == 403
        await agent.close()
        assert sum(len(turn.response) for turn in session.tree.turns) == 100, "the last one is cut to fit"
        assert session.tree.turns[-1].finish == "length"
        await found.gateway.end("endless")
        assert found.recorder.ends["endless"] == "session_budget_exhausted"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", AGENTS)
async def test_a_malformed_call_is_text_and_counted(dialect: str, stream: bool) -> None:
    broken = completion(
        Message(
            role="assistant", content="Look:", reasoning="r", calls=(ToolCall(name="read", arguments={}),)
        )
    ).replace("</invoke>\n", "")
    async with case(ScriptedEngine(lambda prompt: TOKENS.encode(broken))) as found:
        answer = await found.ask(dialect, stream=stream)
        assert answer.calls == []
        assert answer.text == 'Look:\n<minimax:tool_call>\n<invoke name="read">\n</minimax:tool_call>'
        assert found.last.said.malformed == ("a tool call is not well formed",)
        assert found.last.fault is None


async def test_weights_that_are_too_old_are_refused() -> None:
    async with case(ScriptedEngine(says(SAID), version=4)) as found:
        with pytest.raises(openai.APIError, match="has weights of version 4; this session needs 5"):
            await found.ask("openai-chat", stream=False, policy=Policy(oldest_version=5))
        assert found.last.fault is not None
        assert found.last.fault.kind is Kind.VERSION_SKEW
        assert found.last.versions == (4, 4)
        assert (await found.ask("openai-chat", stream=False, policy=Policy(oldest_version=4))).text


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agent_that_hangs_up_leaves_a_partial_turn(stream: bool) -> None:
    engine = ScriptedEngine(says(SAID), seconds=0.05)
    async with case(engine) as found:
        session = found.gateway.open("gone")
        data = {"messages": [{"role": "user", "content": "Do it."}], "stream": stream}
        path = f"{found.url}/s/{session.secret}/v1/chat/completions"
        async with aiohttp.ClientSession() as client:
            if stream:
                async with client.post(path, json=data) as response:
                    await response.content.readany()
            else:
                engine.seconds = 30
                with pytest.raises(TimeoutError):
                    await client.post(path, json=data, timeout=aiohttp.ClientTimeout(0.3))
        async with asyncio.timeout(30):
            while not found.recorder.turns:
                await asyncio.sleep(0.01)
        assert found.last.fault is not None
        assert found.last.fault.kind is Kind.CANCELLED
        assert found.last.response.tolist() == engine.seen[0][1][: len(found.last.response)]
        async with asyncio.timeout(30):
            while session.running:
                await asyncio.sleep(0.01)


async def test_ending_a_session_cuts_off_what_runs() -> None:
    async with case(ScriptedEngine(says(SAID), seconds=30)) as found:
        session = found.gateway.open("cut")
        agent = AGENTS["openai-chat"](f"{found.url}/s/{session.secret}")
        asking = asyncio.ensure_future(agent.ask([Entry("user", "Do it.")], PLAIN, random.Random(0), False))
        async with asyncio.timeout(30):
            while not session.running:
                await asyncio.sleep(0.01)
        await found.gateway.end("cut", "agent_timeout")
        with pytest.raises(openai.APIError):
            await asking
        assert found.recorder.ends == {"cut": "agent_timeout"}
        assert [turn.fault.kind for _, turn in found.recorder.turns if turn.fault] == [Kind.CANCELLED]
        with pytest.raises(openai.NotFoundError, match="no open session at this address"):
            await agent.ask([Entry("user", "Do it.")], PLAIN, random.Random(0), False)
        await agent.close()


BAD = [
    ("v1/chat/completions", {"messages": []}, "no messages"),
    ("v1/chat/completions", {"messages": [{"role": "critic", "content": "x"}]}, "role 'critic'"),
    ("v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not text"),
    ("v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 2}, "one answer"),
    (
        "v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "temperature": "hot"},
        "a number",
    ),
    ("v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, "no call stands before"),
    (
        "v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}], "max_tokens": 0.5},
        "whole number",
    ),
    ("v1/responses", {"input": [{"type": "computer_call"}]}, "items of type 'computer_call'"),
    ("v1/responses", {"input": "x", "previous_response_id": "resp_of_another"}, "no answer 'of_another'"),
    ("v1/messages", {"messages": "x"}, "not a list of objects"),
    ("v1/messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "type 'image'"),
    ("v1beta/models/m:generateContent", {"contents": [{"parts": [{"inlineData": {}}]}]}, "inlineData"),
    ("v1beta/models/m:generateContent", {"contents": "x"}, "not a list of objects"),
    ("v1/embeddings", {}, "There is nothing at POST"),
]


async def test_bad_requests_are_one_sentence_and_no_turn() -> None:
    async with case(ScriptedEngine(says(SAID)), body_mb=1) as found, aiohttp.ClientSession() as client:
        session = found.gateway.open("bad")
        base = f"{found.url}/s/{session.secret}"
        for path, body, sentence in BAD:
            async with client.post(f"{base}/{path}", json=body) as response:
                assert response.status in (400, 404)
                assert sentence in (await response.json())["error"]["message"]
        for data in (b"{", b"[]", b"x" * (2 << 20)):
            async with client.post(f"{base}/v1/chat/completions", data=data) as response:
                assert response.status == 400
        assert found.recorder.turns == []
        assert not session.running


async def test_only_the_secret_opens_a_session_and_only_the_key_controls() -> None:
    async with case(ScriptedEngine(says(SAID))) as found, aiohttp.ClientSession() as client:
        for key, status in (("wrong", 404), ("key", 201)):
            bearer = {"authorization": f"Bearer {key}"}
            async with client.post(f"{found.url}/control/sessions", json={}, headers=bearer) as response:
                assert response.status == status
                opened = await response.json()
        data = {"messages": [{"role": "user", "content": "x"}], "frequency_penalty": 1, "seed": 3}
        async with client.post(f"{found.url}{opened['path']}/v1/chat/completions", json=data) as response:
            assert response.status == 200
            assert response.headers["x-ignored"] == "frequency_penalty, seed"
        async with client.post(f"{found.url}/s/{'x' * 32}/v1/chat/completions", json=data) as response:
            assert response.status == 404
        path = f"{found.url}/control/sessions/{opened['trajectory']}"
        async with client.get(path) as response:
            assert response.status == 404
        async with client.get(path, headers=bearer) as response:
            told = await response.json()
            assert (told["turns"], told["growth"]) == (1, {"root": 1})
        async with client.post(f"{path}/end", json={"reason": "done early"}, headers=bearer) as response:
            assert (await response.json())["ended"] == "done early"
        for wrong in ({"trajectory": "a/b"}, {"limits": {"turns": 0}}, {"unknown": 1}):
            async with client.post(f"{found.url}/control/sessions", json=wrong, headers=bearer) as response:
                assert response.status == 400


async def test_a_pool_that_keeps_nothing_ends_the_session(tmp_path: Path) -> None:
    pool = SqlitePool(tmp_path / "pool.sqlite")
    gateway = Gateway(ScriptedEngine(says(SAID)), TOKENS, PoolRecorder(pool), GatewaySettings())
    async with running(Server(gateway, "key")) as url:
        session = gateway.open("lost")
        agent = AGENTS["anthropic"](f"{url}/s/{session.secret}")
        await agent.ask([Entry("user", "One.")], PLAIN, random.Random(0), False)
        pool.end("lost", "never_ended")  # the scheduler has given it up
        with pytest.raises(anthropic.APIError, match="has ended; it takes no turn"):
            await agent.ask([Entry("user", "Two.")], PLAIN, random.Random(0), False)
        with pytest.raises(anthropic.APIError, match="The session has ended"):
            await agent.ask([Entry("user", "Three.")], PLAIN, random.Random(0), False)
        await agent.close()
    again = SqlitePool(tmp_path / "pool.sqlite", create=False)
    found = again.trajectory("lost")
    assert len(found.completions) == 1
    assert found.reason == "never_ended"
    again.close()
