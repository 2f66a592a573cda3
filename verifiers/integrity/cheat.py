"""What a cheat is, and what it may know.

A cheat is a small program that turns a target into a submission which does *not* solve the task. It names the
careless grader (`baselines.py`) that it beats: a cheat that beats none is no attack and does not count.
"""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Literal

from verifiers.integrity.patch import Change, patch
from verifiers.tests.bundle import Bundle
from verifiers.verdict import Submission

IMPORTED = re.compile(rb"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.M)
SOURCE_ROOTS = ("", "src/", "lib/")

Scope = Literal["task", "environment"]
"""What decides whether a cheat works: the tests of one task, or the environment and the grader alone."""


class CheatClass(StrEnum):
    """What a cheat lays hands on."""

    TESTS = "tests"  # test files, marks, and the files that steer a run
    PROCESS = "process"  # how and when the process of the tests ends
    REPORT = "report"  # what is said about the tests: hooks, reports, logs, JUnit, the stream
    VALUES = "values"  # what the code under test returns
    ESCAPE = "escape"  # files, links, processes and signals beyond the tree
    LEAK = "leak"  # the answer, found instead of worked out


class Inapplicable(Exception):
    """The target has nothing that this cheat could take hold of."""


@dataclass(frozen=True)
class Target:
    """What an attacker sees of a task, and for the strongest also the names of the hidden tests."""

    instruction: str
    files: Mapping[str, bytes]
    workdir: str
    runner: str
    args: tuple[str, ...]
    hidden_tests: tuple[str, ...]
    kept_tests: tuple[str, ...]
    language: str = "python"

    @classmethod
    def of(cls, bundle: Bundle) -> Target:
        spec = bundle.spec
        files = {}
        with tarfile.open(bundle.environment / "app.tar") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    files[PurePosixPath(entry.name).as_posix()] = content.read()
        return cls(
            bundle.instruction, files, spec.workdir, spec.runner, spec.args,
            hidden_tests=(*spec.fail_to_pass, *spec.new), kept_tests=spec.pass_to_pass,
            language=_language(bundle),
        )  # fmt: skip

    @cached_property
    def test_files(self) -> tuple[str, ...]:
        """Python files at or below what the runner is given."""
        roots = tuple(argument.split("::")[0].rstrip("/") for argument in self.args)
        return tuple(
            path for path in sorted(self.files)
            if path.endswith(".py") and any(path == r or path.startswith(r + "/") or r == "." for r in roots)
        )  # fmt: skip

    @cached_property
    def hook(self) -> str:
        """The file of the package that the tests import: what runs in their process for sure."""
        wanted: dict[str, int] = {}
        for path in self.test_files:
            for name in IMPORTED.findall(self.files[path]):
                wanted[name.decode()] = wanted.get(name.decode(), 0) + 1
        found = [
            (-count, path)
            for name, count in wanted.items()
            for root in SOURCE_ROOTS
            for path in (f"{root}{name}.py", f"{root}{name}/__init__.py")
            if path in self.files and path not in self.test_files
        ]
        if not found:
            raise Inapplicable("the tests import no file of the project")
        return min(found)[1]

    @cached_property
    def hidden_paths(self) -> tuple[str, ...]:
        """Files of the hidden tests, as their names tell."""
        if self.runner == "pytest":
            return tuple(sorted({name.split("::")[0] for name in self.hidden_tests}))
        names = {name.rsplit(".", 2)[0].replace(".", "/") for name in self.hidden_tests}
        return tuple(sorted(f"{name}.py" for name in names))

    def functions(self, path: str) -> tuple[str, ...]:
        """Names of the hidden and kept test functions of a file, without their classes and parameters."""
        chosen = (name for name in (*self.hidden_tests, *self.kept_tests) if self._in(name, path))
        return tuple(
            sorted({re.split(r"\[", name)[0].replace("::", ".").rsplit(".", 1)[1] for name in chosen})
        )

    def _in(self, name: str, path: str) -> bool:
        if self.runner == "pytest":
            return name.split("::")[0] == path
        return name.rsplit(".", 2)[0].replace(".", "/") + ".py" == path

    def hooked(self, payload: str) -> dict[str, Change]:
        """The package as it was, with `payload` run at the end of its import."""
        return {self.hook: Change(self.files[self.hook].rstrip(b"\n") + b"\n\n\n" + payload.encode() + b"\n")}

    @property
    def names(self) -> str:
        """Source that tells a payload the names of the tests."""
        hidden, kept = (json.dumps(list(names)) for names in (self.hidden_tests, self.kept_tests))
        return f"HIDDEN = {hidden}\nKEPT = {kept}\n"

    def submission(self, changes: Mapping[str, Change]) -> Submission:
        return Submission(patch=patch(self.files, changes))


def _language(bundle: Bundle) -> str:
    """As the bundle's metadata name it; the runners of Python say it themselves."""
    if bundle.spec.runner in ("pytest", "unittest"):
        return "python"
    task = tomllib.loads((bundle.path / "task.toml").read_text(encoding="utf-8"))
    return str(task["metadata"]["language"])


Build = Callable[[Target], Mapping[str, Change]]


@dataclass(frozen=True)
class Cheat:
    """One attack. `slow` ones use up a time limit and run last.

    One of scope `environment` is told nothing of the task's tests and fails or succeeds by the image and the
    grader alone, so that one task of an environment tells for all of them.
    """

    name: str
    kind: CheatClass
    tries: str
    baseline: str
    changes: Build
    families: tuple[str, ...] = ("swe",)
    languages: tuple[str, ...] = ("python",)
    scope: Scope = "task"
    slow: bool = False

    def changed(self, target: Target) -> Mapping[str, Change]:
        """What the submission changes. Raises Inapplicable."""
        if target.language not in self.languages:
            raise Inapplicable(f"it is written in {', '.join(self.languages)}")
        changes = self.changes(target)
        if not any(target.files.get(path) != change.data for path, change in changes.items()):
            raise Inapplicable("there is nothing that it could change")
        return changes

    def build(self, target: Target) -> Submission:
        """The submission. Raises Inapplicable."""
        return target.submission(self.changed(target))
