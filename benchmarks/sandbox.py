"""What a sandbox costs over raw Docker: commands, starts, leases. Ratios are of one run, rounds interleaved.

python benchmarks/sandbox.py [--rounds 30] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.docker.pool import SandboxPool
from envs.images import ensure_base
from envs.sandbox import Network, SandboxSpec
from warehouse.settings import Settings

_TRUE = ["true"]
Measured = dict[str, list[float]]
Step = Callable[[], Awaitable[object]]


async def _timed(times: Measured, name: str, step: Step) -> None:
    began = time.perf_counter()
    await step()
    times.setdefault(name, []).append((time.perf_counter() - began) * 1000)


async def measure_exec(backend: DockerBackend, sandbox: DockerSandbox, rounds: int) -> Measured:
    """Milliseconds of `true` in one running container, by each way of asking for it."""
    container = backend.daemon.client.containers.get(sandbox.id)
    steps: dict[str, Step] = {
        "sandbox.exec": lambda: sandbox.exec(_TRUE, timeout=60),
        "docker SDK exec_run": lambda: asyncio.to_thread(container.exec_run, _TRUE),
    }
    if shutil.which("docker"):
        command = ["docker", "exec", sandbox.id, *_TRUE]
        steps["docker exec (command)"] = lambda: asyncio.to_thread(subprocess.run, command, check=True)
    times: Measured = {}
    for step in steps.values():  # connections and caches
        await step()
    for _ in range(rounds):
        for name, step in steps.items():
            await _timed(times, name, step)
    return times


async def measure_starts(backend: DockerBackend, image: str, rounds: int) -> Measured:
    """Milliseconds until `true` has run in a sandbox, by where the sandbox comes from."""
    times: Measured = {}
    spec = SandboxSpec(image=image)
    wired = SandboxSpec(image=image, network=Network.ALLOWLIST, allowed_hosts=("a.example",))

    async def cold(of: SandboxSpec) -> None:
        sandbox = await backend.start(of)
        await sandbox.exec(_TRUE, timeout=60)
        stopping.append(asyncio.ensure_future(sandbox.stop()))

    async def leased(*, reuse: bool) -> None:
        async with pool.lease(reuse=reuse) as sandbox:
            await sandbox.exec(_TRUE, timeout=60)
            times.setdefault(f"lease, {'reused' if reuse else 'fresh'}", []).append(
                (time.perf_counter() - began) * 1000
            )

    stopping: list[asyncio.Future[None]] = []
    await cold(wired)  # starts the proxy
    async with SandboxPool(backend, spec, 1) as pool:
        async with pool.lease(reuse=True):
            pass
        for _ in range(rounds):
            await _timed(times, "cold start, no network", lambda: cold(spec))
            await _timed(times, "cold start, allow-list", lambda: cold(wired))
            await asyncio.gather(*stopping)
            for reuse in (False, True):
                await pool.ready()
                began = time.perf_counter()
                await leased(reuse=reuse)
    return times


def _row(name: str, milliseconds: list[float], reference: list[float] | None) -> dict[str, object]:
    deciles = quantiles(milliseconds, n=10)
    row: dict[str, object] = {
        "what": name,
        "n": len(milliseconds),
        "p50_ms": deciles[4],
        "p90_ms": deciles[8],
    }
    if reference:
        row["ratio_p50"] = deciles[4] / quantiles(reference, n=10)[4]
    return row


def _show(rows: list[dict[str, object]]) -> None:
    table = Table("what", "n", "p50 ms", "p90 ms", "ratio of p50")
    for row in rows:
        ratio = f"{row['ratio_p50']:.2f}" if "ratio_p50" in row else ""
        table.add_row(str(row["what"]), str(row["n"]), f"{row['p50_ms']:.0f}", f"{row['p90_ms']:.0f}", ratio)
    Console().print(table)


async def main(rounds: int, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        async with DockerBackend(settings) as backend:
            image = await ensure_base("bookworm", settings, daemon=backend.daemon)
            sandbox = await backend.start(SandboxSpec(image=image))
            execs = await measure_exec(backend, sandbox, rounds)
            await sandbox.stop()
            starts = await measure_starts(backend, image, max(5, rounds // 3))
    raw = execs.get("docker exec (command)") or execs["docker SDK exec_run"]
    rows = [_row(name, times, raw) for name, times in execs.items()]
    rows += [_row(name, times, starts["cold start, no network"]) for name, times in starts.items()]
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
    else:
        _show(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.json))
