"""What a bundle says about itself, read and not run: rules as data, each with what it finds.

They guard what execution cannot show: that the answer lies nowhere an agent could find it, that the text
does not give it away, that nothing is unpinned, unlicensed or open to the network.
"""

from __future__ import annotations

import re
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from verifiers.problems import Problem, Severity
from verifiers.tests.bundle import Bundle
from verifiers.tests.determinacy import undetermined
from verifiers.tests.overlap import added_lines, repeated
from warehouse.spdx import permits

# Hidden files shorter than this are found by chance (an empty `__init__.py`).
TELLING_BYTES = 120
# A run of this many code tokens of the solution, in the instruction, is no chance either.
LEAKED_TOKENS = 24
SHORT_INSTRUCTION = 60  # characters
# What decides a reward beside tests, by its file in `tests/`.
DECIDE = ("performance.json", "refactor.json")

ADDRESS = re.compile(r"https?://\S+/(?:pull|pulls|commit|commits|compare|merge_requests)/\S+", re.I)
FETCHES = re.compile(r"^\s*(?:RUN\b.*)?\b(?:git\s+(?:clone|fetch|pull)|curl|wget)\b", re.M)
COPIES = re.compile(r"^\s*(?:COPY|ADD)\b.*\b(?:solution|tests|hidden|gold\.patch)\b", re.M)
FROM = re.compile(r"^\s*FROM\s+(\S+)", re.M)


@dataclass(frozen=True)
class Reading:
    """A bundle, and what several rules look at in it."""

    bundle: Bundle
    licenses: tuple[str, ...]

    @cached_property
    def toml(self) -> dict[str, Any]:
        return tomllib.loads((self.bundle.path / "task.toml").read_text(encoding="utf-8"))

    @cached_property
    def dockerfile(self) -> str:
        return (self.bundle.environment / "Dockerfile").read_text(encoding="utf-8")

    @cached_property
    def image(self) -> dict[str, bytes]:
        """Files of the project as it enters the image."""
        files = {}
        with tarfile.open(self.bundle.environment / "app.tar") as tar:
            for entry in tar:
                content = tar.extractfile(entry) if entry.isfile() else None
                if content is not None:
                    files[PurePosixPath(entry.name).as_posix()] = content.read()
        return files

    @cached_property
    def hidden(self) -> dict[str, bytes]:
        folder = self.bundle.tests / "hidden"
        return {entry.path: (folder / entry.path).read_bytes() for entry in self.bundle.spec.hidden}

    @cached_property
    def added(self) -> list[str]:
        """Lines that the gold patch adds."""
        return added_lines(self.bundle.gold_patch)


Finding = tuple[str, str]
"""(where, message)."""


def history_in_image(r: Reading) -> Iterator[Finding]:
    for path in r.image:
        if ".git" in PurePosixPath(path).parts:
            yield "environment/app.tar", f"{path} enters the image: history may hold the solution"
            return


def hidden_in_image(r: Reading) -> Iterator[Finding]:
    seen = {data: path for path, data in r.image.items() if len(data) >= TELLING_BYTES}
    for path, data in r.hidden.items():
        if data in seen:
            yield "environment/app.tar", f"the hidden {path} lies in the image as {seen[data]}"


def solution_in_image(r: Reading) -> Iterator[Finding]:
    whole = "\n".join(r.added).encode()
    for path, data in r.image.items():
        if len(r.bundle.gold_patch) >= TELLING_BYTES and r.bundle.gold_patch.strip() in data:
            yield "environment/app.tar", f"{path} holds the gold patch"
        elif (
            path.endswith((".patch", ".diff", ".rej", ".orig"))
            and len(whole) >= TELLING_BYTES
            and whole in data
        ):
            yield "environment/app.tar", f"{path} holds what the gold patch adds"


def dockerfile_copies(r: Reading) -> Iterator[Finding]:
    if found := COPIES.search(r.dockerfile):
        yield "environment/Dockerfile", f"copies what an agent must not see: {found[0].strip()}"


def dockerfile_fetches(r: Reading) -> Iterator[Finding]:
    if found := FETCHES.search(r.dockerfile):
        yield "environment/Dockerfile", f"downloads what no manifest pins: {found[0].strip()[:80]}"


def floating_base(r: Reading) -> Iterator[Finding]:
    values = dict(re.findall(r"^\s*ARG\s+(\w+)=(\S+)", r.dockerfile, re.M))
    for image in FROM.findall(r.dockerfile):
        name = re.sub(r"\$\{?(\w+)\}?", lambda m: values.get(m[1], m[0]), image)
        if ":" not in name.rpartition("/")[2] or name.endswith(":latest"):
            yield "environment/Dockerfile", f"the base image {name} has no fixed tag"


