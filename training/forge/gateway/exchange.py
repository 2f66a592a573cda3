"""One request, from what was asked to a recorded turn: the only place where a turn comes to be.

Whatever happens, what was sampled is kept: an engine that dies, an agent that hangs up, numbers that are none
end in a turn with a `fault`. The agent is answered when its turn is recorded, and not before.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from training.forge.gateway.ask import Answer, Ask, Event, Finish, Head, Said, Sampling
from training.forge.gateway.engines import Engine, Piece
from training.forge.gateway.engines.router import Router, Seat
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.output import Reader
from training.forge.gateway.prompts import Prompter, conversation
from training.forge.gateway.recorder import Recorder
from training.forge.gateway.session import Session
from training.forge.gateway.settings import Deadlines
from training.forge.gateway.spelling import Speller, Stopper
from training.forge.gateway.tree import Growth, Ids, Turn

Item = Head | Event | Answer
AGREES = 1e-3  # a log-probability may be above 0 by rounding


@dataclass
class Draft:
    """A turn while it is sampled."""

    prompt: Ids
    trail: int
    parent: Turn | None
    growth: Growth
    sampling: Sampling
    reader: Reader
    speller: Speller
    stopper: Stopper
    engine: Engine
    """Which answers; of several, the one that the router chooses when the turn is asked."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    finish: Finish | None = None
    routes: NDArray[np.integer] | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def routes_from(self) -> int:
        """The first token whose experts this turn tells: the last that its parent sampled was not run yet."""
        return max(self.parent.length - 1, 0) if self.parent else 0


