"""What the gateway adds to a request: an open loop of agents against a stub engine, with and without it.

    python benchmarks/gateway.py [--json] [--seconds 40] [--rate 128] [--delay 2]

Three processes on this machine: the agents, the gateway with a data pool on disk, and a stub engine that
answers after `--delay` seconds (streamed: in 20 pieces spread over them). 128 requests a second, so about 256
sessions are in flight. Each session is a conversation of 8 tool calls that starts anew with another task;
prompts have about 2 000 tokens of a byte-pair vocabulary. Requests are sent when they are due, whatever is
still running, and times count from when they were due.

Bare (straight to the stub engine, which speaks chat completions too) and gateway take turns in one run, 5 s
each, plain and streamed. Overhead is the difference of the same percentile with and without the gateway.
Saturation: as many sessions as 64 connections can drive, against an engine that answers at once.

Exits with status 1 where a goal is missed: overhead at p50 under 2 ms and at p99 under 25 ms, plain and
streamed, no failed request, and every turn in the pool with the very tokens that the engine gave.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import uvloop

from training.chat import m2
from training.chat.m2 import completion
from training.chat.messages import Message, ToolCall
from training.corpus.tokens import MARKS, FileTokenizer
from training.forge.gateway.engines.vllm import VllmEngine
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.serve import listen, serve, server_of
from training.forge.gateway.server import Server
from training.forge.pool.recorder import PoolRecorder
from training.forge.pool.records import prompts
from training.forge.pool.sqlite import SqlitePool

PIECES, VARIANTS, TURNS, SPELL_SECONDS = 20, 16, 8, 5.0
KEY = "benchmark"
GOALS = {"p50": 2.0, "p99": 25.0}
SYSTEM_WORDS, TASK_WORDS, RESULT_WORDS = 900, 150, 40
CONNECTIONS = 64


# -- what is said


def words(rng: random.Random, count: int) -> str:
    texts = " ".join(path.read_text() for path in sorted(Path(m2.__file__).parent.glob("*.py")))
    found = re.findall(r"[A-Za-z]{2,9}", texts)
    return " ".join(rng.choices(found, k=count))


def vocabulary(folder: Path) -> FileTokenizer:
    """Byte-level BPE of 8 000 tokens over our own sources, with the marks of the chat format."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    path = folder / "tokenizer.json"
    if not path.exists():
        fast = Tokenizer(models.BPE())
        fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        fast.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=alphabet, show_progress=False)
        sources = sorted(Path(m2.__file__).parents[2].glob("training/**/*.py"))
        fast.train_from_iterator((path.read_text() for path in sources), trainer)
        fast.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
        fast.save(str(path))
    return FileTokenizer(path)


def reply(variant: int) -> Message:
    rng = random.Random(variant)
    call = ToolCall(name="read", arguments={"path": f"file_{variant:02d}.py", "line": variant})
    return Message(role="assistant", content=words(rng, 20), reasoning=words(rng, 50), calls=(call,))


# -- the stub engine