def open_network(r: Reading) -> Iterator[Finding]:
    for part in ("environment", "agent", "verifier"):
        mode = r.toml.get(part, {}).get("network_mode", "")
        if mode != "no-network":
            yield (
                "task.toml",
                f"{part}.network_mode is {mode or 'not set'}, so the fixed release could be fetched",
            )


def nothing_decides(r: Reading) -> Iterator[Finding]:
    more = any((r.bundle.tests / name).is_file() for name in DECIDE)
    if not (r.bundle.spec.fail_to_pass or r.bundle.spec.new or more):
        yield "tests/spec.json", "no test decides the reward"


def nothing_maintained(r: Reading) -> Iterator[Finding]:
    if not r.bundle.spec.pass_to_pass:
        yield "tests/spec.json", "no test is maintained: a solution may break everything else"


def instruction_short(r: Reading) -> Iterator[Finding]:
    if len(r.bundle.instruction.strip()) < SHORT_INSTRUCTION:
        yield "instruction.md", f"says what to do in {len(r.bundle.instruction.strip())} characters"


def instruction_links(r: Reading) -> Iterator[Finding]:
    if found := ADDRESS.search(r.bundle.instruction):
        yield "instruction.md", f"names the address of the change: {found[0][:120]}"


def instruction_leaks(r: Reading) -> Iterator[Finding]:
    """A run of the solution's code tokens that the instruction repeats."""
    if run := repeated(r.bundle.instruction, r.added, LEAKED_TOKENS):
        yield "instruction.md", f"repeats {LEAKED_TOKENS} tokens of the solution: {run[:120]}"


def spec_undetermined(r: Reading) -> Iterator[Finding]:
    for found in undetermined(r.bundle.instruction, r.image, r.hidden, r.bundle.gold_patch):
        yield (
            f"tests/hidden/{found.where}",
            f"asks for {found}, which only the solution has: it must be guessed",
        )


def license_missing(r: Reading) -> Iterator[Finding]:
    folder = r.bundle.path / "LICENSES"
    if not folder.is_dir() or not any(folder.iterdir()):
        yield "LICENSES", "no licence text comes with the project"


def license_not_allowed(r: Reading) -> Iterator[Finding]:
    name = r.toml.get("metadata", {}).get("license", "")
    if not (name and permits(name, r.licenses)):
        yield "task.toml", f"the licence {name or '(none)'} is not one that the settings allow"


def steering_open(r: Reading) -> Iterator[Finding]:
    for path in r.bundle.spec.unprotected:
        yield path, "steers the tests and may be changed by a submission, because the gold patch changes it"


E, W = Severity.ERROR, Severity.WARNING

# code → severity and rule, in the order in which they are told
RULES: dict[str, tuple[Severity, Callable[[Reading], Iterator[Finding]]]] = {
    "history_in_image": (E, history_in_image),
    "hidden_test_in_image": (E, hidden_in_image),
    "solution_in_image": (E, solution_in_image),
    "dockerfile_copies_answer": (E, dockerfile_copies),
    "open_network": (E, open_network),
    "nothing_decides": (E, nothing_decides),
    "instruction_names_change": (E, instruction_links),
    "license_missing": (E, license_missing),
    "license_not_allowed": (E, license_not_allowed),
    "instruction_leaks_solution": (W, instruction_leaks),
    "spec_undetermined": (W, spec_undetermined),
    "instruction_short": (W, instruction_short),
    "nothing_maintained": (W, nothing_maintained),
    "dockerfile_downloads": (W, dockerfile_fetches),
    "floating_base_image": (W, floating_base),
    "steering_file_open": (W, steering_open),
}

# Those that say whether the answer can be found instead of worked out; certificates list them one by one.
LEAKS = (
    "history_in_image", "hidden_test_in_image", "solution_in_image", "dockerfile_copies_answer",
    "open_network", "instruction_names_change", "instruction_leaks_solution",
)  # fmt: skip


def lint(bundle: Bundle, licenses: tuple[str, ...]) -> tuple[Problem, ...]:
    """What the rules find in a bundle; `licenses` are the SPDX ids that a task may carry."""
    reading = Reading(bundle, licenses)
    return tuple(
        Problem(code=code, where=where, message=message, severity=severity)
        for code, (severity, rule) in RULES.items()
        for where, message in rule(reading)
    )
