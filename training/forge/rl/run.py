"""An RL run: batches from rollouts, CISPO steps on their prefix trees, weights back to the engine.

A run is named by the hash of its settings and of the checkpoint it starts from, and lives in `out/<id>/`:
`config.toml`, `pool.sqlite` (every completion and reward, and which step took what), `metrics.jsonl`,
`checkpoint.pt`, `engine.log` and, at the end, `model/` and `rl.png`. Started again after any kill, it trains
the batches that were committed since the checkpoint once more, of the very same trajectories, and goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.corpus.tokens import Tokenizer, open_tokenizer
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.gateway.session import new_secret
from training.forge.gateway.settings import GatewaySettings
from training.forge.pool.ledger import Ledger
from training.forge.pool.recorder import PoolRecorder
from training.forge.pool.records import Batch
from training.forge.pool.sqlite import SqlitePool
from training.forge.rl.clock import Timetable, VirtualRollouts
from training.forge.rl.domain import Domain, domain
from training.forge.rl.engines import Supply, supply
from training.forge.rl.metrics import RlMetrics, plot, records
from training.forge.rl.rollouts import Rollouts, Stream
from training.forge.rl.samples import Learnt, learnt
from training.forge.rl.settings import RlConfig
from training.forge.scheduler.queue import GroupQueue
from training.model import checkpoint
from training.objective import Loss, Objective
from training.trainer import state
from training.trainer.interruption import Flag
from training.trainer.optimizer import learning_rate
from training.trainer.step import StepResult, Trainer
from training.trees.merge import merged
from training.trees.split import micro_batches
from warehouse.errors import FactoryError
from warehouse.outbox import Outbox
from warehouse.records import content_id
from warehouse.settings import Settings

Told = Callable[[RlMetrics], None]
POOL = "pool.sqlite"
END_BYTES = 4 << 20  # of a file of weights, read to tell checkpoints apart


@dataclass(frozen=True)
class RlReport:
    """What a run came to."""

    run_id: str
    folder: Path
    metrics: tuple[RlMetrics, ...]
    resumed_at: int

    def score(self, share: float) -> float:
        """Mean outcome of the first (share > 0) or last (share < 0) part of the steps."""
        count = max(1, round(abs(share) * len(self.metrics)))
        part = self.metrics[:count] if share > 0 else self.metrics[-count:]
        scores = [m.score for m in part if m.score is not None]
        return sum(scores) / max(1, len(scores))


async def run_rl(config: RlConfig, settings: Settings, told: Told, stop: Flag) -> RlReport:
    """Trains, or goes on training, what `config` describes. `stop` ends it after the step at hand.

    Raises FactoryError, KeyboardInterrupt when it was stopped; either way what was done is kept.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    run = RlRun(config)
    resumed_at = run.done
    try:
        async with run.world() as world:
            await run.train(world, told, stop)
        run.finish()
    except FactoryError:
        run.record(settings, "failed")
        raise
    except BaseException:
        run.record(settings, "")
        raise
    finally:
        torch.set_num_threads(threads)
    run.record(settings, "completed")
    return RlReport(run.run_id, run.folder, tuple(run.metrics), resumed_at)


@dataclass(frozen=True)
class World:
    """All that runs beside the trainer."""

    supply: Supply
    rollouts: Rollouts
    ledger: Ledger


