"""SWE-bench 5 task repositories: well formed by its rules, graded by its harness's steps in a container."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import docker
import pytest
import yaml
from docker.models.containers import Container

from envs.builder import toolchain_image
from envs.docker.backend import DockerBackend
from envs.languages import toolchain
from envs.languages.python.recipe import PythonRecipe
from pipelines.export import EXPORTERS
from pipelines.export.swebench_tasks import encoded_id, image_name
from warehouse.settings import Settings

# swebench.task.checks of 5.0.2
FILES = {
    "task.yaml", "tests.json", "Dockerfile", "gold.patch", "test.patch", "eval.sh", "problem_statement.md",
}  # fmt: skip
KEYS = {"instance_id", "repo", "version", "base_commit", "split", "image", "log_parser", "eval_type"}
FIRST = f"alpha__alpha-{1:020x}"


@pytest.fixture
def repository(settings: Settings, tmp_path: Path) -> Path:
    EXPORTERS["swebench-tasks"](settings, "true", tmp_path / "repository")
    return tmp_path / "repository"


def test_the_tree_is_well_formed(repository: Path) -> None:
    config = yaml.safe_load((repository / "sweb.yaml").read_text())
    folders = sorted((repository / "tasks").iterdir())
    assert len(folders) == 4
    for folder in folders:
        assert {p.name for p in folder.iterdir()} >= FILES
        task = yaml.safe_load((folder / "task.yaml").read_text())
        assert set(task) >= KEYS
        assert task["instance_id"] == folder.name
        assert task["image"] == image_name(folder.name)
        assert task["split"] in config["splits"]
        assert set(task["datasets"]) <= set(config["datasets"])
        assert isinstance(task["version"], str)
        tests = json.loads((folder / "tests.json").read_text())
        assert len(tests["FAIL_TO_PASS"]) == len(tests["PASS_TO_PASS"]) == 2
        assert not any(c.isspace() for ids in tests.values() for test in ids for c in test)
        assert "diff --git" in (folder / "gold.patch").read_text()


@pytest.mark.skipif(not importlib.util.find_spec("swebench"), reason="swebench is not installed")
def test_swebench_finds_no_problem(repository: Path) -> None:
    from swebench.task.checks import check_task_repo

    assert check_task_repo(repository) == []


def test_names_have_no_white_space() -> None:
    assert encoded_id("t.py::a[b c\td]") == "t.py::a[b%20c%09d]"
    assert encoded_id("t.py::a[é%20]") == "t.py::a[é%20]"


def parse_log_pytest(log: str) -> dict[str, str]:
    """As swebench 5.0.2 reads a log, between its markers."""
    found = {}
    for line in log.split(">>>>> Start Test Output")[1].split(">>>>> End Test Output")[0].split("\n"):
        if line.startswith(("FAILED", "PASSED", "SKIPPED", "ERROR", "XFAIL")):
            words = (line.replace(" - ", " ") if line.startswith("FAILED") else line).split()
            if len(words) > 1:
                found[words[1]] = words[0]
    return found


def put(container: Container, path: str, data: bytes) -> None:
    folder, _, name = path.rpartition("/")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    container.put_archive(folder or "/", buffer.getvalue())


@pytest.fixture
async def image(repository: Path) -> Iterator[str]:
    """The first task's image, built from the exported folder on our own toolchain image."""
    recipe = PythonRecipe(
        suite="bookworm", name="m", version="1", python="3.11", index_date="2024-01-01", requires=()
    )
    backend = DockerBackend(Settings())
    try:
        base = await toolchain_image(toolchain("python"), recipe, backend, Settings())
    finally:
        await backend.close()
    client = docker.from_env()
    tag = f"verifactory/export-test:{uuid4().hex}"
    labels = {"org.verifactory": "1"}
    client.images.build(
        path=str(repository / "tasks" / FIRST),
        tag=tag,
        buildargs={"BASE": base},
        labels=labels,
        rm=True,
        forcerm=True,
    )
    yield tag
    client.images.remove(tag)
    client.close()


def graded(image: str, folder: Path, patch: bytes) -> tuple[dict[str, str], int]:
    """What SWE-bench's harness does with a prediction: apply as root in /testbed, run eval.sh, read it."""
    client = docker.from_env()
    container = client.containers.run(
        image, "sleep 600", detach=True, network_mode="none", labels={"org.verifactory": "1"}, init=True
    )
    try:
        if patch:
            put(container, "/tmp/patch.diff", patch)
            applied = container.exec_run(
                "git apply --verbose /tmp/patch.diff", workdir="/testbed", user="root"
            )
            assert applied.exit_code == 0, applied.output
        # as swebench.harness.utils.make_test_spec rewrites it
        lines = (folder / "eval.sh").read_text().strip().split("\n")
        end = next(i for i, line in enumerate(lines) if ">>>>> End Test Output" in line)
        lines[end:end] = ["CODE=$?"]
        lines.insert(end + 2, 'echo ">>>>> Test Exit Code: $CODE"')
        put(container, "/eval.sh", "\n".join(["#!/bin/bash", "set -uxo pipefail", *lines[1:]]).encode())
        log = container.exec_run("/bin/bash /eval.sh").output.decode()
        return parse_log_pytest(log), int(log.rpartition("Test Exit Code: ")[2].split()[0])
    finally:
        container.remove(force=True)
        client.close()


@pytest.mark.docker
async def test_gold_resolves_and_nothing_does_not(image: str, repository: Path) -> None:
    folder = repository / "tasks" / FIRST
    tests = json.loads((folder / "tests.json").read_text())
    gold, code = graded(image, folder, (folder / "gold.patch").read_bytes())
    assert code == 0
    assert {gold[test] for test in tests["FAIL_TO_PASS"] + tests["PASS_TO_PASS"]} == {"PASSED"}
    nop, code = graded(image, folder, b"")
    assert code == 1
    assert {nop[test] for test in tests["FAIL_TO_PASS"]} <= {"FAILED", "ERROR"}
    assert {nop[test] for test in tests["PASS_TO_PASS"]} == {"PASSED"}
