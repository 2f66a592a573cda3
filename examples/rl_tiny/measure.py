"""What finished learning runs came to, beside the model they started from, which nothing has touched.

    python examples/rl_tiny/measure.py RUN_FOLDER [RUN_FOLDER …]

Of the warm start and of each run's model: the mean outcome of 256 rollouts of prompts as in training, and of
256 of the pairs of operation and file that were held out; one answer each at temperature 1, carried out in a
container. Of each run also the mean outcome of its first and last fifth of steps. Exits with status 1 where
a run with true rewards has not tripled each of these, or one with shuffled rewards has reached 1.5 times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from warm_start import ANSWER, answers

from envs.docker.backend import DockerBackend
from pipelines.rl.file_operations import PAIRS, Worker, contents, held_out, wanted, worker_image
from training.config_file import read_config
from training.forge.rl.metrics import RlMetrics
from training.forge.rl.settings import RlConfig
from training.model import checkpoint
from warehouse.errors import FactoryError
from warehouse.settings import Settings

ROLLOUTS = 256
ASKED, CONTROL = 3.0, 1.5


def drawn(apart: bool) -> list[tuple[str, str]]:
    pairs = [pair for pair in PAIRS if (pair in held_out(0)) is apart]
    return random.Random(f"measure/{apart}").choices(pairs, k=ROLLOUTS)


async def outcome(folder: Path, apart: bool, worker: Worker) -> float:
    """The mean outcome of a model on seen pairs, or on those held `apart`."""
    pairs = drawn(apart)
    texts = await asyncio.to_thread(answers, checkpoint.load(folder), pairs, 7)
    said = [ANSWER.match(text) for text in texts]
    commands = [f"{found[1]} {found[2]}" if found else "" for found in said]
    given = [contents(f"measure/{number}") for number in range(ROLLOUTS)]
    left = await asyncio.gather(
        *(worker.carried_out(c, files, again=False) for c, files in zip(commands, given, strict=True))
    )
    good = [after == wanted(*pair, files) for after, pair, files in zip(left, pairs, given, strict=True)]
    return sum(good) / ROLLOUTS


async def measured(runs: list[Path]) -> list[dict[str, Any]]:
    settings = Settings()
    backend = DockerBackend(settings)
    worker = Worker(backend, await worker_image(backend, settings))
    await worker.open()
    try:
        rows = []
        for run in runs:
            config = read_config(RlConfig, run / "config.toml")
            scores = [
                RlMetrics.read(line).score or 0.0 for line in (run / "metrics.jsonl").read_text().splitlines()
            ]
            fifth = len(scores) // 5
            start = Path(config.start)
            rows.append(
                {
                    "run": run.name, "seed": config.seed, "rewards": config.rewards, "steps": len(scores),
                    "first": sum(scores[:fifth]) / fifth, "last": sum(scores[-fifth:]) / fifth,
                    "warm": await outcome(start, False, worker),
                    "after": await outcome(run / "model", False, worker),
                    "warm_held_out": await outcome(start, True, worker),
                    "held_out": await outcome(run / "model", True, worker),
                }
            )  # fmt: skip
        return rows
    finally:
        await worker.close()
        await backend.close()


def ratios(row: dict[str, Any]) -> dict[str, float]:
    return {
        "last over first": row["last"] / row["first"],
        "last over warm start": row["last"] / row["warm"],
        "held-out over its warm start": row["held_out"] / row["warm_held_out"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        rows = asyncio.run(measured(options.runs))
    except FactoryError as error:
        sys.exit(str(error))
    if options.json:
        print(json.dumps([row | ratios(row) for row in rows], indent=1))
    else:
        shown = Table(
            "seed",
            "rewards",
            "first",
            "last",
            "warm start",
            "after",
            "held-out before",
            "after",
            *ratios(rows[0]),
        )
        for row in rows:
            cells = [row[name] for name in ("first", "last", "warm", "after", "warm_held_out", "held_out")]
            shown.add_row(
                str(row["seed"]), row["rewards"], *(f"{cell:.3f}" for cell in cells),
                *(f"{ratio:.2f} ×" for ratio in ratios(row).values()),
            )  # fmt: skip
        Console(width=180).print(shown)
    for row in rows:
        if not 0.10 <= row["warm"] <= 0.15:
            sys.exit("The warm start's outcome is not within 10 to 15 %: these runs say nothing.")
        least, most = min(ratios(row).values()), max(ratios(row).values())
        if least < ASKED if row["rewards"] == "true" else most >= CONTROL:
            sys.exit(1)


if __name__ == "__main__":
    main()
