"""Supervised fine-tuning: examples in, falling loss and a checkpoint out.

A run is named by the hash of its settings, of what it learns from and of the torch release, and lives in
`out/<id>/`: `config.toml`, `metrics.jsonl` (one line a step), `checkpoint.pt` (to go on from),
`tensorboard/` and, at the end, `model/` in the Hugging Face layout, `loss.png` and `balance.png`. Starting it
again continues from the checkpoint and gives bit for bit what an uninterrupted run gives on the same machine
and thread count (CPU). Ctrl-C ends the step at hand and saves. The steps also go to the warehouse as
`TrainingRun` rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from training.corpus.corpus import Corpus, Example, Selected, read_corpus, select
from training.corpus.mixture import batches, learnt, samples
from training.objective import Loss, Objective
from training.settings import SftConfig, StageConfig
from warehouse.errors import FactoryError, storage_error
from warehouse.outbox import Outbox
from warehouse.records import content_id
from warehouse.settings import Settings

try:
    import torch
except ImportError as error:
    raise FactoryError("Training needs torch, which is missing: run `pip install torch==2.13.0`.") from error

from training.model import checkpoint
from training.trainer import state
from training.trainer.interruption import Flag, interruption
from training.trainer.metrics import Board, StepMetrics, records
from training.trainer.optimizer import learning_rate
from training.trainer.phases import Phase, enter, phase
from training.trainer.plots import plot
from training.trainer.sharding import WEIGHTS, Group, assembled, process_group
from training.trainer.shares import shares
from training.trainer.start import set_rope, starting_model
from training.trainer.step import Diverged, Trainer
from training.trainer.workers import Progress, run_workers
from training.trees.merge import merged, side_by_side
from training.trees.verify import LIMITS, verify_merge

NOT_IDENTITY = {"domains", "out", "save_every", "verify_merge", "workers", "worker_timeout"}
VERIFIED = ("float32", "float64")  # types whose sums say whether merging changed anything


@dataclass(frozen=True)
class SftReport:
    """What a run came to.

    `tokens` and `seconds` are of its steps, those before a resumption included. `left_out` counts rows by
    reason, `dropped` and `truncated` the too long examples of the last stage.
    """

    run_id: str
    folder: Path
    steps: int
    first_loss: float
    last_loss: float
    tokens: int
    seconds: float
    examples: int
    dropped: int
    truncated: int
    left_out: dict[str, int]
    resumed_at: int


@dataclass(frozen=True)
class Stage:
    """A stage with its examples and the number of its first step."""

    config: StageConfig
    selected: Selected
    first: int


class SftRun:
    """The state of one run: weights, optimiser, and the metrics of every step done.

    With several workers each has one, with its share of the weights. All must call the same methods in the
    same order; only the first one's write.
    """

    def __init__(self, config: SftConfig, corpus: Corpus, group: Group) -> None:
        self.config = config = config.resolved()
        self.corpus = corpus
        self.group = group
        self.stages = _stages(config, corpus)
        self.steps = sum(stage.steps for stage in config.stages)
        # what the numbers depend on; where things lie, who computes and how often we save are not among it
        identity = config.model_dump(mode="json", exclude=NOT_IDENTITY)
        self.run_id = content_id("sft", identity, corpus.sha256, torch.__version__)
        self.folder = config.out / self.run_id
        self.checkpoint = self.folder / "checkpoint.pt"
        self.log = self.folder / "metrics.jsonl"
        self.trainer = Trainer(starting_model(config, corpus.vocabulary, group), config.optimizer, group)
        self.metrics: list[StepMetrics] = []

    @property
    def done(self) -> bool:
        return len(self.metrics) == self.steps

    def todo(self) -> Iterator[tuple[Stage, list[Example]]]:
        """The batches of the steps that are left."""
        for stage in self.stages:
            skip = max(0, len(self.metrics) - stage.first)
            drawn = batches(stage.selected, stage.config, self.config.batch_tokens, self.config.seed)
            for batch in islice(drawn, skip, stage.config.steps):
                yield stage, batch

    def step(self, stage: Stage, batch: list[Example]) -> StepMetrics:
        """One optimiser step. A loss or gradient that is not finite raises before any weight changes."""
        start = time.perf_counter()
        number, config = len(self.metrics), self.config
        set_rope(self.trainer.model, stage.config.rope_theta)
        now = phase([m.mtp_loss for m in self.metrics], [Phase(m.phase) for m in self.metrics], config.mtp)
        lr = learning_rate(number, self.steps, config.optimizer)
        found, make = samples(batch), merged if config.merge else side_by_side
        goal = objective(config, number / max(1, self.steps - 1))
        if config.merge and number < config.verify_merge:
            enter(self.trainer.model, Phase.JOINT)
            report = verify_merge(self.trainer.model, found, goal, config.micro_batch_tokens)
            report.require(LIMITS[WEIGHTS[config.dtype]])
        try:
            share = shares(found, config.micro_batch_tokens, make, self.group.size)[self.group.rank]
            result = self.trainer.step(
                share.batches,
                goal,
                idle=share.idle,
                lr=lr,
                bias_rate=config.router_bias_rate,
                phase=now,
            )
        except Diverged as error:
            raise Diverged(
                f"Training run {self.run_id} diverged at step {number}: {error}; lower optimizer.lr "
                f"(now {config.optimizer.lr}) or raise optimizer.warmup_steps."
            ) from error
        tally = result.tally
        mtp = tally.mtp_losses
        done = StepMetrics(
            step=number,
            stage=stage.config.name,
            phase=now,
            loss=tally.trunk_loss,
            mtp_loss=sum(mtp) / len(mtp) if mtp else None,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens=sum(map(len, batch)),
            computed=tally.tokens,
            learnt=learnt(batch),
            imbalance=result.imbalance,
            seconds=time.perf_counter() - start,
        )
        self.metrics.append(done)
        return done

    def save(self) -> None:
        """Weights and optimiser, whole or not at all."""
        state.save(self.checkpoint, self.trainer, self.run_id, len(self.metrics))

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one; steps logged after it are done again."""
        if not self.checkpoint.exists():
            return
        try:
            found = state.read(self.checkpoint, self.run_id)
            lines = self.log.read_text(encoding="utf-8").splitlines()[: found["step"]]
            metrics = [StepMetrics.read(line) for line in lines]
            if [m.step for m in metrics] != list(range(found["step"])):
                raise ValueError("checkpoint.pt and metrics.jsonl do not belong together")
            state.restore(found, self.trainer)
        except state.UNREADABLE as error:
            raise state.damaged(self.folder, error) from error
        self.metrics = metrics

    def finish(self) -> None:
        """The weights for others, and the curves."""
        model = assembled(self.trainer.model, self.group)
        if not self.group.first:
            return
        if not (self.folder / "model").exists():
            checkpoint.save(model, self.folder / "model")
        plot(self.metrics, len(model.blocks), self.folder)


