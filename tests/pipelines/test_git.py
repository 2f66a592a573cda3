"""Mining a clone: a real history, made here with the git command, read without it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from pipelines.family import Mined
from pipelines.swe.change import SourceError
from pipelines.swe.git import described, mine
from pipelines.swe.split import split
from pipelines.swe.trees import LINK, ObjectStore
from warehouse.settings import Settings

ENV = {
    "PATH": os.environ["PATH"], "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.org", "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org", "GIT_ALLOW_PROTOCOL": "file",
}  # fmt: skip
MIT = "Permission is hereby granted, free of charge ... shall be included in all copies\n"


def is_test(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return "tests" in parts[:-1] or parts[-1].startswith("test_")


class History:
    """A repository in the making; every commit is one day later than the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.day = 0
        self.git("init", "-q", "-b", "main", ".")
        self.commit(
            "Start", {"LICENSE": MIT, "pkg/a.py": "A = 1\n" * 20, "tests/test_a.py": "from pkg import a\n"}
        )

    def git(self, *args: str) -> str:
        date = f"2023-01-{self.day + 1:02d}T12:00:00+02:00"
        env = ENV | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        done = subprocess.run(["git", *args], cwd=self.folder, env=env, capture_output=True, check=False)
        assert done.returncode == 0, (args, done.stderr)
        return done.stdout.decode().strip()

    def commit(self, message: str, files: dict[str, str | bytes | None], *options: str) -> str:
        for name, data in files.items():
            path = self.folder / name
            if data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.day += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message, *options)
        return self.git("rev-parse", "HEAD")

    def merge(self, message: str, files: dict[str, str | bytes | None], branch_message: str = "work") -> str:
        self.git("checkout", "-q", "-b", "topic")
        self.commit(branch_message, files)
        self.git("checkout", "-q", "main")
        self.day += 1
        self.git("merge", "-q", "--no-ff", "topic", "-m", message)
        self.git("branch", "-q", "-D", "topic")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "clone")


@pytest.fixture
def mined(tmp_path: Path) -> Callable[..., list[Mined]]:
    settings = Settings(cache=tmp_path / "cache", home=tmp_path / "home")
    return lambda path, **options: list(mine(str(path), settings, is_test=is_test, **options))


def change(n: int) -> dict[str, str | bytes | None]:
    return {"pkg/a.py": f"A = 10{n}\n" * 20, f"tests/test_{n}.py": f"assert {n}\n"}


def test_merges_squashes_and_their_reasons(history: History, mined: Callable[..., list[Mined]]) -> None:
    history.merge("Merge pull request #1 from ann/fix\n\nParse empty lines\n\nThey were lost.", change(1))
    history.commit("Plain work", change(2))
    history.commit(
        "Accept tabs (#3)\n\nTabs count as blanks now.\n\nCo-authored-by: B <b@example.org>", change(3)
    )
    history.commit("Only docs (#4)", {"README.md": "hello"})
    history.commit("Only source (#5)", {"pkg/a.py": "A = 5\n"})
    history.commit('Revert "Accept tabs (#3)" (#6)', change(6))
    history.commit("Bump x (#7)", change(7), "--author", "dependabot[bot] <d@example.org>")
    last = history.merge("Merge branch 'main' of elsewhere", change(8))
    found = mined(history.folder)
    assert [(m.candidate.title, m.candidate.reason) for m in found] == [
        ("Merge branch 'main' of elsewhere", "branch_sync"),
        ("Bump x", "bot"),
        ('Revert "Accept tabs (#3)"', "revert"),
        ("Only source", "no_test_change"),
        ("Only docs", "docs_only"),
        ("Accept tabs", ""),
        ("Parse empty lines", ""),
    ]
    assert found[0].candidate.gold_ref == last
    squash, merge = found[-2].change, found[-1].change
    assert list(squash.texts) == ["Accept tabs\n\nTabs count as blanks now."]
    assert list(merge.texts) == ["Parse empty lines\n\nThey were lost."]
    assert merge.license == "MIT"
    assert merge.source_date == datetime(2023, 1, 4, 10, tzinfo=UTC)
    assert found[-1].source.license == "MIT"
    assert {m.candidate.title for m in mined(history.folder, kinds=("commit",))} == {"Plain work"}
    assert (
        len(
            mined(
                history.folder, since=datetime(2023, 1, 6, tzinfo=UTC), until=datetime(2023, 1, 8, tzinfo=UTC)
            )
        )
        == 2
    )


