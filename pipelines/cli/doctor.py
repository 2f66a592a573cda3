"""`verifactory doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from envs.registries import host_of
from pipelines.cli.terminal import out, show_json, show_table
from warehouse.errors import FactoryError
from warehouse.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One part: `needed` parts decide the exit status."""

    part: str
    present: bool
    needed: bool
    detail: str
    remedy: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="A list of objects.")] = False) -> None:
    """Say what is present and how to get the rest.

    Looks at Python, Docker, debootstrap, the package index, disk space, the model if one is configured, torch
    and a GPU.

    Example: verifactory doctor
    """
    findings = [check() for check in CHECKS]
    if as_json:
        show_json([asdict(finding) for finding in findings])
    else:
        rows = [
            (
                f.part,
                "yes" if f.present else "NO" if f.needed else "no",
                f.detail,
                "" if f.present else f.remedy,
            )
            for f in findings
        ]
        show_table(("part", "present", "what", "how to get it"), rows)
    missing = [f.part for f in findings if f.needed and not f.present]
    if missing:
        raise FactoryError(f"Missing: {', '.join(missing)}; the last column says how to get it.")
    if not as_json:
        out.print("Ready.")


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), True, version, "install Python 3.11 or newer")


def docker() -> Finding:
    from envs.docker.daemon import Daemon

    try:
        version = Daemon().client.version()
        return Finding("docker", True, True, f"{version['Version']} ({version['Os']}/{version['Arch']})")
    except FactoryError as error:
        return Finding("docker", False, True, str(error), "make docker")


def debootstrap() -> Finding:
    path = shutil.which("debootstrap")
    return Finding(
        "debootstrap", path is not None, False, path or "builds base images where no image registry answers",
        "apt-get install debootstrap",
    )  # fmt: skip


def package_index() -> Finding:
    import requests

    from envs.registries import index_url
    from pipelines.swe.releases import index_session

    where = index_url()
    try:
        with index_session() as session:
            session.head(where, timeout=20).raise_for_status()
    except requests.RequestException as error:
        return Finding(
            "package index", False, True, f"{where}: {error}", "set PIP_INDEX_URL or UV_DEFAULT_INDEX"
        )
    return Finding("package index", True, True, where)


def disk() -> Finding:
    settings = Settings()
    place = next(p for p in (settings.home.resolve(), *settings.home.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free / 1e9
    return Finding(
        "disk", free > 5, True, f"{free:.0f} GB free at {place}", "5 GB are the least to work with"
    )


def torch() -> Finding:
    present = importlib.util.find_spec("torch") is not None
    return Finding(
        "torch", present, False, "training stages" if not present else "", "pip install torch==2.13.0"
    )


def gpu() -> Finding:
    path = shutil.which("nvidia-smi")
    return Finding("gpu", path is not None, False, path or "training runs on the CPU", "an NVIDIA driver")


def model() -> Finding:
    import asyncio

    from envs.model import Model, ModelError, probe

    asked = Model.of(Settings())
    if asked is None:
        return Finding(
            "model", False, False, "mends environments and judges statements; without one, rules alone do",
            "set VERIFACTORY_MODEL_BASE_URL and VERIFACTORY_MODEL_NAME",
        )  # fmt: skip
    where = f"{asked.name} at {host_of(asked.settings.model_base_url or '')}"
    try:
        uses_tools = asyncio.run(probe(asked))
    except ModelError as error:
        return Finding("model", False, False, f"{where}: {error}", "see VERIFACTORY_MODEL_* in the settings")
    if not uses_tools:
        remedy = "serve it with tool calls, or choose another model: repairs need them"
        return Finding("model", False, False, f"{where} answers, but calls no tool", remedy)
    return Finding("model", True, False, f"{where} answers and calls tools")


CHECKS: tuple[Callable[[], Finding], ...] = (
    python, docker, debootstrap, package_index, disk, model, torch, gpu,
)  # fmt: skip
