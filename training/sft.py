"""Supervised fine-tuning: a shard in, falling loss and a checkpoint out.

A run is named by the hash of its settings, its shard and the torch release, and lives in `out/<id>/`:
`config.toml`, `metrics.jsonl` (one line a step) and `checkpoint.pt`. Starting it again continues from the
checkpoint and gives bit for bit what an uninterrupted run gives on the same machine and thread count (CPU,
float32), because batches and learning rate are functions of the step. Ctrl-C ends the step at hand and
saves. The steps also go to the warehouse as `TrainingRun` rows.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from training.data import VOCABULARY, Corpus, Example, batches, read_corpus
from training.settings import OptimizerConfig, SftConfig
from warehouse.errors import FactoryError, storage_error
from warehouse.files import renamed_file
from warehouse.outbox import Outbox
from warehouse.records import TrainingRun, content_id, to_json
from warehouse.settings import Settings

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
except ImportError as error:
    raise FactoryError("Training needs torch, which is missing: run `pip install torch==2.13.0`.") from error

from training.tiny import TinyLM

Progress = Callable[[int, float], None]

# What a cut or foreign checkpoint or log raises when it is read.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError)


class Diverged(FactoryError):
    """The loss or the gradient is no longer finite."""


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step. `loss` is nats per learnt token, before the step; `learnt` counts those tokens."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    learnt: int
    seconds: float


@dataclass(frozen=True)
class SftReport:
    """What a run came to. `tokens` and `seconds` are of its steps, those before a resumption included."""

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
    resumed_at: int


def sft_loss(model: TinyLM, batch: list[Example]) -> tuple[Tensor, int]:
    """Weighted mean cross-entropy over the learnt tokens of `batch`, and how many those are."""
    lengths = [len(e.tokens) for e in batch]
    tokens_T = torch.cat([torch.frombuffer(e.tokens, dtype=torch.int16) for e in batch]).long()
    learnt_T = torch.cat([torch.frombuffer(bytearray(e.learnt), dtype=torch.uint8) for e in batch])
    weight_T = learnt_T * torch.tensor([e.weight for e in batch]).repeat_interleave(torch.tensor(lengths))
    logits_TV = model(tokens_T, lengths)
    # position t predicts token t+1; an example's first token is a role mark, never learnt: none leaks across
    nll_T = F.cross_entropy(logits_TV[:-1], tokens_T[1:], reduction="none")
    return (nll_T * weight_T[1:]).sum() / weight_T[1:].sum(), int(learnt_T.sum())


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up to the peak, then a cosine to a tenth of it at the last step."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / (config.warmup_steps + 1)
    done = (step - config.warmup_steps) / max(1, steps - 1 - config.warmup_steps)
    return config.lr * (0.55 + 0.45 * math.cos(math.pi * done))


class SftRun:
    """The state of one run: weights, optimiser, and the metrics of every step done."""

    def __init__(self, config: SftConfig, corpus: Corpus) -> None:
        self.config = config
        self.corpus = corpus
        # what the numbers depend on; where things lie and how often we save are not among it
        identity = config.model_dump(mode="json", exclude={"data", "out", "save_every"})
        self.run_id = content_id("sft", identity, corpus.sha256, torch.__version__)
        self.folder = config.out / self.run_id
        self.checkpoint = self.folder / "checkpoint.pt"
        self.log = self.folder / "metrics.jsonl"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = TinyLM(config.model, VOCABULARY)
        matrices = [w for w in self.model.parameters() if w.ndim >= 2]
        vectors = [w for w in self.model.parameters() if w.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": config.optimizer.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )
        self.metrics: list[StepMetrics] = []

    def step(self, batch: list[Example]) -> StepMetrics:
        """One optimiser step. A loss or gradient that is not finite raises before any weight changes."""
        start = time.perf_counter()
        number, settings = len(self.metrics), self.config.optimizer
        lr = learning_rate(number, self.config.steps, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss, learnt = sft_loss(self.model, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise Diverged(
                f"Training run {self.run_id} diverged at step {number}: loss {loss.item()}, gradient "
                f"norm {norm.item()}; lower optimizer.lr (now {settings.lr}) or raise optimizer.warmup_steps."
            )
        self.optimizer.step()
        seconds = time.perf_counter() - start
        size = sum(len(e.tokens) for e in batch)
        done = StepMetrics(number, loss.item(), lr, norm.item(), size, learnt, seconds)
        self.metrics.append(done)
        return done

    def save(self) -> None:
        """Weights and optimiser, whole or not at all."""
        state = {
            "run_id": self.run_id,
            "step": len(self.metrics),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        _write(self.checkpoint, buffer.getvalue())

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one; steps logged after it are done again."""
        if not self.checkpoint.exists():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True)
            lines = self.log.read_text(encoding="utf-8").splitlines()[: state["step"]]
            metrics = [StepMetrics(**json.loads(line)) for line in lines]
            if state["run_id"] != self.run_id or [m.step for m in metrics] != list(range(state["step"])):
                raise ValueError("checkpoint.pt and metrics.jsonl do not belong together")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except UNREADABLE as error:
            why = str(error).partition("\n")[0]
            raise FactoryError(
                f"The training run in {self.folder} cannot be continued ({why}); delete it to start afresh."
            ) from error
        self.metrics = metrics