def test_a_merge_that_a_program_made_is_of_whose_work_it_merged(
    history: History, mined: Callable[..., list[Mined]]
) -> None:
    history.merge("Merge pull request #1 from ann/fix\n\nParse empty lines", change(1))
    history.git("commit", "-q", "--amend", "--no-edit", "--author", "mergify[bot] <m@example.org>")
    history.git("checkout", "-q", "-b", "topic")
    history.commit("Bump x", change(2), "--author", "dependabot[bot] <d@example.org>")
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "topic", "-m", "Merge pull request #2 from dependabot/x\n\nBump x")
    assert [m.candidate.reason for m in mined(history.folder)] == ["bot", ""]


def test_bytes_of_every_kind_survive(history: History, mined: Callable[..., list[Mined]]) -> None:
    (history.folder / "pkg").joinpath("link").symlink_to("a.py")
    text = b"".join(b"line %d\r\n" % n for n in range(40))
    history.commit(
        "Before", {"pkg/old.py": text, "pkg/latin.txt": b"caf\xe9\n", "pkg/d.bin": bytes(range(256))}
    )
    gold = {
        "pkg/old.py": None,
        "pkg/new.py": text.replace(b"line 3\r", b"Line 3\r"),
        "pkg/latin.txt": b"caf\xe9s",
    }
    history.commit("Change (#1)", gold | {"pkg/d.bin": bytes(range(255)), "tests/test_x.py": b"# \xff\r\n"})
    (found,) = mined(history.folder)
    store = ObjectStore.open(found.change.store)
    assert store.tree(found.change.gold_tree).entry("pkg/link") == (LINK, b"a.py")
    result = split(store, found.change.base_tree, found.change.gold_tree, is_test)
    assert b"rename from pkg/old.py\nrename to pkg/new.py" in result.gold_patch
    assert b"+caf\xe9s\n\\ No newline at end of file" in result.gold_patch
    assert b"GIT binary patch" in result.gold_patch
    assert result.hidden["tests/test_x.py"].data == b"# \xff\r\n"
    history.git("checkout", "-q", found.candidate.base_ref)
    patch = history.folder.parent / "gold.patch"
    patch.write_bytes(result.gold_patch)
    history.git("apply", "--index", "--whitespace=nowarn", str(patch))
    assert history.git("write-tree") == result.solved_tree


def test_submodules_are_noted_and_left_out(
    history: History, mined: Callable[..., list[Mined]], tmp_path: Path
) -> None:
    other = History(tmp_path / "other")
    history.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.folder), "vendor/other"
    )
    history.commit("With a submodule (#1)", change(1))
    (found,) = mined(history.folder)
    assert found.change.notes == ("submodule vendor/other left out",)
    assert not [
        path for path in ObjectStore.open(found.change.store).tree(found.change.gold_tree) if "other" in path
    ]


def test_escaping_links_are_refused(history: History, mined: Callable[..., list[Mined]]) -> None:
    (history.folder / "pkg/out").symlink_to("../../etc")
    history.commit("Link (#1)", change(1))
    assert [m.candidate.reason for m in mined(history.folder)] == ["symlink_escape"]


def test_licences_are_checked(history: History, mined: Callable[..., list[Mined]]) -> None:
    history.commit("No licence (#1)", change(1) | {"LICENSE": "all mine\n"})
    assert [m.candidate.reason for m in mined(history.folder)] == ["license_unknown"]


