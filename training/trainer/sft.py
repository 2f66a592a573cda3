"""Supervised fine-tuning: examples in, falling loss and a checkpoint out.

A run is named by the hash of its settings, of what it learns from and of the torch release, and lives in
`out/<id>/`: `config.toml`, `metrics.jsonl` (one line a step), `checkpoint.pt` (to go on from),
`tensorboard/` and, at the end, `model/` in the Hugging Face layout, `loss.png` and `balance.png`. Starting it
again continues from the checkpoint and gives bit for bit what an uninterrupted run gives on the same machine
and thread count (CPU). Ctrl-C ends the step at hand and saves. The steps also go to the warehouse as
`TrainingRun` rows.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

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
from training.model.expansion import expand_mtp
from training.model.model import Model
from training.trainer import state
from training.trainer.metrics import Board, StepMetrics, records
from training.trainer.optimizer import learning_rate
from training.trainer.phases import Phase, enter, phase
from training.trainer.plots import plot
from training.trainer.step import Diverged, Trainer
from training.trees.merge import merged, side_by_side
from training.trees.split import micro_batches
from training.trees.verify import LIMITS, verify_merge

Progress = Callable[[int, float], None]


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
    """The state of one run: weights, optimiser, and the metrics of every step done."""

    def __init__(self, config: SftConfig, corpus: Corpus) -> None:
        self.config = config = config.resolved()
        self.corpus = corpus
        self.stages = _stages(config, corpus)
        self.steps = sum(stage.steps for stage in config.stages)
        # what the numbers depend on; where things lie and how often we save are not among it
        identity = config.model_dump(mode="json", exclude={"domains", "out", "save_every", "verify_merge"})
        self.run_id = content_id("sft", identity, corpus.sha256, torch.__version__)
        self.folder = config.out / self.run_id
        self.checkpoint = self.folder / "checkpoint.pt"
        self.log = self.folder / "metrics.jsonl"
        self.trainer = Trainer(_model(config, corpus), config.optimizer)
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
        _set_rope(self.trainer.model, stage.config.rope_theta)
        now = phase([m.mtp_loss for m in self.metrics], [Phase(m.phase) for m in self.metrics], config.mtp)
        lr = learning_rate(number, self.steps, config.optimizer)
        found, make = samples(batch), merged if config.merge else side_by_side
        goal = objective(config, number / max(1, self.steps - 1))
        if config.merge and number < config.verify_merge:
            enter(self.trainer.model, Phase.JOINT)
            report = verify_merge(self.trainer.model, found, goal, config.micro_batch_tokens)
            report.require(LIMITS[getattr(torch, config.dtype)])
        try:
            result = self.trainer.step(
                micro_batches(found, config.micro_batch_tokens, make),
                goal,
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
        if not (self.folder / "model").exists():
            checkpoint.save(self.trainer.model, self.folder / "model")
        plot(self.metrics, len(self.trainer.model.blocks), self.folder)


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
    corpus = read_corpus(config, settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        run = _open(config, corpus)
        resumed_at = len(run.metrics)
        outcome: str | None = None
        try:
            _train(run, progress)
            run.finish()
            outcome = "completed"
        except Diverged:
            outcome = "diverged"
            raise
        except OSError as error:
            raise storage_error(error, run.folder) from error
        finally:
            with Outbox(settings) as outbox:
                outbox.append(records(run.run_id, run.metrics, _summary(run, outcome)))
    finally:
        torch.set_num_threads(threads)
    return _report(run, resumed_at)


def _stages(config: SftConfig, corpus: Corpus) -> list[Stage]:
    stages, first = [], 0
    for stage in config.stages:
        stages.append(Stage(stage, select(corpus, stage, config.too_long), first))
        first += stage.steps
    return stages


def _model(config: SftConfig, corpus: Corpus) -> Model:
    dtype = getattr(torch, config.dtype)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise FactoryError("This machine has no GPU that torch can use; set device to 'cpu'.")
    if config.start:
        model = checkpoint.load(Path(config.start), dtype=dtype)
        longest = max(stage.sequence_length for stage in config.stages)
        if longest > model.config.max_positions:
            raise FactoryError(
                f"The checkpoint {config.start} is meant for {model.config.max_positions} positions, but "
                f"sequence_length is {longest}; lower it, or raise max_position_embeddings in config.json."
            )
    else:
        with torch.random.fork_rng(devices=[]):  # modules draw first values, which are overwritten
            model = Model(config.model, seed=config.seed).to(dtype)
    if corpus.vocabulary > model.config.vocab_size:
        raise FactoryError(
            f"The tokenizer {config.tokenizer} has {corpus.vocabulary} tokens, but the model only "
            f"{model.config.vocab_size}; use the model's own tokenizer, or set model.vocab_size."
        )
    if config.mtp.expand_to:
        model = expand_mtp(model, config.mtp.expand_to)
    return model.to(config.device)


def _set_rope(model: Model, theta: float) -> None:
    """The base of the rotary frequencies from now on; 0 leaves it."""
    if theta and theta != model.config.rope_theta:
        model.config = model.config.replace(rope_theta=theta)
        for depth in range(1, len(model.mtp) + 1):
            model.depth(depth).config = model.config


def _open(config: SftConfig, corpus: Corpus) -> SftRun:
    """The run of `config` with its folder in order: the log says what the checkpoint knows, no more."""
    run = SftRun(config, corpus)
    run.restore()
    state.write(run.folder / "config.toml", config.to_toml().encode())
    state.write(run.log, "".join(m.line() for m in run.metrics).encode())
    return run


def _train(run: SftRun, progress: Progress | None) -> None:
    """The steps that are left. Ctrl-C ends the step at hand, saves and raises KeyboardInterrupt."""
    if run.done:
        return
    with (
        _interruption() as interrupted,
        run.log.open("a", encoding="utf-8") as log,
        Board(run.folder / "tensorboard", len(run.metrics)) as board,
    ):
        for stage, batch in run.todo():
            _note(run.step(stage, batch), log, board, progress)
            if run.done or interrupted.is_set() or len(run.metrics) % run.config.save_every == 0:
                run.save()
            if interrupted.is_set() and not run.done:
                raise KeyboardInterrupt


def _note(done: StepMetrics, log: TextIO, board: Board, progress: Progress | None) -> None:
    log.write(done.line())
    log.flush()
    board.add(done)
    if progress:
        progress(done.step, done.loss)


@contextmanager
def _interruption() -> Generator[threading.Event]:
    """Turns the first Ctrl-C into a flag, so that a step is never cut in half; the second acts as usual."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


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
