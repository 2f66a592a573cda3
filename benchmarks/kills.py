"""An RL run that is killed with SIGKILL ten times: what do the kills change?

    python benchmarks/kills.py [--engine own] [--kills 10] [--steps 32] [--seed N] [--json]
    python benchmarks/kills.py --engine vllm          # the real engine and containers; `make rollout-env`

`own`: our model in the trainer's process under the virtual clock, killed at random moments of wall-clock
time. Every step's batch (groups, samples, tokens, log-probabilities, versions, rewards) and every figure of
its training but the seconds have to be bit-equal to those of a run that was not killed.

`vllm`: the learning run of examples/rl_tiny under the real clock. Each time a step is trained its batch and
loss are noted; a step that is trained again after a kill has to have the same batch, to the bit, and the same
loss. No batch that was committed may change, no trajectory be in two, and no step be missing.

Exits with status 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from training.config_file import read_config
from training.forge.pool.records import Batch
from training.forge.pool.sqlite import SqlitePool
from training.forge.rl import run
from training.forge.rl.domain import Judgement, Prompt
from training.forge.rl.metrics import RlMetrics
from training.forge.rl.settings import RlConfig
from warehouse.settings import Settings

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "rl_tiny" / "rl.toml"
LINES = (1, 2, 3)  # steps that a life sees before it is killed
SECONDS = 1.5  # and then up to so long


class Vowels:
    """A domain without containers: answers are worth their share of vowels."""

    name = "vowels"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def prompts(self, seed: int) -> Iterator[Prompt]:
        rng = random.Random(seed)
        while True:
            yield Prompt(rng.choice("abcdefgh"))

    async def attempt(self, key: str, url: str, attempt: str) -> Judgement:
        body = {"model": "m", "messages": [{"role": "user", "content": key}], "max_tokens": 12}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{url}/chat/completions", json=body) as got,
        ):
            answer = (await got.json())["choices"][0]["message"]
        text = (answer.get("reasoning_content") or "") + (answer["content"] or "")
        return Judgement(sum(letter in "aeiou" for letter in text) / 12)


def config(engine: str, folder: Path, steps: int) -> RlConfig:
    given = read_config(RlConfig, CONFIG).model_dump()
    given |= {"start": str(ROOT / given["start"]), "out": folder / "runs", "steps": steps, "save_every": 2}
    given |= {"groups": 4, "samples": 4}
    if engine == "own":
        given |= {"engine": "own", "clock": {"sigma": 1.0}, "domains": {"vowels": {"domain": "vowels"}}}
    return RlConfig.model_validate(given)


def live(engine: str, folder: Path, steps: int) -> None:
    """One life: trains until it ends or is killed, and notes each step."""
    if engine == "own":
        vars(run)["domain"] = lambda name, options: Vowels()

    def told(metrics: RlMetrics) -> None:
        pool = opened(folder)
        batch = pool.batch(metrics.step)
        assert batch is not None
        line = {"step": metrics.step, "batch": digest(pool, batch), "loss": repr(metrics.loss)}
        pool.close()
        with (folder / "log").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(metrics.step, flush=True)

    settings = Settings(home=folder / "home")
    asyncio.run(run.run_rl(config(engine, folder, steps), settings, told, threading.Event()))


def opened(folder: Path) -> SqlitePool:
    (path,) = (folder / "runs").glob("*/pool.sqlite")
    return SqlitePool(path, create=False)


def digest(pool: SqlitePool, batch: Batch) -> str:
    """Of all that a step is trained on; names of attempts count kills, and are left out."""
    found = hashlib.sha256(repr(batch.groups).encode())
    for names in batch.trajectories:
        for trajectory in map(pool.trajectory, names):
            rewards = [(r.name, r.score, r.evidence) for r in trajectory.rewards]
            found.update(repr((trajectory.group, trajectory.sample, trajectory.partial, rewards)).encode())
            for c in trajectory.completions:
                found.update(
                    c.arrays() + repr((c.turn, c.parent, c.oldest_version, c.newest_version)).encode()
                )
    return found.hexdigest()


def batches(folder: Path) -> dict[int, tuple[tuple[str, ...], ...]]:
    pool, found = opened(folder), {}
    while (batch := pool.batch(len(found))) is not None:
        found[batch.step] = batch.trajectories
    pool.close()
    return found


def started(engine: str, folder: Path, steps: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--live", str(folder), "--engine", engine, "--steps", str(steps)]
    with (folder / "stderr").open("a") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def killed(engine: str, folder: Path, steps: int, kills: int, rng: random.Random) -> tuple[int, int]:
    """Kills, and committed batches that a kill changed."""
    known: dict[int, Any] = {}
    changed = done = 0
    while done < kills:
        process = started(engine, folder, steps)
        assert process.stdout is not None
        for _ in range(rng.choice(LINES)):
            process.stdout.readline()
        time.sleep(rng.uniform(0, SECONDS))
        over = process.poll() is not None
        process.kill()
        process.stdout.close()
        process.wait()
        if over:
            break
        done += 1
        found = batches(folder)
        changed += sum(found.get(step) != names for step, names in known.items())
        known = found
    finish(engine, folder, steps)
    found = batches(folder)
    return done, changed + sum(found.get(step) != names for step, names in known.items())


def finish(engine: str, folder: Path, steps: int) -> None:
    process = started(engine, folder, steps)
    process.communicate()
    if process.returncode:
        raise SystemExit(f"the run failed by itself: {(folder / 'stderr').read_text()[-2000:]}")


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """What was trained, step by step, without the seconds."""
    (path,) = (folder / "runs").glob("*/metrics.jsonl")
    pool, found = opened(folder), []
    for line in path.read_text().splitlines():
        told = {name: value for name, value in json.loads(line).items() if not name.endswith("_seconds")}
        batch = pool.batch(told["step"])
        assert batch is not None
        found.append(told | {"batch": digest(pool, batch), "trained": batch.trained})
    pool.close()
    return found


def measure(engine: str, folder: Path, steps: int, kills: int, seed: int) -> dict[str, Any]:
    broken, whole = folder / "broken", folder / "whole"
    broken.mkdir(), whole.mkdir()
    begun = time.monotonic()
    done, changed = killed(engine, broken, steps, kills, random.Random(seed))
    trained: dict[int, set[tuple[str, str]]] = {}
    runs = 0
    for line in (broken / "log").read_text().splitlines():
        told, runs = json.loads(line), runs + 1
        trained.setdefault(told["step"], set()).add((told["batch"], told["loss"]))
    names = [name for groups in batches(broken).values() for group in groups for name in group]
    found = steps_of(broken)
    result: dict[str, Any] = {
        "engine": engine, "seed": seed, "kills": done, "steps": steps, "replayed_steps": runs - len(trained),
        "replays_that_differ": sum(len(seen) > 1 for seen in trained.values()),
        "committed_batches_changed": changed,
        "trajectories_trained_twice": len(names) - len(set(names)),
        "steps_skipped": len(set(range(steps)) - set(trained)) + sum(not step["trained"] for step in found),
    }  # fmt: skip
    if engine == "own":
        finish(engine, whole, steps)
        unbroken = steps_of(whole)
        differ = sum(one != other for one, other in zip(found, unbroken, strict=True))
        result["steps_that_differ_from_the_unbroken_run"] = differ
    return result | {"seconds": round(time.monotonic() - begun, 1)}


WRONG = (
    "replays_that_differ", "committed_batches_changed", "trajectories_trained_twice", "steps_skipped",
    "steps_that_differ_from_the_unbroken_run",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("own", "vllm"), default="own")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--live", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.live:
        live(options.engine, options.live, options.steps)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options.engine, Path(folder), options.steps, options.kills, options.seed)
    print(json.dumps(result, indent=2) if options.json else result)
    return int(result["kills"] < options.kills or any(result.get(name) for name in WRONG))


if __name__ == "__main__":
    sys.exit(main())