class Stub:
    """/v1/completions with token ids, as vLLM has it, and /v1/chat/completions for whoever comes straight."""

    def __init__(self, tokenizer: FileTokenizer, delay: float) -> None:
        self.delay, self.count = delay, 0
        self.ids = [tokenizer.encode(completion(reply(n))) for n in range(VARIANTS)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        variant, self.count = self.count % VARIANTS, self.count + 1
        chat = scope["path"].endswith("chat/completions")
        echo = b"null" if chat else re.search(rb'"prompt":(\[[0-9,]*\])', body)[1]  # ty: ignore[not-subscriptable]
        if b'"stream":true' in body:
            await self._stream(send, variant, chat, echo)
            return
        await asyncio.sleep(self.delay)
        data = self._chat(variant) if chat else self._completion(self.ids[variant], echo, b'"stop"')
        await self._start(send, b"application/json", len(data))
        await send({"type": "http.response.body", "body": data})

    async def _stream(self, send: Any, variant: int, chat: bool, echo: bytes) -> None:
        ids = self.ids[variant]
        cuts = [len(ids) * n // PIECES for n in range(PIECES + 1)]
        begun = time.monotonic()
        for n in range(PIECES):
            await asyncio.sleep(max(begun + self.delay * (n + 1) / PIECES - time.monotonic(), 0))
            if n == 0:
                await self._start(send, b"text/event-stream")
            last = n == PIECES - 1
            if chat:
                data = self._delta(variant, n, last)
            else:
                finish = b'"stop"' if last else b"null"
                data = self._completion(ids[cuts[n] : cuts[n + 1]], echo if n == 0 else b"null", finish)
            await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    @staticmethod
    async def _start(send: Any, kind: bytes, size: int | None = None) -> None:
        headers = [(b"content-type", kind)]
        if size is not None:
            headers.append((b"content-length", str(size).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    @staticmethod
    def _completion(ids: Sequence[int], echo: bytes, finish: bytes) -> bytes:
        logprobs = {"token_logprobs": [-0.25 - token / 65536 for token in ids], "tokens": [""] * len(ids)}
        told = orjson.dumps({"index": 0, "text": "", "token_ids": list(ids), "logprobs": logprobs})[:-1]
        choice = told + b',"finish_reason":' + finish + b',"prompt_token_ids":' + echo + b"}"
        return b'{"id":"cmpl-x","object":"text_completion","choices":[' + choice + b"]}"

    @staticmethod
    def _chat(variant: int) -> bytes:
        said = reply(variant)
        function = {"name": "read", "arguments": json.dumps(said.calls[0].arguments)}
        call = {"id": f"call_{variant:024d}", "type": "function", "function": function}
        message = {
            "role": "assistant", "content": said.content, "reasoning_content": said.reasoning,
            "tool_calls": [call],
        }  # fmt: skip
        return orjson.dumps(
            {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )

    @staticmethod
    def _delta(variant: int, n: int, last: bool) -> bytes:
        delta: dict[str, Any] = {"reasoning_content": "some more of it "}
        if last:
            function = {"name": "read", "arguments": json.dumps(reply(variant).calls[0].arguments)}
            delta = {"tool_calls": [{"index": 0, "id": f"call_{variant:024d}", "function": function}]}
        finish = "tool_calls" if last else None
        return orjson.dumps({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


# -- the agents


@dataclass
class Talk:
    """One conversation, and the address it goes to."""

    number: int
    path: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    turns: int = 0


@dataclass
class Agents:
    """Drives conversations against one server."""

    client: aiohttp.ClientSession
    bare: str
    gateway: str
    system: str = ""
    idle: dict[bool, list[Talk]] = field(default_factory=lambda: {True: [], False: []})
    made: int = 0
    failed: int = 0
    tools: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(0)
        self.system = words(rng, SYSTEM_WORDS)
        properties = {"path": {"type": "string"}, "line": {"type": "integer"}}
        self.tools = [
            {"type": "function", "function": {"name": name, "description": words(rng, 30), "parameters": {
                "type": "object", "properties": properties}}} for name in ("read", "write", "run", "search")
        ]  # fmt: skip

    async def talk(self, gateway: bool) -> Talk:
        """The conversation that has waited longest, or a new one."""
        if self.idle[gateway]:
            return self.idle[gateway].pop(0)
        return await self.fresh(gateway)

    async def fresh(self, gateway: bool) -> Talk:
        self.made += 1
        talk = Talk(self.made)
        task = f"Task {talk.number}: {words(random.Random(talk.number), TASK_WORDS)}"
        talk.messages = [{"role": "system", "content": self.system}, {"role": "user", "content": task}]
        if gateway:
            key = {"authorization": f"Bearer {KEY}"}
            opening = {"trajectory": f"t{talk.number}"}
            async with self.client.post(
                f"{self.gateway}/control/sessions", json=opening, headers=key
            ) as told:
                talk.path = f"{self.gateway}{(await told.json())['path']}/v1/chat/completions"
        else:
            talk.path = f"{self.bare}/v1/chat/completions"
        return talk

    async def ask(self, talk: Talk, due: float, *, stream: bool) -> float:
        """One request; seconds from when it was due to its end."""
        body = {"model": "m", "messages": talk.messages, "tools": self.tools, "stream": stream}
        data = orjson.dumps(body)
        await asyncio.sleep(due - time.perf_counter())
        async with self.client.post(talk.path, data=data) as response:
            got = await response.read()
            seconds = time.perf_counter() - due
            self.failed += response.status != 200
        named, call = re.search(rb"file_(\d\d)\.py", got), re.search(rb'"(call_\w+)"', got)
        if named is None or call is None:
            self.failed += 1
            return seconds
        variant, id = int(named[1]), call[1].decode()
        arguments = json.dumps(reply(variant).calls[0].arguments, indent=1)  # written anew, as agents do
        made = [{"id": id, "type": "function", "function": {"name": "read", "arguments": arguments}}]
        result = words(random.Random(variant), RESULT_WORDS)
        talk.messages += [
            {"role": "assistant", "content": reply(variant).content, "tool_calls": made},
            {"role": "tool", "tool_call_id": id, "content": result},
        ]
        talk.turns += 1
        return seconds

    async def spell(self, *, gateway: bool, stream: bool, rate: float, seconds: float) -> list[float]:
        """An open loop for some seconds; then waits for what runs."""
        rng = random.Random(self.made)
        begun, due = time.perf_counter() + 0.2, 0.0
        running: list[asyncio.Task[float]] = []

        async def one(at: float) -> float:
            talk = await self.talk(gateway)
            spent = await self.ask(talk, at, stream=stream)
            if talk.turns >= TURNS:
                talk = await self.fresh(gateway)
            self.idle[gateway].append(talk)
            return spent

        while due < seconds:
            await asyncio.sleep(begun + due - 0.15 - time.perf_counter())
            running.append(asyncio.create_task(one(begun + due)))
            due += rng.expovariate(rate)
        return list(await asyncio.gather(*running))

    async def saturate(self, *, stream: bool, seconds: float) -> float:
        """Requests a second that so many connections get through."""
        ends, done = time.perf_counter() + seconds, 0

        async def connection() -> None:
            nonlocal done
            talk = await self.fresh(gateway=True)
            while time.perf_counter() < ends:
                await self.ask(talk, time.perf_counter(), stream=stream)
                done += 1
                if talk.turns >= TURNS:
                    talk = await self.fresh(gateway=True)

        begun = time.perf_counter()
        await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
        return done / (time.perf_counter() - begun)


# -- the run


@dataclass(frozen=True)
class Overhead:
    """Milliseconds above the engine's delay; `p50` and `p99` are the gateway's share."""

    p50: float
    p90: float
    p99: float
    bare: dict[str, float]
    gateway: dict[str, float]
    requests: int


def percentiles(seconds: list[float], delay: float) -> dict[str, float]:
    return {f"p{p}": round(1000 * (float(np.percentile(seconds, p)) - delay), 3) for p in (50, 90, 99)}


def overhead(bare: list[float], gateway: list[float], delay: float) -> Overhead:
    without, mine = percentiles(bare, delay), percentiles(gateway, delay)
    shares = {p: round(mine[p] - without[p], 3) for p in mine}
    return Overhead(shares["p50"], shares["p90"], shares["p99"], without, mine, len(gateway))


@contextmanager
def role(*arguments: object) -> Generator[str]:
    """A process of this file; its address."""
    started = subprocess.Popen(
        [sys.executable, __file__, "--role", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        yield started.stdout.readline().strip()
    finally:
        started.terminate()
        started.wait(60)


async def agents(bare: str, gateway: str) -> AsyncGenerator[Agents]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(120),
        headers={"content-type": "application/json"},
    ) as client:
        yield Agents(client, bare, gateway)


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with (
        role("stub", folder, options.delay) as stub,
        role("gateway", folder / "loop.sqlite", folder, stub) as url,
    ):
        async for driver in agents(stub, url):
            for stream in (False, True):
                times: dict[bool, list[float]] = {True: [], False: []}
                for gateway in (True, False):  # connections, caches
                    await driver.spell(gateway=gateway, stream=stream, rate=options.rate, seconds=2)
                for _ in range(max(round(options.seconds / 4 / SPELL_SECONDS), 1)):
                    for gateway in (False, True):
                        times[gateway] += await driver.spell(
                            gateway=gateway, stream=stream, rate=options.rate, seconds=SPELL_SECONDS
                        )
                found["streamed" if stream else "plain"] = asdict(
                    overhead(times[False], times[True], options.delay)
                )
            found["failed"] = driver.failed
    found |= checked(folder / "loop.sqlite", folder)
    with role("stub", folder, 0) as stub, role("gateway", folder / "fast.sqlite", folder, stub) as url:
        async for driver in agents(stub, url):
            for stream in (False, True):
                rate = await driver.saturate(stream=stream, seconds=SPELL_SECONDS)
                found[f"saturation_{'streamed' if stream else 'plain'}_per_s"] = round(rate, 1)
            found["failed"] += driver.failed
    return found


def checked(path: Path, folder: Path) -> dict[str, Any]:
    """What the pool has: prompts, and whether each response is one that the engine gives."""
    tokenizer = vocabulary(folder)
    replies = {
        hashlib.sha256(np.array(tokenizer.encode(completion(reply(n))), np.int32).tobytes()).digest()
        for n in range(VARIANTS)
    }
    pool = SqlitePool(path, create=False)
    names = [row[0] for row in pool._db.execute("SELECT trajectory FROM attempts")]
    lengths: list[int] = []
    wrong = extensions = 0
    for name in names:
        turns = pool.trajectory(name).completions
        whole = prompts(turns)
        for turn in turns:
            lengths.append(len(whole[turn.turn]))
            wrong += hashlib.sha256(turn.response.tobytes()).digest() not in replies
            wrong += turn.parent != (turn.turn - 1 if turn.turn else None)
            extensions += turn.growth == "extension"
    pool.close()
    return {
        "turns_in_pool": len(lengths), "extensions": extensions, "wrong_turns": wrong,
        "prompt_tokens_p50": float(np.median(lengths)),
    }  # fmt: skip


def missed(found: dict[str, Any]) -> list[str]:
    faults = [
        f"{kind} {p} {found[kind][p]} ms is not under {goal:g}"
        for kind in ("plain", "streamed")
        for p, goal in GOALS.items()
        if found[kind][p] >= goal
    ]
    return faults + [f"{key} {found[key]}" for key in ("failed", "wrong_turns") if found[key]]


def told() -> socket.socket:
    """A listening socket, its address printed."""
    bound = listen("127.0.0.1", 0)
    print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    return bound


def play(name: str, rest: list[str]) -> None:
    """One of the other processes."""
    if name == "stub":
        stub: Any = Stub(vocabulary(Path(rest[0])), float(rest[1]))
        server_of(stub).run(sockets=[told()])
        return
    pool, folder, engine = rest
    recorder = PoolRecorder(SqlitePool(Path(pool)))
    gateway = Gateway(VllmEngine(engine, "m", 1 << 17), vocabulary(Path(folder)), recorder)
    serve(Server(gateway, KEY), told())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=40, help="of sending, in all")
    parser.add_argument("--rate", type=float, default=128, help="requests a second")
    parser.add_argument("--delay", type=float, default=2, help="of the engine, seconds")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        play(options.role[0], options.role[1:])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        vocabulary(Path(folder))
        found = uvloop.run(measure(options, Path(folder)))
    found["missed"] = missed(found)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for kind in ("plain", "streamed"):
            told = found[kind]
            print(f"{kind:9} overhead p50 {told['p50']:.2f} ms, p90 {told['p90']:.2f}, p99 {told['p99']:.2f}")
            print(f"          above the delay: bare {told['bare']}, gateway {told['gateway']}")
        print({key: value for key, value in found.items() if not isinstance(value, dict)})
    return int(bool(found["missed"]))


if __name__ == "__main__":
    sys.exit(main())
