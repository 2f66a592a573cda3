"""Repositories as GitHub would hold them: real histories, made with git, and their pull requests."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MIT = "Permission is hereby granted, free of charge ... shall be included in all copies\n"
START = datetime(2024, 1, 1, 12, tzinfo=UTC)
Files = dict[str, str | bytes | None]


@dataclass
class Pull:
    """A pull request as GraphQL tells of it, and as people wrote it."""

    number: int
    title: str
    body: str
    merged: str
    parents: list[str]
    messages: list[tuple[str, str]]
    paths: list[str]
    lines: tuple[int, int]
    at: datetime
    author: str | None = "ann"
    typename: str = "User"
    labels: tuple[str, ...] = ()
    issues: tuple[tuple[int, str, str], ...] = ()
    reviews: tuple[tuple[str, str], ...] = ()
    base: str = "main"
    no_merge_commit: bool = False


@dataclass
class Upstream:
    """A repository in the making: every commit on the main branch is one day later than the last."""

    folder: Path
    name: str
    pulls: list[Pull] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the API is to say of it other than usual: private, size, license, moved_to, gone, …"""
    day: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", ".")
        # a server that lets clients choose what to fetch, as GitHub's does
        self.git("config", "uploadpack.allowFilter", "true")
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")

    def start(self) -> Upstream:
        self.commit(
            "Start", {"LICENSE": MIT, "pkg/a.py": "A = 1\n" * 20, "tests/test_a.py": "from pkg import a\n"}
        )
        return self

    def git(self, *args: str, data: bytes | None = None) -> str:
        date = (START + timedelta(days=self.day)).isoformat()
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder),
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@example.org", "GIT_COMMITTER_DATE": date,
        }  # fmt: skip
        done = subprocess.run(
            ["git", *args], cwd=self.folder, env=env, input=data, capture_output=True, check=False
        )
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout.decode().strip()

    def commit(self, message: str, files: Files) -> str:
        for name, data in files.items():
            path = self.folder / name
            if data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.day += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def pull(
        self, title: str, *parts: Files, how: str = "squash", body: str = "", base: str = "main", **more: Any
    ) -> Pull:
        """A pull request of a commit for each of `parts`, put into `base` by merge | squash | rebase."""
        number = len(self.pulls) + 1
        self.git("checkout", "-q", base)
        before = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "-b", "topic")
        for i, files in enumerate(parts):
            self.commit(title if len(parts) == 1 else f"{title}: part {i + 1}", files)
        told = self.git("log", "--reverse", "--format=%H%x00%B%x01", f"{before}..topic")
        messages = [
            (oid.strip(), message.strip())
            for oid, message in (c.split("\0") for c in told.split("\1") if c.strip())
        ]
        self.git("checkout", "-q", base)
        self.day += 1
        if how == "merge":
            self.git(
                "merge",
                "-q",
                "--no-ff",
                "topic",
                "-m",
                f"Merge pull request #{number} from ann/topic\n\n{title}",
            )
        elif how == "squash":
            self.git("merge", "-q", "--squash", "topic")
            self.git("commit", "-q", "--allow-empty", "-m", f"{title} (#{number})")
        else:
            self.git("rebase", "-q", "--force-rebase", base, "topic")
            self.git("checkout", "-q", base)
            self.git("merge", "-q", "--ff-only", "topic")
        self.git("branch", "-q", "-D", "topic")
        merged = self.git("rev-parse", "HEAD")
        numbers = [
            line.split("\t")
            for line in self.git("diff", "--numstat", "--no-renames", before, merged).split("\n")
            if line
        ]
        lines = [(int(a) if a.isdigit() else 0, int(d) if d.isdigit() else 0) for a, d, _ in numbers]
        made = Pull(
            number=number, title=title, body=body, merged=merged,
            parents=self.git("log", "-1", "--format=%P", merged).split(),
            messages=messages, paths=[path for _, _, path in numbers],
            lines=(sum(a for a, _ in lines), sum(d for _, d in lines)),
            at=START + timedelta(days=self.day), base=base, **more,
        )  # fmt: skip
        self.pulls.append(made)
        return made

    def fix(self, value: int, **more: Any) -> Pull:
        """A pull request that qualifies: source, test, and words of its own."""
        more.setdefault(
            "body", f"The value of A was not {value} when it was read twice in a row by somebody."
        )
        source = f"A = {value}\n" + "".join(f"B{value}_{i} = {i * value}\n" for i in range(20))
        tests = f"from pkg import a\n\n\ndef test_{value}():\n    assert a.A == {value}\n"
        return self.pull(
            more.pop("title", f"Make A {value}"),
            {"pkg/a.py": source, f"tests/test_{value}.py": tests},
            **more,
        )
