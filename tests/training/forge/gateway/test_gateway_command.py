"""`verifactory gateway` as a person starts it: an engine with vLLM's protocol, an unmodified client."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web

from training.chat.m2 import completion
from training.chat.messages import Message
from training.corpus.tokens import ByteTokenizer
from training.forge.pool.sqlite import SqlitePool

PROGRAM = str(Path(sys.executable).parent / "verifactory")
SAID = Message(role="assistant", content="Hello.", reasoning="Greet.")


async def completions(request: web.Request) -> web.Response:
    ids = ByteTokenizer().encode(completion(SAID))
    asked = await request.json()
    if asked["max_tokens"] == 5:
        await asyncio.sleep(600)
    logprobs = {"token_logprobs": [-1.0] * len(ids)}
    choice = {
        "token_ids": ids,
        "logprobs": logprobs,
        "finish_reason": "stop",
        "prompt_token_ids": asked["prompt"],
    }
    return web.json_response({"choices": [choice]})


async def models(request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": "policy", "max_model_len": 4096}]})


@asynccontextmanager
async def engine() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/completions", completions)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def started(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(PROGRAM, "gateway", *arguments, stdout=pipe, stderr=pipe)


async def test_the_command_serves_records_and_ends(tmp_path: Path) -> None:
    pool = tmp_path / "pool.sqlite"
    (tmp_path / "gateway.toml").write_text("[limits]\nturns = 3\n[policy]\ntemperature = 0.7\n")
    async with engine() as url:
        options = ["--engine", f"{url}/v1", "--tokenizer", "bytes", "--pool", str(pool), "--port", "0"]
        process = await started(
            *options, "--settings", str(tmp_path / "gateway.toml"), "--model-version", "6"
        )
        try:
            assert process.stdout is not None
            told = ""
            while not told.rstrip().endswith("}"):
                line = await process.stdout.readline()
                assert line, (await process.communicate())[1].decode()
                told += line.decode()
            found = json.loads(told)
            assert (found["model"], found["context"]) == ("policy", 4096)
            bearer = {"authorization": f"Bearer {found['key']}"}
            async with (
                aiohttp.ClientSession() as client,
                client.post(
                    f"{found['address']}/control/sessions", json={"trajectory": "t"}, headers=bearer
                ) as response,
            ):
                path = (await response.json())["path"]
            base = f"{found['address']}{path}/v1"
            async with openai.AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as agent:
                asked = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
                answer = await agent.chat.completions.create(**asked)  # ty: ignore[no-matching-overload]
                assert answer.choices[0].message.content == "Hello."
                hanging = asyncio.ensure_future(agent.chat.completions.create(**asked, max_tokens=5))  # ty: ignore[no-matching-overload]
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(openai.APIError):
                    await hanging
            assert await asyncio.wait_for(process.wait(), 120) != 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    kept = SqlitePool(pool, create=False)
    trajectory = kept.trajectory("t")
    kept.close()
    assert trajectory.ended
    assert [turn.fault for turn in trajectory.completions] == ["", "cancelled"]
    assert {(turn.temperature, turn.oldest_version) for turn in trajectory.completions[:1]} == {(0.7, 6)}


BAD = {
    "engine": (["--engine", "http://127.0.0.1:9", "--tokenizer", "bytes"], "cannot be reached"),
    "tokenizer": (["--engine", "http://127.0.0.1:9", "--tokenizer", "none.json"], "none.json cannot be read"),
    "settings": (
        ["--engine", "http://127.0.0.1:9", "--tokenizer", "bytes", "--settings", "bad.toml"],
        "do not fit at limits.turns",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_start_is_one_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text("[limits]\nturns = 0\n")
    arguments, sentence = BAD[case]
    process = await started(*arguments, "--pool", "pool.sqlite")
    _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 1
    assert sentence in said.decode()
    assert len(said.decode().splitlines()) == 1
