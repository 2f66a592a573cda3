"""Our records of trajectories as objects of the trainers' own types: does every one of them take ours?

    python benchmarks/peer_records.py [--pool POOL.sqlite] [--slime DIR] [--prime-rl DIR] [--json]

A pool is made (or given), exported in each layout, and read back by a process with the peer in an environment
of its own, made for this and removed: TRL, verl and SkyRL are installed from the package registry without
what they depend on, and the few packages that their type imports beside them. slime and prime-rl have no
release there under their names; their types are taken from a checkout of theirs, if one is given. Most of the
modules import packages that want a GPU, so a class is executed as it stands in the peer's file, without its
neighbours. A type with validation of its own runs it (pydantic, msgspec, `validate_generator_output`).

Exits with status 1 where a peer was there and did not take a record.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.forge.export.files import export_trajectories
from training.forge.pool.ledger import Ledger
from training.forge.pool.records import OUTCOME, Completion, Reward
from training.forge.pool.sqlite import SqlitePool

READ = """
import glob, importlib.util, json, sys
import pyarrow.parquet as pq
out, source = sys.argv[1], sys.argv[2]
tables = [pq.read_table(path) for path in sorted(glob.glob(out + "/*.parquet"))]
rows = [row for table in tables for row in table.to_pylist()]

def module(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made

def definitions(path, *names, **known):
    # classes and functions of a module whose other imports want a GPU's packages
    import ast
    tree = ast.parse(open(path).read())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    assert len(tree.body) == len(names), f"{path} has no {names}"
    import dataclasses, logging, typing
    space = {**vars(typing), **vars(dataclasses), "logger": logging.getLogger(), **known}
    exec(compile("from __future__ import annotations\\n" + ast.unparse(tree), path, "exec"), space)
    return space

def folder(package):
    return importlib.util.find_spec(package).submodule_search_locations[0]
"""

TRL = (
    READ
    + """
import numpy as np
path = folder("trl") + "/experimental/async_grpo/async_rollout_worker.py"
Sample = definitions(path, "RolloutSample", np=np)["RolloutSample"]
for row in rows:
    arrays = {name: np.array(row[name]) for name in ("input_ids", "completion_mask", "old_log_probs")}
    sample = Sample(**row | arrays)
    assert len({len(array) for array in arrays.values()}) == 1 and sample.completion_mask.any()
"""
)

VERL = (
    READ
    + """
import pydantic
path = folder("verl") + "/experimental/agent_loop/agent_loop.py"
space = definitions(path, "AgentLoopMetrics", "AgentLoopOutput", BaseModel=pydantic.BaseModel)
space["AgentLoopOutput"].model_rebuild(_types_namespace=space)
for row in rows:
    made = space["AgentLoopOutput"].model_validate(row, extra="forbid")
    assert len(made.response_ids) == len(made.response_mask) == len(made.response_logprobs)
"""
)

SKYRL = (
    READ
    + """
import numpy as np
base = folder("skyrl") + "/train/generators/base.py"
space = definitions(base, "TrajectoryID", "GeneratorOutput")
checks = definitions(folder("skyrl") + "/train/utils/trainer_utils.py", "validate_generator_output",
                     "_validate_step_wise_fields", np=np, GeneratorOutput=dict)
for table in tables:
    columns = table.to_pydict()
    assert set(columns) <= set(space["GeneratorOutput"].__annotations__), columns.keys()
    columns["trajectory_ids"] = [space["TrajectoryID"](**name) for name in columns["trajectory_ids"]]
    checks["validate_generator_output"](len(columns["rewards"]), columns, step_wise=True)
"""
)

PRIME = (
    READ
    + """
import msgspec
types = module("types_of_prime_rl", source + "/src/prime_rl/transports/rollouts/types.py")
for row in rows:
    routes = row.pop("routed_experts")
    sample = types.TrainingSample(**row, routed_experts=routes and types.RoutedExperts(**routes))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(sample), type=types.TrainingSample)
    assert len({len(again.token_ids), len(again.mask), len(again.logprobs), len(again.temperatures)}) == 1
"""
)

SLIME = (
    READ
    + """
