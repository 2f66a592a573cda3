"""The bundle: one task as a self-contained Harbor 1.4 directory, named by its content.

`bundle.json` lists the sha256 of every file; its own sha256 is the bundle's. Rendering is deterministic, goes
to a temporary folder and is renamed when whole, so a bundle is either there and complete or not there.
Loading checks every file, so a bundle that was edited is noticed before it grades anything.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from envs import formats
from verifiers.tests.spec import HiddenFile, TestSpec
from warehouse.errors import FactoryError

INSIDE = Path(__file__).resolve().parent / "inside"
MANIFEST = "bundle.json"
# What lies in a bundle and is not of it: the list itself, and what was found out about the bundle later.
BESIDE = (MANIFEST, "certificate.json")

TEST_SH = """\
#!/bin/sh
# Grades /submission.patch against the tree as the image has it or, without one, the tree as it stands.
# The exit status is not the verdict: /logs/verifier/reward.json is.
set -u
if [ -f /submission.patch ]; then
    exec /usr/bin/python3 -I /tests/supervisor.py grade /submission.patch
fi
exec /usr/bin/python3 -I /tests/supervisor.py grade
"""

SOLVE_SH = """\
#!/bin/sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd {workdir}
GIT_DIR={workdir}/.git GIT_WORK_TREE={workdir} git apply --whitespace=nowarn "$here/gold.patch"
"""

GITIGNORE = """\
# Without this file Harbor leaves out of a package what looks like an editor's or an interpreter's leavings
# (*.pyc, *~, *.swp, .DS_Store, __pycache__); a hidden test may have such a name. Nothing is ignored.
"""

README = """\
# {name}

{kind} task of {repo}, made by verifactory. The layout is Harbor 1.4.

- `instruction.md` is what an agent is told; `environment/` builds where it works.
- `tests/test.sh` grades: it writes `reward.json` (flat numbers) and `report.json` (the evidence).
- `solution/` is the upstream change; `LICENSES/` says under which terms the project may be used.
- `bundle.json` holds the sha256 of every file here.
"""


class BundleDigest(BaseModel):
    """A bundle on disk."""

    model_config = ConfigDict(frozen=True)

    path: Path
    sha256: str = Field(description="Of bundle.json, and so of everything.")


class Bundle(BaseModel):
    """A bundle that was read and checked."""

    model_config = ConfigDict(frozen=True)

    path: Path
    sha256: str
    task_id: str
    spec: TestSpec
    instruction: str
    gold_patch: bytes

    @property
    def tests(self) -> Path:
        return self.path / "tests"

    @property
    def environment(self) -> Path:
        return self.path / "environment"


HiddenFiles = Mapping[str, tuple[str, bytes]]
"""Hidden tests by path: git mode and content (of a link, its target)."""


def with_hidden(spec: TestSpec, hidden: HiddenFiles) -> TestSpec:
    """`spec` with the list of its hidden files."""
    files = tuple(
        HiddenFile.model_validate({"path": path, "mode": mode, "sha256": hashlib.sha256(data).hexdigest()})
        for path, (mode, data) in sorted(hidden.items())
    )
    return spec.model_copy(update={"hidden": files})


def write_tests(folder: Path, spec: TestSpec, hidden: HiddenFiles) -> None:
    """The `tests/` part of a bundle; also all that observing a draft needs."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(INSIDE.glob("*.py")):
        if spec.runner != "own" or source.name == "account.py":
            _write(folder / source.name, source.read_bytes())
    for name in {spec.report, spec.log_report} - {""}:
        _write(folder / f"report_{name}.py", formats.source(name))
    _write(folder / "test.sh", TEST_SH.encode(), executable=True)
    _write(folder / "spec.json", with_hidden(spec, hidden).to_json())
    for path, (_, data) in hidden.items():
        _write(folder / "hidden" / path, data)


def render(
    dest: Path,
    *,
    task_id: str,
    kind: str,
    repo: str,
    instruction: str,
    environment_dir: Path,
    hidden: HiddenFiles,
    gold_patch: bytes,
    spec: TestSpec,
    licenses: Mapping[str, bytes],
    metadata: Mapping[str, Any],
    memory_mb: int = 2048,
    cpus: float = 1.0,
    build_seconds: float = 900,
    agent_seconds: float = 3600,
    more: Mapping[str, bytes] | None = None,
    domain: str = "swe",
) -> BundleDigest:
    """Write the bundle to `dest`, or find it there. `environment_dir/app.tar` is the project as imaged.

    `more` holds further files by their path in the bundle, for tasks that are graded in another way than by
    hidden tests; such a file takes the place of ours (`tests/test.sh`). `domain` is Harbor's first keyword.
    """
    dest.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{dest.name}-", dir=dest.parent))
    try:
        toml = _task_toml(
            task_id, domain, kind, repo, spec, metadata, memory_mb, cpus, build_seconds, agent_seconds
        )
        _write(part / "task.toml", tomli_w.dumps(toml).encode())
        _write(part / ".gitignore", GITIGNORE.encode())
        _write(part / "instruction.md", instruction.encode())
        _write(part / "README.md", README.format(name=toml["task"]["name"], kind=kind, repo=repo).encode())
        for name, text in licenses.items():
            _write(part / "LICENSES" / name, text)
        _copy_environment(environment_dir, part / "environment")
        _write(part / "solution" / "gold.patch", gold_patch)
        _write(
            part / "solution" / "solve.sh", SOLVE_SH.format(workdir=spec.workdir).encode(), executable=True
        )
        write_tests(part / "tests", spec, hidden)
        _write(part / "tests" / "pristine.json", _pristine(environment_dir / "app.tar"))
        for name, data in (more or {}).items():
            _write(part / name, data, executable=name.endswith(".sh"))
        manifest = json.dumps(
            {"schema": 1, "task_id": task_id, "files": _digests(part)}, sort_keys=True, indent=1
        ).encode()
        _write(part / MANIFEST, manifest + b"\n")
        part.chmod(0o755)
        _move_in(part, dest)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return BundleDigest(path=dest, sha256=hashlib.sha256(manifest + b"\n").hexdigest())