class RlRun:
    """The trainer's side of a run."""

    def __init__(self, config: RlConfig) -> None:
        self.config = config
        identity = config.model_dump(mode="json", exclude={"out", "save_every", "threads", "vllm"})
        self.run_id = content_id("rl", identity, _digest(Path(config.start)), torch.__version__)
        self.folder = config.out / self.run_id
        self.checkpoint = self.folder / "checkpoint.pt"
        self.log = self.folder / "metrics.jsonl"
        self.tokenizer: Tokenizer = open_tokenizer(config.tokenizer)
        model = checkpoint.load(Path(config.start), dtype=getattr(torch, config.dtype)).to(config.device)
        if self.tokenizer.vocabulary > model.config.vocab_size:
            raise FactoryError(
                f"The tokenizer {config.tokenizer} has {self.tokenizer.vocabulary} tokens, but the model of "
                f"{config.start} only {model.config.vocab_size}; use the model's own tokenizer."
            )
        self.trainer = Trainer(model, config.optimizer)
        self.objective = Objective(loss=Loss.CISPO, ratio_max=config.ratio_max, mtp=config.mtp)
        self.metrics: list[RlMetrics] = []
        self._restore()
        state.write(self.folder / "config.toml", config.to_toml().encode())
        state.write(self.log, "".join(m.line() for m in self.metrics).encode())

    @property
    def done(self) -> int:
        """Steps that are in the weights."""
        return len(self.metrics)

    async def train(self, world: World, told: Told, stop: Flag) -> None:
        """The steps that are left; the batches that a killed run had committed first."""
        for batch in world.ledger.replay(self.done):
            if self.done < self.config.steps:
                await self._step(world, batch, told, waited=None)
        await world.supply.update(self.trainer.model, self.done)
        try:
            while self.done < self.config.steps:
                began = time.perf_counter()
                batch = await world.rollouts.batch(stop)
                if batch is not None:
                    await self._step(world, batch, told, waited=time.perf_counter() - began)
                if stop.is_set() and self.done < self.config.steps:
                    self._save()
                    raise KeyboardInterrupt
        finally:
            await world.rollouts.stop()

    def finish(self) -> None:
        """The weights for others, and the plot."""
        if not (self.folder / "model").exists():
            checkpoint.save(self.trainer.model, self.folder / "model")
        plot(self.metrics, self.folder / "rl.png")

    def record(self, settings: Settings, outcome: str) -> None:
        """The run's steps into the warehouse, and its outcome if it has one."""
        summary = {"outcome": outcome, "settings": self.config.model_dump(mode="json")} if outcome else None
        with Outbox(settings) as outbox:
            outbox.append(records(self.run_id, self.metrics, summary))

    @asynccontextmanager
    async def world(self) -> AsyncGenerator[World]:
        """Domains, pool, engine and gateway, up; down again when the block ends."""
        config = self.config
        domains = {name: domain(d.domain, d.options) for name, d in config.domains.items()}
        path = self.folder / POOL
        pool = SqlitePool(path, batch=config.groups, samples=config.samples, durable=True)
        gateway_settings = GatewaySettings(
            limits=config.limits,
            policy=config.sampling.model_copy(update={"seed": config.sampling.seed or config.seed}),
            deadlines=config.deadlines,
            keep_reasoning=config.keep_reasoning,
        )
        try:
            async with opened(domains), supply(config, self.trainer.model, self.folder) as made:
                recorder = PoolRecorder(SqlitePool(path))
                gateway = Gateway(made.engine, self.tokenizer, recorder, gateway_settings)
                async with running(Server(gateway, new_secret())) as url:
                    ledger = Ledger(pool)
                    shares = {name: d.share for name, d in config.domains.items()}
                    stream = Stream(domains, shares, config.seed, ledger.queue.offered)
                    policy = config.scheduler.policy_for(config.groups)
                    parts = (config, pool, ledger, policy, gateway, url, stream)
                    rollouts = Rollouts(*parts)
                    if config.clock:
                        afresh = Stream(domains, shares, config.seed)
                        timetable = Timetable(policy, GroupQueue(config.groups), config.clock, afresh.next)
                        rollouts = VirtualRollouts(*parts, timetable=iter(timetable))
                    yield World(made, rollouts, ledger)
        finally:
            pool.close()

    async def _step(self, world: World, batch: Batch, told: Told, *, waited: float | None) -> None:
        """One optimiser step, its metrics, and its weights in the engine; a replayed step waited for nothing,
        and its weights stay here.
        """
        pool, number = world.rollouts.pool, self.done
        assert batch.step == number, "a batch of another step"
        groups = {
            index: [pool.trajectory(name) for name in names]
            for index, names in zip(batch.groups, batch.trajectories, strict=True)
        }
        began = time.perf_counter()
        found = await asyncio.to_thread(learnt, groups, number, self.config, self.tokenizer)
        lr = learning_rate(number, self.config.steps, self.config.optimizer)
        result = await asyncio.to_thread(self._update, found, lr) if found.samples else None
        trained = time.perf_counter()
        if waited is not None:
            await world.supply.update(self.trainer.model, number + 1)
        seconds = (waited or 0.0, trained - began, time.perf_counter() - trained)
        self.metrics.append(_metrics(number, found, result, lr, seconds))
        with self.log.open("a", encoding="utf-8") as log:
            log.write(self.metrics[-1].line())
        if self.done % self.config.save_every == 0 or self.done == self.config.steps:
            self._save()
        world.ledger.trained(number)
        told(self.metrics[-1])

    def _update(self, found: Learnt, lr: float) -> StepResult:
        batches = micro_batches(found.samples, self.config.micro_batch_tokens, merged)
        return self.trainer.step(batches, self.objective, lr=lr)

    def _save(self) -> None:
        state.save(self.checkpoint, self.trainer, self.run_id, self.done)

    def _restore(self) -> None:
        """Weights and metrics as of the checkpoint; later steps are trained again, of the same batches."""
        if not self.checkpoint.exists():
            return
        try:
            found = state.read(self.checkpoint, self.run_id)
            lines = self.log.read_text(encoding="utf-8").splitlines()[: found["step"]]
            self.metrics = [RlMetrics.read(line) for line in lines]
            if [m.step for m in self.metrics] != list(range(found["step"])):
                raise ValueError("checkpoint.pt and metrics.jsonl do not belong together")
            state.restore(found, self.trainer)
        except state.UNREADABLE as error:
            raise state.damaged(self.folder, error) from error


