"""A run on our own model and a domain without containers, as a program that can be killed.

python toy_run.py FOLDER STEPS
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from training.forge.gateway.settings import Limits
from training.forge.rl import run
from training.forge.rl.domain import Judgement, Prompt, Unjudged
from training.forge.rl.metrics import RlMetrics
from training.forge.rl.settings import DomainShare, RlConfig
from training.forge.scheduler.settings import SchedulerConfig
from training.model import checkpoint
from training.model.config import preset
from training.model.model import Model
from training.settings import OptimizerConfig
from warehouse.settings import Settings

CONFIG = preset("tiny").replace(vocab_size=272, layers=1, mtp_depth=0, max_positions=512)


class Vowels:
    """Answers are worth their share of vowels among 12 tokens; some attempts break."""

    name = "vowels"

    def __init__(self, breaking: int = 0) -> None:
        self.breaking = breaking

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def prompts(self, seed: int) -> Iterator[Prompt]:
        rng = random.Random(seed)
        while True:
            yield Prompt(rng.choice("abcdefgh"))

    async def attempt(self, key: str, url: str, attempt: str) -> Judgement:
        if self.breaking and random.Random(attempt).randrange(self.breaking) == 0:
            raise Unjudged("it broke")
        body = {"model": "m", "messages": [{"role": "user", "content": key}], "max_tokens": 12}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{url}/chat/completions", json=body) as got,
        ):
            answer = (await got.json())["choices"][0]["message"]
        text = (answer.get("reasoning_content") or "") + (answer["content"] or "")
        return Judgement(sum(letter in "aeiou" for letter in text) / 12)


def config(folder: Path, steps: int, **more: object) -> RlConfig:
    start = folder / "start"
    if not start.exists():
        checkpoint.save(Model(CONFIG, seed=1), start)
    given = {
        "start": str(start), "out": folder / "runs", "steps": steps, "groups": 2, "samples": 3,
        "engine": "own", "threads": 1, "save_every": 2, "limits": Limits(tokens=64),
        "scheduler": SchedulerConfig(policy="cohorts", bound=1),
        "optimizer": OptimizerConfig(lr=1e-3, schedule="constant"),
        "domains": {"vowels": DomainShare(domain="vowels")},
    } | more  # fmt: skip
    return RlConfig.model_validate(given)


def go(
    folder: Path, steps: int, stop_after: int | None = None, breaking: int = 0, **more: object
) -> run.RlReport:
    """Runs, or goes on; with `stop_after` as if Ctrl-C came in that step."""
    stop = threading.Event()

    def told(metrics: RlMetrics) -> None:
        print(metrics.step, flush=True)
        if metrics.step + 1 == stop_after:
            stop.set()

    run.domain = lambda name, options: Vowels(breaking)
    asked = config(folder, steps, **more)
    return asyncio.run(run.run_rl(asked, Settings(home=folder / "home"), told, stop))


if __name__ == "__main__":
    go(Path(sys.argv[1]), int(sys.argv[2]))
