"""No sampled id is ever made again, whatever agents do to what they got: over a thousand exchanges a dialect.

What a prompt has to be is computed here from the agent's own conversation and from the ids that the engine
gave, without the gateway's tree.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from agents import AGENTS, Entry, Habits
from scripted import ScriptedEngine
from vocabulary import odd, trained

from training.chat.m2 import ASK, BLOCK, completion, segments
from training.chat.messages import CLOSE, Message, Tool, ToolCall
from training.corpus.tokens import FileTokenizer
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.recorder import MemoryRecorder
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.settings import GatewaySettings
from training.forge.gateway.tree import Growth, Likeness, Turn, likeness

EXCHANGES = 1000
WORDS = ("naïve", "λ", "\n\n", "  ", "def f():", "{}", "ok", "漢字", "end.\n", "🦀", "<b>", "\\n")


class Model:
    """Says unlike things, mostly: each a message of which the ids are odd."""

    def __init__(self, tokenizer: FileTokenizer) -> None:
        self.tokenizer, self.rng, self.count = tokenizer, random.Random(1), 0

    def text(self, most: int) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(0, most))).strip("\n ")

    def __call__(self, prompt: list[int]) -> list[int]:
        self.count += 1
        rng = self.rng
        said = "Done." if rng.random() < 0.2 else f"{self.text(6)} {self.count}".strip()
        calls = tuple(self.call() for _ in range(rng.choice([0, 0, 1, 1, 2, 3])))
        reasoning = "" if rng.random() < 0.1 else f"{self.text(5)} because {self.count}".strip()
        whole = Message(role="assistant", content=said if rng.random() < 0.9 else "", reasoning=reasoning)
        text = completion(whole.model_copy(update={"calls": calls}))
        if rng.random() < 0.05:
            text = text.replace("</invoke>", "", 1)  # a malformed call
        return odd(self.tokenizer, text, rng)

    def call(self) -> ToolCall:
        given = {
            "path": self.text(3),
            "line": self.rng.randint(0, 99),
            "share": self.rng.choice([0.5, 2.0, 7]),
        }
        return ToolCall(name="read", arguments=dict(self.rng.sample(sorted(given.items()), 2)))


def expected(
    tokenizer: FileTokenizer, entries: list[Entry], turns: dict[str, Turn], tools: list[Tool]
) -> list[int]:
    """The ids of a conversation: text encoded, what was sampled as it was sampled."""
    messages: list[Message] = []
    sampled: dict[int, Turn] = {}
    for entry in entries:
        if entry.kind == "tools":
            messages += [Message(role="tool", content=result) for result in entry.results]
            continue
        if entry.token:
            sampled[len(messages)] = turns[entry.token]
        calls = tuple(ToolCall(name=f, arguments=a) for _, f, a in entry.calls)
        messages.append(
            Message(role=entry.kind, content=entry.text, reasoning=entry.reasoning, calls=calls)  # ty: ignore[invalid-argument-type]
        )
    last_user = max(n for n, message in enumerate(messages) if message.role == "user")
    ids: list[int] = []
    done: set[int] = set()
    close, end = tokenizer.encode(CLOSE)[0], tokenizer.encode("[e~[")[0]
    for segment in segments(messages, tools):
        turn = sampled.get(segment.message)
        if turn is None:
            ids += tokenizer.encode(segment.text)
        elif segment.message not in done:
            done.add(segment.message)
            response = turn.response.tolist()
            assert response[-1] == end
            if segment.message > last_user:
                ids += tokenizer.encode(ASK) + response
            else:
                rest = response[response.index(close) + 1 :]
                while rest[0] != end and not tokenizer.decode(rest[:1]).strip("\n"):
                    rest = rest[1:]
                ids += tokenizer.encode(f"{BLOCK}ai\n") + rest
            ids += tokenizer.encode("\n")
    return ids + tokenizer.encode(ASK)


class Rollout:
    """One session: an agent that compacts, retries, asks in parallel and has sub-agents."""

    def __init__(self, dialect: str, gateway: Gateway, url: str, engine: ScriptedEngine, seed: int) -> None:
        self.rng = random.Random(seed)
        self.session = gateway.open(f"{dialect}-{seed}")
        self.agent = AGENTS[dialect](f"{url}/s/{self.session.secret}")
        self.tokenizer: FileTokenizer = gateway.tokenizer  # ty: ignore[invalid-assignment]
        pick = self.rng.random
        self.habits = Habits(pick() < 0.5, pick() < 0.5, pick() < 0.5, pick() < 0.3)
        self.checked = 0
        self.wrong = 0
        self.twins = 0

    def turns(self) -> dict[str, Turn]:
        return {turn.token: turn for turn in self.session.tree.turns}

    def alike(self, entries: list[Entry], *, before: Turn) -> Iterator[list[Entry]]:
        """The conversation with each choice of turns that said what an entry says."""
        said: dict[Likeness, list[str]] = defaultdict(list)
        for turn in self.session.tree.turns:
            if turn.number < before.number:
                said[likeness(turn.said.message)].append(turn.token)
        turns = self.turns()
        choices = [
            said[likeness(turns[entry.token].said.message)] if entry.token else [""] for entry in entries
        ]
        for chosen in product(*choices):
            yield [replace(entry, token=token) for entry, token in zip(entries, chosen, strict=True)]

    async def ask(self, entries: list[Entry]) -> Entry:
        given = list(entries)
        answer = await self.agent.ask(given, self.habits, self.rng, self.rng.random() < 0.5)
        turn = self.turns()[answer.token]
        tools, prompt = list(turn.ask.tools), turn.prompt().tolist()
        self.checked += 1
        if prompt != expected(self.tokenizer, given, self.turns(), tools):
            # Two turns said the same, and what stood before was compacted: then either is right.
            self.twins += 1
            self.wrong += not any(
                prompt == expected(self.tokenizer, twins, self.turns(), tools)
                for twins in self.alike(given, before=turn)
            )
        if not self.habits.keeps_reasoning:
            answer.reasoning = ""
        if self.habits.trims:
            answer.text = answer.text.strip()
        return answer

    def next(self, answer: Entry) -> Entry:
        if answer.calls:
            return Entry("tools", results=[self.rng.choice(WORDS) * 3 for _ in answer.calls])
        return Entry("user", f"And {self.rng.choice(WORDS)}? {self.rng.random()}")

    def compacted(self, entries: list[Entry]) -> list[Entry]:
        """Without some of the oldest turns, as sliding windows and summaries leave it."""
        starts = [n for n, entry in enumerate(entries) if entry.kind == "assistant"]
        head = [entry for entry in entries[:2] if entry.kind in ("system", "user")]
        cut = starts[self.rng.randrange(len(starts))] if starts else len(entries)
        if self.rng.random() < 0.5:
            head.append(Entry("user", f"Summary of {cut} steps."))
        return head + entries[cut:]

    async def run(self, exchanges: int) -> None:
        while self.checked < exchanges:
            entries = [Entry("system", f"You are agent {self.rng.randint(0, 1)}.")] * (
                self.rng.random() < 0.7
            )
            entries.append(Entry("user", f"Task {self.rng.random()}"))
            for _ in range(self.rng.randint(2, 9)):
                draw = self.rng.random()
                if draw < 0.08:
                    await self.ask(entries)  # a retry: the first answer is not used
                elif draw < 0.16:
                    entries = self.compacted(entries)
                elif draw < 0.24:  # sub-agents, at once
                    helpers = [[Entry("user", f"Help with {n} {self.rng.random()}")] for n in range(2)]
                    await asyncio.gather(*map(self.ask, helpers))
                answer = await self.ask(entries)
                entries += [answer, self.next(answer)]
        await self.agent.close()


@pytest.mark.parametrize("dialect", AGENTS)
async def test_no_sampled_id_is_made_again(dialect: str, tmp_path: Path) -> None:
    tokenizer = trained(tmp_path)
    engine = ScriptedEngine(Model(tokenizer))
    recorder = MemoryRecorder()
    gateway = Gateway(engine, tokenizer, recorder, GatewaySettings())
    async with running(Server(gateway, "key")) as url:
        rollouts = [Rollout(dialect, gateway, url, engine, seed) for seed in range(8)]
        await asyncio.gather(*(rollout.run(EXCHANGES // len(rollouts) + 1) for rollout in rollouts))
    assert sum(rollout.checked for rollout in rollouts) >= EXCHANGES
    assert sum(rollout.wrong for rollout in rollouts) == 0
    assert sum(rollout.twins for rollout in rollouts) < EXCHANGES // 50
    turns = [turn for _, turn in recorder.turns]
    assert len(turns) == sum(rollout.checked for rollout in rollouts) == len(engine.seen)
    seen = {(tuple(prompt), tuple(ids)): logprobs for prompt, ids, logprobs in engine.seen}
    for turn in turns:
        logprobs = seen[tuple(turn.prompt().tolist()), tuple(turn.response.tolist())]
        assert np.array_equal(turn.logprobs, np.array(logprobs, np.float32))
    growths = {growth: sum(turn.growth is growth for turn in turns) for growth in Growth}
    assert growths[Growth.ROOT] == len(rollouts)
    assert growths[Growth.EXTENSION] > EXCHANGES // 5
    assert growths[Growth.BRANCH] > EXCHANGES // 5
    assert any(turn.said.malformed for turn in turns)