import torch
from enum import Enum
path = source + "/slime/utils/types.py"
Sample = definitions(path, "Sample", Enum=Enum, torch=torch)["Sample"]
for name in sorted(glob.glob(out + "/*.pt")):
    for saved in torch.load(name, weights_only=False)["samples"]:
        sample = Sample.from_dict(saved)
        sample._validate_response_metadata_lengths()
        assert sample.to_dict() | {"spec_info": {}, "prefix_cache_info": {}} == sample.to_dict() | saved
        rows.append(saved)
"""
)


@dataclass(frozen=True)
class Peer:
    """How a peer's type is got at, and the program that makes its objects."""

    layout: str
    program: str
    release: str
    """Its name in the registry; empty: it has none."""
    beside: tuple[str, ...] = ()


PEERS = (
    Peer("trl", TRL, "trl"),
    Peer("verl", VERL, "verl", ("pydantic",)),
    Peer("skyrl", SKYRL, "skyrl"),
    Peer("prime-rl", PRIME, "", ("msgspec",)),
    Peer("slime", SLIME, ""),
)


def made(path: Path) -> SqlitePool:
    """A pool of trees with branches, a turn that was cut off, and experts."""
    pool, rng = SqlitePool(path, batch=2, samples=2), np.random.default_rng(0)
    ledger = Ledger(pool)
    ledger.start(ledger.offer([(f"task {number}", None) for number in range(4)]))
    for group in range(4):
        for sample in range(2):
            name = pool.open(group, sample)
            for turn, parent in enumerate((None, 0, 0, 1, None)):
                size, new = int(rng.integers(1, 40)), int(rng.integers(1, 40))
                pool.add([
                    Completion(
                        name, turn, parent, rng.integers(0, 200_000, new).astype(np.int32),
                        rng.integers(0, 200_000, size).astype(np.int32), -rng.random(size).astype(np.float32),
                        0, 1, fault="engine_died" if turn == 2 and sample else "", finish="stop",
                        routes=None if turn < 4 else rng.integers(0, 9, (new + size - 1, 2, 2)).astype("u1"),
                    )
                ])  # fmt: skip
            pool.reward([Reward(name, OUTCOME, float(rng.random()))])
            pool.end(name)
    ledger.settle()
    for step in range(2):
        ledger.take([ledger.queue.live[2 * step], ledger.queue.live[2 * step + 1]])
        ledger.trained(step)
    return pool


def python_of(folder: Path, peer: Peer) -> Path:
    """An environment with the peer's code, and what is beside its type. Its torch is ours."""
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", folder], check=True)
    python = folder / "bin" / "python"
    for names, options in ((peer.release, ["--no-deps"]), (" ".join(peer.beside), [])):
        if names:
            command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *options]
            subprocess.run([*command, *names.split()], check=True, capture_output=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "ours.pth").write_text("\n".join(entry for entry in sys.path if "site-packages" in entry))
    return python


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--slime", type=Path, help="a checkout of slime")
    parser.add_argument("--prime-rl", type=Path, help="a checkout of prime-rl", dest="prime_rl")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sources = {"slime": options.slime, "prime-rl": options.prime_rl}
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = SqlitePool(options.pool, create=False) if options.pool else made(folder / "pool.sqlite")
        for peer in PEERS:
            if not peer.release and sources[peer.layout] is None:
                found[peer.layout] = f"not tried: no release; --{peer.layout} DIR names a checkout"
                continue
            report = export_trajectories(pool, peer.layout, folder / peer.layout)
            python = python_of(folder / f"{peer.layout}-env", peer)
            done = subprocess.run(
                [python, "-c", peer.program, folder / peer.layout, str(sources.get(peer.layout) or "")],
                capture_output=True, text=True,
            )  # fmt: skip
            error = done.stderr.strip().splitlines()[-1:] or ["failed"]
            found[peer.layout] = f"failed: {error[0]}" if done.returncode else f"{report.samples} taken"
        pool.close()
    print(json.dumps(found, indent=2) if options.json else found)
    return int(any(said.startswith("failed") for said in found.values()))


if __name__ == "__main__":
    sys.exit(main())
