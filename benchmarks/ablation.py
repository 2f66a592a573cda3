"""The report's ablation at toy scale: a baseline, + multi-token prediction, + fine-grained experts.

    python benchmarks/ablation.py [--steps 200] [--seeds 3] [--json]

Each variant reads the same bytes in the same order (Python's own library, an eighth of its files held out)
with the same optimiser. The fine-grained variant has four times as many experts of a quarter's width and
four times as many active, so as many parameters as the baseline, its router's aside. What is compared is the
loss of the trunk on held-out files, in nats per byte; MTP modules are left out of it and of the parameters.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from training.model.config import ModelConfig
from training.model.model import Model
from training.objective import MtpLoss, Objective
from training.settings import OptimizerConfig
from training.trainer.optimizer import learning_rate
from training.trainer.step import Trainer
from training.trees.edges import Sample
from training.trees.merge import side_by_side
from training.trees.step import evaluate

LENGTH, BATCH, HELD_OUT = 256, 8, 64
BASE = ModelConfig(vocab_size=256, experts=8, experts_per_token=2, expert_hidden=64, mtp_depth=0)
FINE = {"experts": 32, "experts_per_token": 8, "expert_hidden": 16}
VARIANTS = {
    "baseline (8 experts, top 2)": BASE,
    "+ MTP (K = 1)": BASE.replace(mtp_depth=1),
    "+ fine-grained (32, top 8)": BASE.replace(mtp_depth=1, **FINE),
}
OPTIMIZER = OptimizerConfig(lr=6e-3, warmup_steps=10)
OBJECTIVE = Objective(mtp_weight=0.3)
BIAS_RATE = 1e-2


def pieces(held_out: bool) -> list[np.ndarray]:
    """Stretches of the library's modules; a file is held out by the hash of its name."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        if (hashlib.sha256(path.name.encode()).digest()[0] < 32) is held_out:
            content = np.frombuffer(path.read_bytes(), np.uint8).astype(np.int64)
            found += [content[at : at + LENGTH] for at in range(0, len(content) - LENGTH + 1, LENGTH)]
    return found


def batches(train: list[np.ndarray], seed: int) -> Iterator[list[Sample]]:
    """Endless batches, each token of the same weight."""
    lot = random.Random(seed)
    while True:
        yield [weighted(piece, BATCH) for piece in lot.sample(train, BATCH)]


def weighted(piece: np.ndarray, count: int) -> Sample:
    return Sample(piece, np.full(len(piece), 1 / (count * (len(piece) - 1))))


def held_out_loss(model: Model, pieces: list[np.ndarray]) -> float:
    """Nats per byte of the trunk."""
    chosen = random.Random(0).sample(pieces, HELD_OUT)
    batch = side_by_side([weighted(piece, HELD_OUT) for piece in chosen])
    with torch.no_grad():
        return float(evaluate(model, batch.forest, batch.edges, Objective(mtp=MtpLoss.NONE)).loss)


def run(config: ModelConfig, steps: int, seed: int, train: list[np.ndarray], held: list[np.ndarray]) -> dict:
    """Loss on held-out files after `steps`, and how full the fullest expert was at the end."""
    trainer = Trainer(Model(config, seed=seed), OPTIMIZER)
    drawn, start = batches(train, seed), time.perf_counter()
    for step in range(steps):
        rate = learning_rate(step, steps, OPTIMIZER)
        result = trainer.step([side_by_side(next(drawn))], OBJECTIVE, lr=rate, bias_rate=BIAS_RATE)
    seconds = time.perf_counter() - start
    return {
        "loss": held_out_loss(trainer.model, held),
        "imbalance": max(result.imbalance[: config.layers]),
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, held = pieces(False), pieces(True)
    results = {
        name: [run(config, options.steps, seed, train, held) for seed in range(options.seeds)]
        for name, config in VARIANTS.items()
    }
    if options.json:
        print(json.dumps(results, indent=1))
        return
    table = Table(title=f"{options.steps} steps of {BATCH * LENGTH} bytes, {options.seeds} seeds")
    for column in ("variant", "parameters", "active", "held-out loss", "against baseline", "fullest / mean"):
        table.add_column(column, justify="left" if column == "variant" else "right")
    first = [result["loss"] for result in next(iter(results.values()))]
    for name, found in results.items():
        counts = VARIANTS[name].counts()
        losses = [result["loss"] for result in found]
        paired = [loss - base for loss, base in zip(losses, first, strict=True)]
        table.add_row(
            name,
            f"{counts.trunk:,}",
            f"{counts.active:,}",
            f"{statistics.mean(losses):.3f}",
            f"{statistics.mean(paired):+.3f} ({min(paired):+.3f} … {max(paired):+.3f})",
            f"{statistics.mean(result['imbalance'] for result in found):.2f}",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