def objective(config: SftConfig, done: float) -> Objective:
    """What a step minimises when the share `done` of the run is over."""
    mtp = config.mtp
    weight = mtp.weight + (mtp.final_weight - mtp.weight) * done
    return Objective(loss=Loss.SFT, mtp=mtp.loss, mtp_weight=weight, mtp_top_k=mtp.top_k)


def run_sft(config: SftConfig, settings: Settings, progress: Progress | None = None) -> SftReport:
    """Train, or continue training, what `config` describes; `progress` is told each step and its loss.

    Raises FactoryError for data that cannot be learnt from, a damaged run folder or a loss that is not
    finite.
    """
    if config.verify_merge and (config.workers > 1 or config.dtype not in VERIFIED):
        raise FactoryError(
            "verify_merge compares gradients in one process, in float32 or float64; set workers to 1 and "
            "dtype to one of these, or verify_merge to 0."
        )
    work = partial(_run, config, settings, read_corpus(config, settings))
    if config.workers > 1:
        return run_workers(work, config.workers, config.device, config.worker_timeout, progress)
    return work(Group(device="cuda:0" if config.device == "cuda" else "cpu"), progress)


def _run(
    config: SftConfig,
    settings: Settings,
    corpus: Corpus,
    group: Group,
    progress: Progress | None,
    stop: Flag | None = None,
) -> SftReport:
    """The run as one of its workers sees it; `stop` is the first one's, instead of Ctrl-C."""
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or max(1, threads // group.size))
    try:
        with process_group(group) if group.shards(config.dtype) else nullcontext():
            run = _open(config, corpus, group)
            resumed_at = len(run.metrics)
            _complete(run, settings, progress, stop)
            return _report(run, resumed_at)
    finally:
        torch.set_num_threads(threads)


def _complete(run: SftRun, settings: Settings, progress: Progress | None, stop: Flag | None) -> None:
    """The steps that are left, and what stands at the end; the warehouse learns how far it came."""
    outcome: str | None = None
    try:
        _train(run, progress, stop)
        run.finish()
        outcome = "completed"
    except Diverged:
        outcome = "diverged"
        raise
    except OSError as error:
        raise storage_error(error, run.folder) from error
    finally:
        if run.group.first:
            with Outbox(settings) as outbox:
                outbox.append(records(run.run_id, run.metrics, _summary(run, outcome)))


def _stages(config: SftConfig, corpus: Corpus) -> list[Stage]:
    stages, first = [], 0
    for stage in config.stages:
        stages.append(Stage(stage, select(corpus, stage, config.too_long), first))
        first += stage.steps
    return stages


def _open(config: SftConfig, corpus: Corpus, group: Group) -> SftRun:
    """The run of `config` with its folder in order: the log says what the checkpoint knows, no more."""
    run = SftRun(config, corpus, group)
    run.restore()
    if not group.first:
        return run
    state.write(run.folder / "config.toml", config.to_toml().encode())
    state.write(run.log, "".join(m.line() for m in run.metrics).encode())
    return run


def _train(run: SftRun, progress: Progress | None, stop: Flag | None) -> None:
    """The steps that are left. Ctrl-C ends the step at hand, saves and raises KeyboardInterrupt."""
    if run.done:
        return
    with (
        nullcontext(stop) if stop else interruption() as interrupted,
        _journal(run) as note,
    ):
        for stage, batch in run.todo():
            done = run.step(stage, batch)
            note(done)
            if progress:
                progress(done.step, done.loss)
            last = run.group.agreed(interrupted.is_set())
            if run.done or last or len(run.metrics) % run.config.save_every == 0:
                run.save()
            if last and not run.done:
                raise KeyboardInterrupt


@contextmanager
def _journal(run: SftRun) -> Generator[Callable[[StepMetrics], None]]:
    """Where steps are written as they are done: the log and TensorBoard."""
    if not run.group.first:
        yield lambda done: None
        return
    with (
        run.log.open("a", encoding="utf-8") as log,
        Board(run.folder / "tensorboard", len(run.metrics)) as board,
    ):

        def note(done: StepMetrics) -> None:
            log.write(done.line())
            log.flush()
            board.add(done)

        yield note


def _summary(run: SftRun, outcome: str | None) -> dict | None:
    if outcome is None:
        return None
    return {
        "outcome": outcome,
        "settings": run.config.model_dump(mode="json"),
        "examples_sha256": run.corpus.sha256,
        "rows": run.corpus.rows,
        "left_out": run.corpus.left_out,
        "stages": [
            {
                "name": stage.config.name,
                "examples": {name: len(found) for name, found in stage.selected.examples.items()},
                "dropped": stage.selected.dropped,
                "truncated": stage.selected.truncated,
                "other_difficulty": stage.selected.other_difficulty,
            }
            for stage in run.stages
        ],
    }


def _report(run: SftRun, resumed_at: int) -> SftReport:
    last = run.stages[-1].selected
    return SftReport(
        run_id=run.run_id,
        folder=run.folder,
        steps=len(run.metrics),
        first_loss=run.metrics[0].loss,
        last_loss=run.metrics[-1].loss,
        tokens=sum(m.tokens for m in run.metrics),
        seconds=sum(m.seconds for m in run.metrics),
        examples=sum(map(len, last.examples.values())),
        dropped=last.dropped,
        truncated=last.truncated,
        left_out=run.corpus.left_out,
        resumed_at=resumed_at,
    )
