"""How many environments an hour a core builds, and how much disk each adds.

Real releases are built from their source archives, one after the other, as the factory would: resolved as of
the date, built, imported and collected. Archives are read in memory; nothing of them runs here. Layers that
are there already (distribution, toolchain) are made before the clock starts, as they are once on any machine.
They are built one at a time, which keeps about one core busy. Marginal size is what the images add to the
layers that they share, each layer counted once.

python benchmarks/environments.py [PACKAGE[==VERSION] …] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from packaging.version import Version
from pypi_simple import DistributionPackage, PyPISimple
from rich.console import Console
from rich.table import Table

from envs.builder import BuildFailure, build_environment, toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import Upstream, toolchain
from envs.languages.tree import EXECUTABLE, Tree
from warehouse.settings import Settings

DEFAULT = (
    "humanize==4.9.0", "cachetools==5.3.3", "sqlparse==0.4.2", "boltons==24.0.0", "semver", "tabulate==0.8.9",
    "isodate==0.6.1", "attrs",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One environment, or why there is none. `layers` are bytes by layer; `shared` of those are the
    toolchain's.
    """

    package: str
    version: str
    date: str
    outcome: str
    python: str = ""
    runner: str = ""
    collected: int = 0
    attempts: int = 0
    seconds: float = 0.0
    layers: tuple[tuple[str, int], ...] = ()
    shared: tuple[tuple[str, int], ...] = ()


def two_releases(index: PyPISimple, name: str, version: str) -> list[DistributionPackage]:
    """Source releases up to `version` (the newest if ''): the last two."""
    found = {
        Version(p.version): p
        for p in index.get_project_page(name).packages
        if p.package_type == "sdist" and p.version and p.filename.endswith(".tar.gz")
    }
    ordered = sorted(v for v in found if not v.is_prerelease and (not version or v <= Version(version)))
    if len(ordered) < 2:
        sys.exit(f"{name} has no two source releases up to {version or 'now'}.")
    return [found[v] for v in ordered[-2:]]


def read(index: PyPISimple, package: DistributionPackage) -> Tree:
    """Regular files of the archive, without its top folder."""
    files, modes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.tar.gz"
        index.download_package(package, path)
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name.partition("/")[2]
                if member.isfile() and name and (data := tar.extractfile(member)):
                    files[name] = data.read()
                    if member.mode & 0o100:
                        modes[name] = EXECUTABLE
    return Tree(files, modes)


async def build(spec: str, backend: DockerBackend, settings: Settings) -> Row:
    name, _, version = spec.partition("==")
    with PyPISimple() as index:
        base, gold = two_releases(index, name, version)
        assert gold.upload_time is not None
        # minutes after the release: the same packages, but no layer of an earlier run
        date = gold.upload_time + timedelta(seconds=random.uniform(1, 3600))
        upstream = Upstream(name, base.version or "", date, read(index, base), read(index, gold))
    python = toolchain("python")
    plan = python.plan(upstream)
    if isinstance(plan, list):
        await toolchain_image(python, plan[0], backend, settings)
    began = time.monotonic()
    built = await build_environment(
        upstream, backend=backend, settings=settings, workdir=settings.home / "environments"
    )
    row = Row(name, gold.version or "", f"{gold.upload_time:%Y-%m-%d}", "ok")
    seconds = round(time.monotonic() - began, 2)
    if isinstance(built, BuildFailure):
        return replace(row, outcome=built.reason, attempts=built.attempts, seconds=seconds)
    used = await toolchain_image(python, built.recipe, backend, settings)
    return replace(
        row,
        python=str(built.recipe.model_dump()["python"]),
        runner=f"{built.runner.framework} {built.runner.version}".strip(),
        collected=built.collected,
        attempts=built.attempts,
        seconds=seconds,
        layers=layers(backend, built.image),
        shared=layers(backend, used),
    )


def layers(backend: DockerBackend, image: str) -> tuple[tuple[str, int], ...]:
    """Bytes of every layer that has any. Images made here share intermediate ids; others only what made
    them.
    """
    found = []
    for entry in backend.daemon.client.api.history(image):
        made = entry["Id"] if entry["Id"] != "<missing>" else f"{entry['Created']} {entry['CreatedBy']}"
        found.append((made, entry["Size"]))
    return tuple((made, size) for made, size in found if size)


def summary(rows: list[Row]) -> dict[str, float]:
    """Rates over every environment tried, failures included; sizes over those built."""
    built = [row for row in rows if row.outcome == "ok"]
    every = {made: size for row in built for made, size in row.layers}
    shared = {made: size for row in built for made, size in row.shared}
    own = sum(size for made, size in every.items() if made not in shared)
    hours = sum(row.seconds for row in rows) / 3600
    return {
        "tried": len(rows),
        "built": len(built),
        "environments_per_hour_per_core": round(len(built) / hours, 1) if hours else 0.0,
        "seconds_per_environment": round(hours * 3600 / len(rows), 1) if rows else 0.0,
        "marginal_mb_per_environment": round(own / 1e6 / len(built), 1) if built else 0.0,
        "shared_mb": round(sum(shared.values()) / 1e6, 1),
        "total_mb": round(sum(every.values()) / 1e6, 1),
    }


def show(rows: list[Row], totals: dict[str, float]) -> None:
    table = Table(title="Environments of real releases")
    for column in ("package", "version", "date", "outcome", "python", "runner", "tests", "tries", "s", "MB"):
        table.add_column(column, justify="right" if column in ("tests", "tries", "s", "MB") else "left")
    seen: Counter[str] = Counter()
    for row in rows:
        own = [size for made, size in row.layers if not seen[made] and made not in dict(row.shared)]
        seen.update(made for made, _ in row.layers)
        cells = (row.package, row.version, row.date, row.outcome, row.python, row.runner)
        table.add_row(
            *cells, str(row.collected), str(row.attempts), f"{row.seconds:.1f}", f"{sum(own) / 1e6:.1f}"
        )
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    for name, value in totals.items():
        console.print(f"{name.replace('_', ' ')}: {value:g}")


def environment_tags(backend: DockerBackend) -> set[str]:
    return {tag for image in backend.daemon.client.images.list("verifactory/env") for tag in image.tags}


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        backend = DockerBackend(settings)
        before = environment_tags(backend)
        try:
            rows = [await build(spec, backend, settings) for spec in arguments.packages]
        finally:
            for tag in environment_tags(backend) - before:
                backend.daemon.client.images.remove(tag, force=True)
            await backend.close()
    totals = summary(rows)
    if arguments.json:
        plain = [{k: v for k, v in vars(row).items() if k not in ("layers", "shared")} for row in rows]
        print(json.dumps({"totals": totals, "rows": plain}, indent=1))
    else:
        show(rows, totals)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="*", default=list(DEFAULT), help="NAME or NAME==VERSION")
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
