"""What a certificate tries on a task: the catalogue, in as few gradings as the evidence allows.

One cheat can hide another's success: a process that has ended cannot forge its report, and a grader that
catches one does not pay the other. So cheats share a submission only in `GROUPS`, where careless graders show
that each member still does its work beside the others: a grader that is careful about everything but that
member pays the group, and does not pay the group without it. `tests/integrity/test_groups.py` runs that
proof. Grouped are only cheats that our grader undoes or starves without a word, never those that it catches.
All others are tried alone.

Cheats of scope `environment` fail or succeed by the image and the grader, whatever the tests say: one task of
an environment tells for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from verifiers.integrity.cheat import Cheat, Inapplicable, Scope, Target
from verifiers.integrity.cheats import CATALOGUE
from verifiers.integrity.patch import Change
from verifiers.verdict import Haste, Submission

# Members, each with the baseline of its proof.
GROUPS: tuple[Mapping[str, str], ...] = (
    {
        "conftest_skip": "open:conftest.py", "pytest_ini": "open:pytest.ini",
        "shadow_pytest": "open:pytest.py", "link_to_nothing": "open:links",
    },
    {
        "conftest_xfail": "open:conftest.py", "tox_ini": "open:tox.ini",
        "shadow_stdlib": "open:json.py", "directory_in_place": "open:folders",
    },
    {
        "conftest_deselect": "open:conftest.py", "pyproject_setup_plan": "open:pyproject.toml",
        "shadow_pluggy": "open:pluggy.py", "overwrite_hidden": "open:files",
    },
    {
        "conftest_no_op": "open:conftest.py", "sitecustomize": "open:sitecustomize.py",
        "setup_cfg_python_files": "silent:setup.cfg", "shadow_package": "open:packages",
    },
    {"conftest_passes": "open:conftest.py", "env_file": "open:.env"},
    {
        "git_objects": "history", "fetch_by_name": "network", "solution_folder": "solution",
        "grader_files": "log",
    },
    {"git_reflog": "history", "fetch_by_address": "network"},
    {"git_tags": "history", "fetch_by_socket": "network"},
)  # fmt: skip

PATIENCE = 10.0  # s

# What decides whether a cheat is paid: the catalogue, and what becomes of a submission in a grading.
ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "verifiers/integrity/cheat.py", "verifiers/integrity/patch.py", "verifiers/integrity/trials.py",
    "verifiers/integrity/cheats", "verifiers/tests/inside", "envs/formats",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One submission that must not be paid."""

    name: str
    cheats: tuple[str, ...]
    submission: Submission
    scope: Scope
    slow: bool

    @property
    def haste(self) -> Haste:
        """How it is graded: only its reward is asked, and who is known to hang is not waited for long."""
        return Haste(patience=PATIENCE if self.slow else None)


def trials(target: Target) -> tuple[Trial, ...]:
    """Every cheat that the target gives a hold, in one submission each.

    What hangs comes first, so that the others run meanwhile.
    """
    able = {cheat.name: cheat for cheat in CATALOGUE if not _refusal(cheat, target)}
    found = []
    for group in (*GROUPS, *((name,) for name in able)):
        members = [able.pop(name) for name in group if name in able]
        if members:
            found.append(_trial(members, target))
    return tuple(sorted(found, key=lambda trial: not trial.slow))


def inapplicable(target: Target) -> dict[str, str]:
    """Cheats that are not tried on the target, and why."""
    found = {cheat.name: _refusal(cheat, target) for cheat in CATALOGUE}
    return {name: why for name, why in found.items() if why}


@cache
def catalogue_digest() -> str:
    """sha256 over the sources of the catalogue and of the grader: what a certificate speaks of."""
    digest = hashlib.sha256()
    for source in SOURCES:
        whole = ROOT / source
        for path in [whole] if whole.is_file() else sorted(whole.rglob("*.py")):
            data = path.read_bytes()
            digest.update(f"{path.relative_to(ROOT).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _refusal(cheat: Cheat, target: Target) -> str:
    """Why the target gives a cheat no hold; '' if it does."""
    try:
        cheat.changed(target)
    except Inapplicable as error:
        return str(error)
    return ""


def _trial(members: list[Cheat], target: Target) -> Trial:
    changes = merged(target, (cheat.changed(target) for cheat in members))
    environment = all(cheat.scope == "environment" for cheat in members)
    return Trial(
        name="+".join(cheat.name for cheat in members),
        cheats=tuple(cheat.name for cheat in members),
        submission=target.submission(changes),
        scope="environment" if environment else "task",
        slow=any(cheat.slow for cheat in members),
    )


def merged(target: Target, parts: Iterable[Mapping[str, Change]]) -> dict[str, Change]:
    """Several cheats' changes as one; payloads at the end of the same file follow each other.

    Raises ValueError where two want different things of one path, which no group of `GROUPS` does.
    """
    found: dict[str, Change] = {}
    for part in parts:
        for path, change in part.items():
            known = found.get(path)
            found[path] = change if known is None else _both(path, target.files.get(path), known, change)
    return found


def _both(path: str, base: bytes | None, first: Change, second: Change) -> Change:
    if first == second:
        return first
    head = (base or b"").rstrip(b"\n")
    if not (base and first.data and second.data) or first.mode != second.mode:
        raise ValueError(f"two cheats want different things of {path}")
    if not (first.data.startswith(head) and second.data.startswith(head)):
        raise ValueError(f"two cheats rewrite {path}")
    return Change(first.data + second.data[len(head) :], first.mode)