def test_bare_shallow_and_partial_clones(
    history: History, mined: Callable[..., list[Mined]], tmp_path: Path
) -> None:
    for n in range(1, 5):
        history.commit(f"Change {n} (#{n})", change(n))
    url = f"file://{history.folder}"
    history.git("clone", "-q", "--bare", url, str(tmp_path / "bare.git"))
    history.git("clone", "-q", "--depth", "3", url, str(tmp_path / "shallow"))
    history.git("clone", "-q", "--depth", "1", url, str(tmp_path / "tip"))
    history.git("config", "uploadpack.allowFilter", "true")
    history.git("clone", "-q", "--no-checkout", "--filter=blob:none", url, str(tmp_path / "partial"))
    whole = {m.candidate.gold_ref for m in mined(history.folder)}
    assert {m.candidate.gold_ref for m in mined(tmp_path / "bare.git")} == whole
    assert [m.candidate.repo for m in mined(tmp_path / "bare.git")][:1] == ["bare"]
    assert [m.candidate.title for m in mined(tmp_path / "shallow")] == ["Change 4", "Change 3"]
    with pytest.raises(SourceError, match=r"shallow clone .* `git fetch --unshallow`"):
        mined(tmp_path / "tip")
    assert {m.candidate.reason for m in mined(tmp_path / "partial")} == {"missing_objects"}


def test_a_worktree_and_the_remote_s_name(
    history: History, mined: Callable[..., list[Mined]], tmp_path: Path
) -> None:
    history.commit("Change (#1)", change(1))
    history.git("remote", "add", "origin", "https://user:secret@git.example.org/owner/name.git")
    history.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    (found,) = mined(tmp_path / "linked")
    assert (found.candidate.repo, found.source.url) == (
        "owner/name",
        "https://git.example.org/owner/name.git",
    )


def test_nothing_of_the_clone_runs_or_changes(
    history: History, mined: Callable[..., list[Mined]], tmp_path: Path
) -> None:
    history.commit("Change (#1)", change(1) | {".gitattributes": "* filter=evil diff=evil\n"})
    flag = tmp_path / "ran"
    for key in (
        "core.fsmonitor",
        "core.pager",
        "filter.evil.smudge",
        "filter.evil.clean",
        "diff.evil.command",
        "diff.external",
    ):
        history.git("config", key, f"touch {flag}")
    before = {p: p.stat().st_mtime_ns for p in (history.folder / ".git").rglob("*")}
    (found,) = mined(history.folder)
    store = ObjectStore.open(found.change.store)
    split(store, found.change.base_tree, found.change.gold_tree, is_test)
    assert not flag.exists()
    assert {p: p.stat().st_mtime_ns for p in (history.folder / ".git").rglob("*")} == before


@pytest.mark.parametrize(
    "url", ["https://example.org/a/b", "git@example.org:a/b.git", "ext::sh -c id", "file:///etc"]
)
def test_addresses_are_not_read(url: str, mined: Callable[..., list[Mined]]) -> None:
    with pytest.raises(SourceError, match=r"address|no folder"):
        mined(url)


def test_what_is_no_clone(history: History, mined: Callable[..., list[Mined]], tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    history.git("init", "-q", str(tmp_path / "empty"))
    history.git("init", "-q", "--object-format=sha256", str(tmp_path / "sha256"))
    for path, sentence in {
        "nowhere": "There is no folder",
        "plain": "is no git repository",
        "clone/pkg": "is no git repository",
        "empty": "without commits",
        "sha256": "SHA-256",
    }.items():
        with pytest.raises(SourceError, match=sentence) as error:
            mined(tmp_path / path)
        assert str(error.value).count("\n") == 0
    with pytest.raises(SourceError, match="branch 'nope'"):
        mined(history.folder, branch="nope")


def test_messages() -> None:
    assert (
        described("Merge pull request #12 from a/b\n\nFixes crash on empty lines\n\nFixes #3, #4\n")
        == "Fixes crash on empty lines"
    )
    assert (
        described("Do it (#5)\n\n* one\n* two\n\nSigned-off-by: A <a@b>\nCloses https://x/1")
        == "Do it\n\n* one\n* two"
    )