@asynccontextmanager
async def opened(domains: Mapping[str, Domain]) -> AsyncGenerator[None]:
    """The domains, ready; closed when the block ends."""
    try:
        for one in domains.values():
            await one.open()
        yield
    finally:
        for one in domains.values():
            await one.close()


def _digest(folder: Path) -> str:
    """Of a checkpoint: its configuration, and of each file of weights the size and both ends."""
    config = folder / "config.json"
    if not config.exists():
        raise FactoryError(f"There is no checkpoint at {folder}: it has no config.json.")
    digest = hashlib.sha256(config.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size} ".encode() + file.read(END_BYTES))
            file.seek(max(0, size - END_BYTES))
            digest.update(file.read())
    return digest.hexdigest()


def _metrics(
    step: int, found: Learnt, result: StepResult | None, lr: float, seconds: tuple[float, float, float]
) -> RlMetrics:
    tally: Any = result.tally if result else None
    pairs = tally.pairs if tally else 0
    return RlMetrics(
        step=step,
        score=sum(found.scores) / len(found.scores) if found.scores else None,
        reward=sum(found.rewards) / len(found.rewards) if found.rewards else None,
        rollouts=len(found.scores),
        loss=tally.trunk_loss if tally else 0.0,
        grad_norm=result.grad_norm if result else 0.0,
        lr=lr,
        ratio_mean=tally.ratio_sum / pairs if pairs else 1.0,
        ratio_max=tally.ratio_max if tally else 1.0,
        cut=tally.cut / pairs if pairs else 0.0,
        staleness_mean=sum(found.staleness) / max(1, len(found.staleness)),
        staleness_max=max(found.staleness, default=0),
        tokens=sum(len(sample.tokens_S) for sample in found.samples),
        computed=tally.tokens if tally else 0,
        response_tokens=found.response_tokens,
        malformed=found.malformed,
        left_out=found.left_out,
        wait_seconds=round(seconds[0], 4),
        train_seconds=round(seconds[1], 4),
        sync_seconds=round(seconds[2], 4),
    )