def _line(metrics: StepMetrics) -> str:
    return json.dumps(asdict(metrics)) + "\n"


def _write(path: Path, content: bytes) -> None:
    try:
        with renamed_file(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise storage_error(error, path) from error


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


def _records(run: SftRun, outcome: str | None) -> list[TrainingRun]:
    """A row per step and, once the run has an outcome, row -1 with it and the settings."""

    def row(step: int, loss: float | None, metrics: dict[str, Any]) -> TrainingRun:
        return TrainingRun(
            training_run_id=run.run_id, stage="sft", step=step, loss=loss, metrics=to_json(metrics)
        )

    rows = [row(m.step, m.loss, asdict(m)) for m in run.metrics]
    if outcome:
        summary = {
            "outcome": outcome,
            "settings": run.config.model_dump(mode="json"),
            "shard_sha256": run.corpus.sha256,
            "examples": len(run.corpus.examples),
            "dropped": run.corpus.dropped,
            "truncated": run.corpus.truncated,
        }
        rows.append(row(-1, run.metrics[-1].loss if run.metrics else None, summary))
    return rows


def _train(run: SftRun, progress: Progress | None) -> None:
    """Steps until the configured number is done; Ctrl-C saves and raises KeyboardInterrupt."""
    config = run.config
    todo = islice(batches(run.corpus, config.batch_tokens, config.seed), len(run.metrics), config.steps)
    with _interruption() as interrupted, run.log.open("a", encoding="utf-8") as log:
        for batch in todo:
            done = run.step(batch)
            log.write(_line(done))
            log.flush()
            if progress:
                progress(done.step, done.loss)
            last = done.step + 1 == config.steps
            if last or interrupted.is_set() or (done.step + 1) % config.save_every == 0:
                run.save()
            if interrupted.is_set() and not last:
                raise KeyboardInterrupt


def _open(config: SftConfig, corpus: Corpus) -> SftRun:
    """The run of `config` with its folder in order: the log says what the checkpoint knows, no more."""
    run = SftRun(config, corpus)
    run.restore()
    _write(run.folder / "config.toml", config.to_toml().encode())
    _write(run.log, "".join(map(_line, run.metrics)).encode())
    return run


def run_sft(config: SftConfig, settings: Settings, progress: Progress | None = None) -> SftReport:
    """Train, or continue training, what `config` describes; `progress` is told each step and its loss.

    Raises FactoryError for a shard that cannot be learnt from, a damaged run folder or a loss that is not
    finite.
    """
    corpus = read_corpus(config.data, config.sequence_length, config.too_long)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        run = _open(config, corpus)
        resumed_at = len(run.metrics)
        outcome: str | None = None
        try:
            _train(run, progress)
            outcome = "completed"
        except Diverged:
            outcome = "diverged"
            raise
        except OSError as error:
            raise storage_error(error, run.folder) from error
        finally:
            with Outbox(settings) as outbox:
                outbox.append(_records(run, outcome))
    finally:
        torch.set_num_threads(threads)
    return SftReport(
        run_id=run.run_id,
        folder=run.folder,
        steps=len(run.metrics),
        first_loss=run.metrics[0].loss,
        last_loss=run.metrics[-1].loss,
        tokens=sum(m.tokens for m in run.metrics),
        seconds=sum(m.seconds for m in run.metrics),
        examples=len(corpus.examples),
        dropped=corpus.dropped,
        truncated=corpus.truncated,
        resumed_at=resumed_at,
    )