@dataclass
class Exchange:
    """One request of a session, in progress."""

    session: Session
    ask: Ask
    dialect: str
    engine: Engine
    prompter: Prompter
    recorder: Recorder
    deadlines: Deadlines
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    async def run(self) -> AsyncGenerator[Item]:
        """The head, the events as they come, and last the answer. Raises Fault."""
        self.session.admit()
        task = asyncio.current_task()
        assert task is not None
        self.session.running.add(task)
        try:
            draft = await self._draft()
            yield Head(self.token, self.ask.model, self.created, len(draft.prompt))
            async with aclosing(self._events(draft)) as events:
                async for event in events:
                    yield event
            yield self._answer(draft)
        finally:
            self.session.running.discard(task)

    async def prompt(self) -> tuple[Ids, dict[int, Turn], int]:
        """The request's token ids, which of its messages this session's model wrote, and its trail."""
        ask = self.session.whole(self.ask)
        messages, ids = conversation(ask.messages, ask.ids)
        self.ask = replace(ask, messages=messages, ids=ids)
        sampled, trail = self.session.tree.sampled(messages, ids)
        return await self.prompter.prompt(messages, ask.tools, sampled), sampled, trail

    async def _draft(self) -> Draft:
        prompt, sampled, trail = await self.prompt()
        room = self.engine.context - len(prompt)
        if room < 1:
            raise Fault(
                Kind.CONTEXT_LENGTH,
                f"The prompt has {len(prompt)} tokens; this model's maximum context length is "
                f"{self.engine.context} tokens, and the answer needs some of them.",
            )
        parent = self.session.tree.deepest(prompt, reversed(sampled.values()))
        sampling = self.session.sampling(self.ask.asked, room)
        return Draft(
            prompt=prompt,
            trail=trail,
            parent=parent,
            growth=self.session.tree.grow(parent),
            sampling=sampling,
            reader=Reader(self.ask.tools),
            speller=Speller(self.prompter.tokenizer, self.prompter.end),
            stopper=Stopper(sampling.stop),
            engine=self.engine,
        )

    async def _events(self, draft: Draft) -> AsyncGenerator[Event]:
        """Samples, shows, and records; a turn that comes to nothing is recorded too."""
        fault: Fault | None = Fault(Kind.INTERNAL, "The gateway failed.")
        try:
            async with aclosing(self._pieces(draft)) as pieces:
                async for piece in pieces:
                    for event in self._take(draft, piece):
                        yield event
                    if draft.stopper.stopped:
                        break
            for event in _rest(draft):
                yield event
            fault = None
        except Fault as raised:
            fault = raised
            raise
        except (asyncio.CancelledError, GeneratorExit):
            fault = Fault(Kind.CANCELLED, "The agent hung up.")
            raise
        finally:
            if fault is not None:
                _rest(draft)
            await self._record(draft, fault)

    async def _pieces(self, draft: Draft) -> AsyncGenerator[Piece]:
        """What the engine gives, each wait with its deadline."""
        sampling, streamed = draft.sampling, self.ask.stream or bool(draft.sampling.stop)
        ends = time.monotonic() + self.deadlines.answer
        if isinstance(self.engine, Router):
            draft.engine = self.engine.route(draft.prompt)
        engine = draft.engine
        pieces = engine.generate(
            draft.prompt, sampling, end=self.prompter.end, stream=streamed, routes_from=draft.routes_from
        )
        async with aclosing(pieces):
            while True:
                left = ends - time.monotonic()
                wait = min(left, self.deadlines.token) if streamed else left
                try:
                    async with asyncio.timeout(max(wait, 0)):
                        piece = await anext(pieces, None)
                except TimeoutError as error:
                    if isinstance(engine, Seat):
                        engine.leave_out()
                    raise Fault(
                        Kind.ENGINE_TIMEOUT,
                        f"The {engine.name} gave nothing for {max(wait, 0):.0f} s.",
                        engine.name,
                    ) from error
                if piece is None and draft.finish is None:
                    raise Fault(Kind.ENGINE_DIED, f"The {engine.name} broke off its answer.", engine.name)
                if piece is None:
                    return
                yield piece

    def _take(self, draft: Draft, piece: Piece) -> list[Event]:
        """Adds sampled tokens to the draft; what they let the agent see."""
        before = len(draft.ids)
        draft.ids += piece.ids
        draft.logprobs += piece.logprobs
        draft.versions += piece.versions
        draft.finish = piece.finish or draft.finish
        draft.routes = piece.routes if piece.routes is not None else draft.routes
        self._check(draft, piece)
        if not draft.sampling.stop:
            return draft.reader.feed(draft.speller.feed(piece.ids))
        events: list[Event] = []
        for count, token in enumerate(piece.ids, start=before + 1):  # one by one, to know where it stops
            events += draft.reader.feed(draft.stopper.feed(draft.speller.feed([token])))
            if draft.stopper.stopped:
                del draft.ids[count:], draft.logprobs[count:]
                draft.finish = Finish.STOP
                break
        return events

    def _check(self, draft: Draft, piece: Piece) -> None:
        name, oldest = draft.engine.name, self.session.policy.oldest_version
        if any(not math.isfinite(number) or number > AGREES for number in piece.logprobs):
            raise Fault(Kind.NAN_LOGPROBS, f"The {name} gave a token a log-probability that is none.", name)
        if oldest is not None and piece.versions[0] < oldest:
            raise Fault(
                Kind.VERSION_SKEW,
                f"The {name} has weights of version {piece.versions[0]}; this session needs {oldest}.",
                name,
            )

    async def _record(self, draft: Draft, fault: Fault | None) -> None:
        """Keeps the turn, also if the agent hangs up meanwhile; then it belongs to the tree."""
        turn = self._turn(draft, fault)
        self.session.sampled += len(draft.ids)
        name, seconds = self.recorder.name, self.deadlines.record
        task = asyncio.ensure_future(self._keep(turn))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(task)
        except TimeoutError as error:
            task.cancel()
            self.session.ended = Kind.NOT_RECORDED  # its tree and the pool may differ from here on
            raise Fault(Kind.NOT_RECORDED, f"The {name} kept no turn within {seconds:g} s.", name) from error
        except Fault:
            self.session.ended = Kind.NOT_RECORDED
            raise

    async def _keep(self, turn: Turn) -> None:
        await self.recorder.turn(self.session.trajectory, turn)
        self.session.tree.add(turn)

    def _turn(self, draft: Draft, fault: Fault | None) -> Turn:
        above = draft.parent.length if draft.parent else 0
        return Turn(
            number=self.session.tree.number(),
            parent=draft.parent,
            growth=draft.growth,
            suffix=draft.prompt[above:].copy(),
            response=np.array(draft.ids, np.int32),
            logprobs=np.array(draft.logprobs, np.float32),
            sampling=draft.sampling,
            versions=(min(draft.versions, default=0), max(draft.versions, default=0)),
            said=draft.reader.said(),
            ask=self.ask,
            finish=_finish(draft.finish, draft.reader.said()),
            fault=fault,
            routes=draft.routes,
            routes_from=draft.routes_from,
            started=self.created,
            seconds=time.monotonic() - draft.began,
            dialect=self.dialect,
            token=self.token,
            trail=draft.trail,
        )

    def _answer(self, draft: Draft) -> Answer:
        said = draft.reader.said()
        finish = _finish(draft.finish, said)
        assert finish is not None, "an answer without an end"
        return Answer(
            self.token, self.ask.model, self.created, said, finish, len(draft.prompt), len(draft.ids)
        )


def _rest(draft: Draft) -> list[Event]:
    """What was held back, when nothing more comes."""
    text = draft.stopper.feed(draft.speller.rest()) + draft.stopper.rest()
    return [*draft.reader.feed(text), *draft.reader.end()]


def _finish(finish: Finish | None, said: Said) -> Finish | None:
    return Finish.CALLS if finish is Finish.STOP and said.message.calls else finish
