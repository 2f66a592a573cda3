"""Several engines behind one gateway: groups stay together, queues are avoided, and who fails is named."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import openai
import pytest
from agents import AGENTS, Entry, Habits
from scripted import ScriptedEngine

from training.chat.m2 import completion
from training.chat.messages import Message
from training.corpus.tokens import ByteTokenizer
from training.forge.gateway.ask import Sampling
from training.forge.gateway.engines.router import BLOCK, Cache, Router, marks_of
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.recorder import MemoryRecorder
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.settings import Deadlines, GatewaySettings

TOKENS = ByteTokenizer()
SAID = Message(role="assistant", content="All is well.", reasoning="Hm.")


def says(message: Message = SAID) -> Callable[[list[int]], list[int]]:
    return lambda prompt: TOKENS.encode(completion(message))


def router(count: int, *, seats: int = 4, prefill: float = 1000.0, **how: float) -> Router:
    engines = [
        ScriptedEngine(says(), name=f"engine {n}", seconds=how.pop("seconds", 0)) for n in range(count)
    ]
    return Router(engines, seats=seats, prefill=prefill, cached_tokens=1 << 20, **how)  # type: ignore[arg-type]


def context(seed: int, size: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.int32)


async def generated(routed: Router, prompt: np.ndarray) -> None:
    async for _ in routed.generate(prompt, Sampling(max_tokens=100), end=0, stream=False, routes_from=0):
        pass


def test_a_cache_knows_beginnings_by_their_blocks_and_forgets_the_oldest() -> None:
    prompt = context(0, 5 * BLOCK + 7)
    cache = Cache(8 * BLOCK)
    cache.add(marks_of(prompt))
    other = prompt.copy()
    other[3 * BLOCK + 1] += 1
    longer = np.concatenate([prompt, context(1, 100)])
    assert cache.hit(marks_of(prompt)) == len(prompt)
    assert cache.hit(marks_of(other)) == 3 * BLOCK
    assert cache.hit(marks_of(longer)) == 5 * BLOCK
    assert cache.hit(marks_of(context(2))) == 0
    cache.add(marks_of(context(3, 4 * BLOCK)))
    assert 0 < cache.hit(marks_of(prompt)) < len(prompt)  # its end went first
    cache.clear()
    assert cache.hit(marks_of(prompt)) == 0


def test_the_cost_is_the_documented_one() -> None:
    routed = router(2, seats=2, prefill=500.0, answer_seconds=3.0)
    seat, marks = routed.members[0], marks_of(context(0, 640))
    assert routed.cost(seat, marks) == 640 / 500
    seat.cache.add(marks_of(context(0, 640)[:256]))
    assert routed.cost(seat, marks) == (640 - 256) / 500
    seat.running = 4
    assert routed.cost(seat, marks) == 3 * 3.0 / 2 + (640 - 256) / 500


async def test_a_group_stays_on_one_engine_and_groups_are_spread() -> None:
    routed = router(4, seats=8)
    groups = {n: context(n) for n in range(8)}
    order = [n for n in groups for _ in range(8)]
    chosen = {n: Counter[str]() for n in groups}
    for n in order:  # all at once: none has ended when the next is asked
        chosen[n][routed.route(groups[n]).name] += 1
    # each engine has eight seats and is home to two groups of eight: the second's waiting is worth its while
    assert all(len(engines) == 1 for engines in list(chosen.values())[:4]), chosen
    assert sorted(name for e in list(chosen.values())[:4] for name in e) == [f"engine {n}" for n in range(4)]
    assert sum(len(engines) for engines in chosen.values()) <= 8 * 2


async def test_turns_of_a_conversation_find_what_was_computed() -> None:
    routed = router(3)
    prompt = context(5)
    for turn in range(6):
        await asyncio.gather(
            generated(routed, prompt), *(generated(routed, context(10 + turn * 3 + n)) for n in (0, 1))
        )
        sampled = np.array(TOKENS.encode(completion(SAID)), np.int32)
        prompt = np.concatenate([prompt, sampled, context(100 + turn, 50)])
    asked = [
        seat.name for seat in routed.members
        for before, _, _ in seat.engine.seen if before[:1000] == context(5).tolist()  # type: ignore[attr-defined]
    ]  # fmt: skip
    assert len(asked) == 6
    assert len(set(asked)) == 1
    assert [running for _, running in routed.loads()] == [0, 0, 0]
    routed.emptied()
    assert all(seat.cache.hit(marks_of(prompt)) == 0 for seat in routed.members)


@pytest.mark.parametrize(("answer", "leaves"), [(0.1, False), (20.0, True)])
def test_a_loaded_engine_loses_new_groups_and_its_own_only_where_waiting_takes_longer(
    answer: float, leaves: bool
) -> None:
    routed = router(2, seats=4, prefill=1000.0, answer_seconds=answer)
    mine = context(1, 2000)  # two seconds to compute again
    home = routed.route(mine).name
    loaded = next(seat for seat in routed.members if seat.name == home)
    for n in range(20, 23):
        loaded.running += 1
        assert routed.route(context(n)).name != home, "a new group goes where it waits least"
    loaded.running = 4
    assert (routed.route(mine).name != home) is leaves


async def test_an_engine_that_dies_is_named_and_left_out_and_one_that_comes_back_is_asked_again() -> None:
    routed = router(2, away_seconds=0.3)
    prompt = context(1)
    await generated(routed, prompt)
    home = next(seat for seat in routed.members if seat.engine.seen)  # type: ignore[attr-defined]
    other = next(seat for seat in routed.members if seat is not home)
    home.engine.fail = "dies"  # type: ignore[attr-defined]
    with pytest.raises(Fault, match=home.name) as raised:
        await generated(routed, prompt)
    assert (raised.value.kind, raised.value.peer) == (Kind.ENGINE_DIED, home.name)
    await generated(routed, prompt)
    assert len(other.engine.seen) == 1  # type: ignore[attr-defined]
    other.engine.fail = "unreachable"  # type: ignore[attr-defined]
    with pytest.raises(Fault, match=other.name):
        await generated(routed, prompt)
    with pytest.raises(Fault, match="None of engine 0 and engine 1") as raised:
        await generated(routed, prompt)
    assert raised.value.kind is Kind.ENGINE_UNREACHABLE
    home.engine.fail = other.engine.fail = ""  # type: ignore[attr-defined]
    await asyncio.sleep(0.35)
    await generated(routed, prompt)
    assert [running for _, running in routed.loads()] == [0, 0]


async def test_behind_a_gateway_one_that_hangs_is_named_and_the_agent_s_next_try_is_answered() -> None:
    routed, recorder = router(2), MemoryRecorder()
    settings = GatewaySettings(deadlines=Deadlines(answer=0.5, token=0.5))
    gateway = Gateway(routed, TOKENS, recorder, settings)
    habits = Habits(keeps_reasoning=True, rewrites=False, trims=False, stops=False)
    async with running(Server(gateway, "key")) as url:
        for number, stream in enumerate((True, False)):
            session = gateway.open(f"t{number}")
            agent = AGENTS["openai-chat"](f"{url}/s/{session.secret}")
            asked = [Entry("user", f"Do it. {number}")]
            routed.emptied()  # its system message is in somebody's cache
            for seat in routed.members:
                seat.away_until = 0.0
            next_one = min(routed.members, key=lambda seat: seat.running)
            next_one.engine.fail = "hangs"  # type: ignore[attr-defined]
            with pytest.raises(openai.APIError, match=next_one.name):
                await agent.ask(asked, habits, random.Random(0), stream)
            fault = recorder.turns[-1][1].fault
            assert fault is not None
            assert (fault.kind, fault.peer) == (Kind.ENGINE_TIMEOUT, next_one.name)
            assert (await agent.ask(asked, habits, random.Random(0), stream)).text == SAID.content
            next_one.engine.fail = ""  # type: ignore[attr-defined]
            await agent.close()
    assert [running for _, running in routed.loads()] == [0, 0]
