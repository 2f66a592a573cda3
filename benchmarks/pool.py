"""100 000 completions through the pool with four writing processes: how fast, and is everything there.

    python benchmarks/pool.py [--json] [--completions 100000] [--together 1]

Each writer adds completions of about 2 000 new prompt tokens a trajectory and 200 sampled tokens a turn, ten
turns a trajectory, then its end and its reward. `--together` completions go into one transaction; 1 is the
worst case. Then every completion is read back and compared, byte for byte, with what was written. A reader
polls for settled groups meanwhile, as a scheduler does. Times are of wall clock on this machine.

Exits with status 1 where a completion or reward is lost, doubled or changed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from training.forge.pool.records import OUTCOME, Completion, Reward
from training.forge.pool.sqlite import SqlitePool

WRITERS, TURNS, PROMPT, RESPONSE = 4, 10, 2000, 200
_IDS = np.random.default_rng(0).integers(0, 200_000, 1 << 16).astype(np.int32)
_LOGPROBS = -np.random.default_rng(1).random(1 << 16).astype(np.float32)


def made(trajectory: str, turn: int, seed: int) -> Completion:
    """A completion that its place decides."""
    at = (seed * TURNS + turn) * 7919 % (len(_IDS) - PROMPT - RESPONSE)
    new = PROMPT if turn == 0 else RESPONSE
    return Completion(
        trajectory=trajectory, turn=turn, parent=turn - 1 if turn else None, suffix=_IDS[at : at + new],
        response=_IDS[at + 1 : at + 1 + RESPONSE], logprobs=_LOGPROBS[at : at + RESPONSE],
        oldest_version=seed, newest_version=seed,
    )  # fmt: skip


def write(path: str, number: int, trajectories: int, together: int, times: Any) -> None:
    pool = SqlitePool(Path(path))
    spent: list[float] = []
    for n in range(trajectories):
        name, seed = f"w{number}-{n}", number * trajectories + n
        for turn in range(0, TURNS, together):
            made_now = [made(name, t, seed) for t in range(turn, min(turn + together, TURNS))]
            begun = time.perf_counter()
            pool.add(made_now)
            spent.append(time.perf_counter() - begun)
        pool.end(name)
        pool.reward([Reward(name, OUTCOME, seed / 7)])
    pool.close()
    times.put(spent)


def check(path: Path, trajectories: int) -> int:
    """How many completions and rewards are not as they were written."""
    pool, wrong = SqlitePool(path, create=False), 0
    for number in range(WRITERS):
        for n in range(trajectories):
            name, seed = f"w{number}-{n}", number * trajectories + n
            found = pool.trajectory(name)
            wrong += len(found.completions) != TURNS or not found.ended
            wrong += [r.score for r in found.rewards] != [seed / 7]
            for completion in found.completions:
                wanted = made(name, completion.turn, seed)
                wrong += (completion.facts(), completion.arrays()) != (wanted.facts(), wanted.arrays())
    pool.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--together", type=int, default=1, help="completions of one transaction")
    options = parser.parse_args()
    trajectories = -(-options.completions // WRITERS // TURNS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.sqlite"
        reader = SqlitePool(path)
        times: Any = mp.Queue()
        begun = time.perf_counter()
        arguments = [(str(path), n, trajectories, options.together, times) for n in range(WRITERS)]
        writers = [mp.Process(target=write, args=given) for given in arguments]
        for writer in writers:
            writer.start()
        spent: list[float] = []
        polls: list[float] = []
        while len(polls) < 1 or any(writer.is_alive() for writer in writers):
            polled = time.perf_counter()
            reader.settle()
            polls.append(time.perf_counter() - polled)
            time.sleep(0.1)
            while not times.empty():
                spent += times.get()
        seconds = time.perf_counter() - begun
        while len(spent) < WRITERS * trajectories * -(-TURNS // options.together):
            spent += times.get(timeout=60)
        reader.close()
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        reading = time.perf_counter()
        wrong = check(path, trajectories)
        reading = time.perf_counter() - reading
    count = WRITERS * trajectories * TURNS
    found = {
        "completions": count, "writers": WRITERS, "together": options.together, "wrong": wrong,
        "seconds": round(seconds, 1), "completions_per_s": round(count / seconds),
        "add_ms_p50": round(1000 * float(np.percentile(spent, 50)), 2),
        "add_ms_p99": round(1000 * float(np.percentile(spent, 99)), 2),
        "poll_ms_p99": round(1000 * float(np.percentile(polls, 99)), 2),
        "bytes_per_completion": round(size / count), "read_back_per_s": round(count / reading),
    }  # fmt: skip
    print(json.dumps(found, indent=2) if options.json else found)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
