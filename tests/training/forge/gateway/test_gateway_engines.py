"""Our own model behind the gateway: the trainer finds the very log-probabilities. And vLLM's protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
from aiohttp import web

from training.corpus.tokens import ByteTokenizer
from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.engines import Piece
from training.forge.gateway.engines.own import OwnEngine, processed
from training.forge.gateway.engines.vllm import VllmEngine
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.settings import GatewaySettings, Policy
from training.forge.pool.recorder import PoolRecorder
from training.forge.pool.records import prompts
from training.forge.pool.sqlite import SqlitePool
from training.model.config import preset
from training.model.model import Model
from training.trees.edges import Sample
from training.trees.merge import merged

POLICIES = [
    Policy(temperature=1.0, max_tokens=12, seed=1),
    Policy(temperature=0.7, max_tokens=12, seed=2),
    Policy(temperature=0.7, top_p=0.9, top_k=20, max_tokens=12, seed=3),
]


async def talk(url: str, secret: str) -> None:
    """Some turns, a retry, and a branch, from an agent that drops reasoning."""
    async with openai.AsyncOpenAI(base_url=f"{url}/s/{secret}/v1", api_key="x", max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": "Hi."}]
        for turn in range(4):
            answer = await client.chat.completions.create(model="m", messages=messages, temperature=2)
            messages.append({"role": "assistant", "content": answer.choices[0].message.content})
            messages.append({"role": "user", "content": f"And {turn}?"})
        async for _ in await client.chat.completions.create(model="m", messages=messages[:3], stream=True):
            pass


async def test_the_trainer_finds_the_log_probabilities_that_were_recorded(tmp_path: Path) -> None:
    model = Model(preset("tiny").replace(init_std=0.2), seed=3)
    path = tmp_path / "pool.sqlite"
    gateway = Gateway(OwnEngine(model, version=7), ByteTokenizer(), PoolRecorder(SqlitePool(path)))
    async with running(Server(gateway, "key")) as url:
        for n, policy in enumerate(POLICIES):
            await talk(url, gateway.open(f"t{n}", policy=policy).secret)
    pool = SqlitePool(path, create=False)
    for n, policy in enumerate(POLICIES):
        turns = pool.trajectory(f"t{n}").completions
        assert len(turns) == 5
        before = prompts(turns)
        samples = [
            Sample(
                np.concatenate([before[t.turn], t.response]), np.zeros(len(before[t.turn]) + len(t.response))
            )
            for t in turns
        ]
        batch = merged(samples)
        assert len(batch) < sum(len(sample.tokens_S) for sample in samples), "the turns share a tree"
        with torch.no_grad():
            hidden = model.states(batch.forest)
        for place, turn in enumerate(turns):
            rows = batch.trie.path(place)[len(before[turn.turn]) - 1 : -1]
            logits = model.logits(hidden.trunk_TD[torch.as_tensor(rows.astype(np.int64))])
            sampling = Sampling(turn.temperature, turn.top_p, turn.top_k)
            assert (turn.temperature, turn.top_p, turn.top_k) == (
                policy.temperature, policy.top_p or 1.0, policy.top_k or 0,
            )  # fmt: skip
            logp = torch.stack([processed(row, sampling) for row in logits])
            found = logp.gather(1, torch.as_tensor(turn.response.astype(np.int64))[:, None])[:, 0]
            assert np.abs(found.detach().numpy() - turn.logprobs).max() <= 1e-4
            assert (turn.oldest_version, turn.newest_version) == (7, 7)
            routes = hidden.routes_TLK[torch.as_tensor(batch.trie.path(place).astype(np.int64))]
            assert turn.routes is not None
            wanted = routes[turn.routes_from : -1, : model.config.layers].numpy()
            assert np.array_equal(np.sort(turn.routes, -1), np.sort(wanted, -1))
    pool.close()


async def test_a_seeded_trajectory_is_sampled_again_as_it_was() -> None:
    model = Model(preset("tiny").replace(init_std=0.2), seed=3)
    found = []
    for _ in range(2):
        gateway = Gateway(OwnEngine(model), ByteTokenizer(), recorder=_Kept(), settings=GatewaySettings())
        async with running(Server(gateway, "key")) as url:
            await talk(url, gateway.open("t", policy=POLICIES[0]).secret)
        assert isinstance(gateway.recorder, _Kept)
        found.append(gateway.recorder.responses)
    assert found[0] == found[1]
    assert len({tuple(response) for response in found[0]}) > 1


class _Kept:
    name = "memory"

    def __init__(self) -> None:
        self.responses: list[list[int]] = []

    async def turn(self, trajectory: str, turn: Any) -> None:
        self.responses.append(turn.response.tolist())

    async def ended(self, trajectory: str, reason: str) -> None:
        return

    async def close(self) -> None:
        return


def test_nucleus_and_top_k_are_what_is_drawn_from() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    assert torch.allclose(processed(logits, Sampling()), logits.log_softmax(-1))
    assert torch.allclose(processed(logits, Sampling(temperature=0.5)), (2 * logits).log_softmax(-1))
    two = processed(logits, Sampling(top_k=2)).exp()
    assert torch.allclose(two, torch.tensor([*logits[:2].softmax(-1), 0, 0]))
    assert torch.equal(
        processed(logits, Sampling(top_p=0.7)).exp() > 0, torch.tensor([True, True, False, False])
    )


@asynccontextmanager
async def vllm(handler: Any) -> AsyncIterator[VllmEngine]:
    """A server that speaks vLLM's protocol on loopback."""
    app = web.Application()
    app.router.add_post("/v1/completions", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # ty: ignore[unresolved-attribute]
    engine = VllmEngine(f"http://127.0.0.1:{port}", "m", 100, version=lambda: 5)
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


PROMPT = np.array([5, 6, 7], np.int32)
ROUTES = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)