def load(path: Path) -> Bundle:
    """Read a bundle and check every file against `bundle.json`. Raises FactoryError for anything but an
    intact one.
    """
    try:
        manifest = (path / MANIFEST).read_bytes()
        listed = json.loads(manifest)
        found = _digests(path)
        found = {name: digest for name, digest in found.items() if name not in BESIDE}
        wrong = sorted(
            name for name in {*found, *listed["files"]} if found.get(name) != listed["files"].get(name)
        )
        if wrong:
            raise FactoryError(
                f"The bundle {path} was changed: {', '.join(wrong[:5])} are not what {MANIFEST} lists; "
                "render it again."
            )
        return Bundle(
            path=path,
            sha256=hashlib.sha256(manifest).hexdigest(),
            task_id=listed["task_id"],
            spec=TestSpec.model_validate_json((path / "tests" / "spec.json").read_bytes()),
            instruction=(path / "instruction.md").read_text(encoding="utf-8"),
            gold_patch=(path / "solution" / "gold.patch").read_bytes(),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise FactoryError(f"{path} is not a bundle that can be read: {error}.") from error


def _task_toml(
    task_id: str, domain: str, kind: str, repo: str, spec: TestSpec, metadata: Mapping[str, Any],
    memory_mb: int, cpus: float, build_seconds: float, agent_seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Fields of Harbor 0.25 (schema 1.4). The verifier is root: it runs the tests as another user itself."""
    return {
        "schema_version": "1.4",
        "task": {
            "name": f"verifactory/{task_id}",
            "description": f"{kind} in {repo}",
            "keywords": [domain, kind],
        },
        "metadata": {key: metadata[key] for key in sorted(metadata) if metadata[key] is not None},
        "verifier": {"timeout_sec": spec.limit_seconds, "user": "root", "network_mode": "no-network"},
        "agent": {"timeout_sec": agent_seconds, "user": "agent", "network_mode": "no-network"},
        "environment": {
            "build_timeout_sec": build_seconds,
            "os": "linux",
            "cpus": max(1, math.ceil(cpus)),
            "memory_mb": memory_mb,
            "network_mode": "no-network",
            "workdir": spec.workdir,
        },
    }


def _pristine(app: Path) -> bytes:
    """Mode and git object of every file of the project as it enters the image."""
    files = {}
    with tarfile.open(app) as tar:
        for entry in tar:
            name = PurePosixPath(entry.name).as_posix()
            if entry.issym():
                files[name] = ("120000", _git_object(os.fsencode(entry.linkname)))
            elif entry.isfile():
                content = tar.extractfile(entry)
                assert content is not None
                files[name] = (
                    "100755" if entry.mode & stat.S_IXUSR else "100644",
                    _git_object(content.read()),
                )
    return json.dumps(files, sort_keys=True, indent=0).encode()


def _git_object(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _copy_environment(source: Path, dest: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise FactoryError(f"{path} is a link or a device; an environment folder holds files only.")
        if path.is_file():
            target = dest / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def _write(path: Path, data: bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755 if executable else 0o644)


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file, and whether it may be executed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise FactoryError(f"{path} is a link; a bundle holds files only.")
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest + (
                " x" if path.stat().st_mode & stat.S_IXUSR else ""
            )
    return found


def _move_in(part: Path, dest: Path) -> None:
    """Put a whole bundle in place; one that is there already is kept if it is the same, replaced if it is
    not.
    """
    try:
        os.rename(part, dest)
    except OSError:
        if not dest.is_dir():
            raise
        if (dest / MANIFEST).is_file() and (dest / MANIFEST).read_bytes() == (part / MANIFEST).read_bytes():
            return
        old = Path(tempfile.mkdtemp(prefix=f".{dest.name}-old-", dir=dest.parent))
        os.rename(dest, old / "bundle")
        os.rename(part, dest)
        shutil.rmtree(old)