async def generated(engine: VllmEngine, *, stream: bool) -> list[Piece]:
    sampling = Sampling(temperature=0.7, top_k=20, max_tokens=9)
    return [p async for p in engine.generate(PROMPT, sampling, end=258, stream=stream, routes_from=2)]


def choice(ids: list[int], **more: Any) -> dict[str, Any]:
    return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}, **more}]}


def encoded(array: np.ndarray) -> str:
    out = io.BytesIO()
    np.save(out, array)
    return base64.b64encode(out.getvalue()).decode()


async def test_what_vllm_is_sent_and_says() -> None:
    asked: list[dict[str, Any]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        if not asked[-1]["stream"]:
            last = {"finish_reason": "stop", "prompt_token_ids": [5, 6, 7], "routed_experts": encoded(ROUTES)}
            return web.json_response(choice([1, 2, 258], **last))
        response = web.StreamResponse()
        await response.prepare(request)
        events = [
            choice([1, 2], prompt_token_ids=[5, 6, 7]),
            choice([258], finish_reason="length"),
            {"choices": []},
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        for n in range(0, len(text), 7):  # cut anywhere
            await response.write(text[n : n + 7].encode())
        return response

    async with vllm(handler) as engine:
        (piece,) = await generated(engine, stream=False)
        assert (piece.ids, piece.logprobs, piece.versions) == ([1, 2, 258], [-0.5] * 3, (5, 5))
        assert piece.finish is Finish.STOP
        assert np.array_equal(piece.routes, ROUTES)  # ty: ignore[invalid-argument-type]
        pieces = await generated(engine, stream=True)
        assert [p.ids for p in pieces] == [[1, 2], [258]]
        assert pieces[-1].finish is Finish.LENGTH
    told = asked[0]
    assert told["prompt"] == [5, 6, 7]
    assert (told["temperature"], told["top_p"], told["top_k"], told["max_tokens"]) == (0.7, 1.0, 20, 9)
    assert told["stop_token_ids"] == [258]
    assert told["return_token_ids"] is True
    assert told["routed_experts_prompt_start"] == 2
    assert "stop" not in told


TOO_LONG = '{"error": {"message": "This model\'s maximum context length is 100 tokens."}}'
WRONG = [
    (Kind.ENGINE_INVALID, lambda: web.json_response(choice([1], prompt_token_ids=[5, 6, 8]))),
    (Kind.ENGINE_INVALID, lambda: web.json_response({"choices": [{"text": "hello"}]})),
    (Kind.ENGINE_INVALID, lambda: web.json_response({"choices": [{"token_ids": [1, 2], "logprobs": None}]})),
    (Kind.ENGINE_INVALID, lambda: web.Response(text="<html>")),
    (Kind.ENGINE_INVALID, lambda: web.json_response([1])),
    (Kind.ENGINE_DIED, lambda: web.json_response({"error": {"message": "EngineDeadError"}})),
    (Kind.ENGINE_DIED, lambda: web.json_response(choice([1], finish_reason="abort"))),
    (Kind.ENGINE_UNREACHABLE, lambda: web.Response(status=503, text="starting")),
    (Kind.ENGINE_REFUSED, lambda: web.Response(status=404, text="no such model")),
    (Kind.CONTEXT_LENGTH, lambda: web.Response(status=400, text=TOO_LONG)),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
async def test_what_vllm_may_say_wrong_is_a_fault_that_names_it(number: int) -> None:
    kind, made = WRONG[number]

    async def handler(request: web.Request) -> web.StreamResponse:
        return made()

    async with vllm(handler) as engine:
        with pytest.raises(Fault) as raised:
            await generated(engine, stream=False)
        assert raised.value.kind is kind
        assert raised.value.peer == engine.name
        assert engine.url in raised.value.message


async def test_a_number_that_is_none_reaches_the_gateway_as_such() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        text = json.dumps(choice([1, 2], finish_reason="stop")).replace("[-0.5, -0.5]", "[NaN, null]")
        return web.Response(text=text)

    async with vllm(handler) as engine:
        (piece,) = await generated(engine, stream=False)
        assert np.isnan(piece.logprobs).all()


async def test_a_stream_that_breaks_off_is_a_death() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(f"data: {json.dumps(choice([1, 2]))}\n\n".encode())
        assert request.transport is not None
        await asyncio.sleep(0.05)
        request.transport.abort()
        return response

    async with vllm(handler) as engine:
        pieces: list[list[int]] = []

        async def read() -> None:
            sampling = Sampling(max_tokens=9)
            async for piece in engine.generate(PROMPT, sampling, end=258, stream=True, routes_from=0):
                pieces.append(piece.ids)

        with pytest.raises(Fault, match="broke off its answer") as raised:
            await read()
        assert raised.value.kind is Kind.ENGINE_DIED
        assert pieces == [[1, 2]]


async def test_an_engine_that_is_not_there_is_named() -> None:
    engine = VllmEngine("http://127.0.0.1:9", "m", 100)
    with pytest.raises(Fault, match=r"engine http://127.0.0.1:9 cannot be reached") as raised:
        await generated(engine, stream=False)
    assert raised.value.kind is Kind.ENGINE_UNREACHABLE
    await engine.close()
