"""Mining GitHub: a server that speaks its protocols, real histories behind it, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from github_mining import mined, reasons
from github_server import Answer, Asked, FakeGitHub
from github_upstream import Upstream

from pipelines.swe.change import SourceError
from pipelines.swe.github import details
from pipelines.swe.github.client import GitHub
from pipelines.swe.github.source import mine
from warehouse.settings import Settings


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_a_pull_request_becomes_a_change_however_it_was_merged(
    how: str, upstream: Upstream, settings: Settings
) -> None:
    before = upstream.git("rev-parse", "main")
    pull = upstream.pull(
        "Count from one",
        {"pkg/a.py": "A = 2\n" * 20},
        {"tests/test_a.py": "from pkg import a\nassert a.A == 2\n"},
        how=how,
        body="<!-- say why -->\nNobody can tell what the first one of them is, see the talk.\n- [x] tests",
        issues=(
            (7, "The first is missing", "Counting begins at zero, so that the first one is left out of it."),
        ),
        labels=("bug", "good first issue"),
        reviews=(("CHANGES_REQUESTED", "Does this hold for all?"),),
    )
    (item,) = mined(settings)
    assert item.candidate.verdict == "accepted", item.candidate
    assert (item.change.base_ref, item.change.gold_ref) == (before, pull.merged)
    assert (item.candidate.base_ref, item.candidate.gold_ref) == (before, pull.merged)
    assert item.change.linked[0][0] == "issue"
    assert item.change.linked[0][1].startswith("The first is missing\n\nCounting begins at zero")
    assert item.change.linked[1] == (
        "pull_request",
        "Count from one\n\nNobody can tell what the first one of them is, see the talk.",
    )
    assert item.change.texts == ("Count from one: part 1", "Count from one: part 2")
    assert (item.source.kind, item.source.license, item.source.revision) == ("github", "MIT", pull.merged)
    told = json.loads(item.source.raw)
    assert told["labels"] == ["bug", "good first issue"]
    assert told["issues"][0]["url"].endswith("/issues/7")
    assert told["reviews"][0]["state"] == "CHANGES_REQUESTED"
    assert told["reviews"][0]["comments"][0]["path"] == "pkg/a.py"
    assert json.loads(item.candidate.detail)["pull_request"] == 1


def test_rules_are_asked_before_anything_is_fetched(
    upstream: Upstream, server: FakeGitHub, settings: Settings
) -> None:
    text = {"pkg/a.py": "A = 9\n", "tests/test_a.py": "\n"}
    upstream.pull("Bump x", text, author="dependabot", typename="Bot")
    upstream.pull('Revert "Count"', {"pkg/a.py": "A = 8\n"})
    upstream.pull("Explain", {"docs/index.md": "words\n"})
    upstream.pull("Lock", {"uv.lock": "x\n", "js/package-lock.json": "{}\n"})
    upstream.pull("Generate", {"pkg/x_pb2.py": "x\n", "web/app.min.js": "x\n"})
    upstream.pull("Vendor", {"vendor/x.py": "x\n", "tests/test_b.py": "x\n"})
    upstream.pull("Untested", {"pkg/a.py": "A = 7\n"})
    upstream.pull("Tests alone", {"tests/test_a.py": "# x\n"})
    upstream.pull("x", {"pkg/a.py": "A = 6\n", "tests/test_a.py": "# y\n"})
    found = mined(settings)
    assert reasons(found) == {
        "Bump x": "bot", 'Revert "Count"': "revert", "Explain": "docs_only", "Lock": "lock_files_only",
        "Generate": "generated_only", "Vendor": "vendored", "Untested": "no_test_change",
        "Tests alone": "no_source_change", "x": "no_linked_statement",
    }  # fmt: skip
    assert server.git_requests == []
    assert server.times("Listing") == 1


def test_only_files_that_are_needed_are_fetched(
    upstream: Upstream, settings: Settings, server: FakeGitHub
) -> None:
    upstream.commit("Large", {"big.bin": b"large " * 100_000})
    upstream.commit("Gone", {"big.bin": None})
    upstream.fix(5)
    (item,) = mined(settings)
    assert item.candidate.verdict == "accepted", item.candidate
    mirrors = [path for path in (settings.cache / "mirrors").iterdir() if path.suffix == ".git"]
    listed = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectsize)"],
        cwd=mirrors[0], capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    sizes = [int(line.split()[1]) for line in listed if line.startswith("blob")]
    assert sizes
    assert max(sizes) < 10_000


def test_a_stop_anywhere_loses_nothing_and_asks_nothing_twice(
    upstream: Upstream, server: FakeGitHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "LISTED_AT_A_TIME", 3)
    monkeypatch.setattr(details, "DETAILED_AT_A_TIME", 2)
    for value in range(2, 12):
        upstream.fix(value)
    whole = [f"Make A {value}" for value in range(11, 1, -1)]
    assert [item.candidate.title for item in mined(settings, limit=2)] == whole[:2]
    assert (server.times("Listing"), server.times("Details")) == (1, 1)
    found = mined(settings, limit=5)
    assert [item.candidate.title for item in found] == whole[:5]
    assert (server.times("Listing"), server.times("Details")) == (3, 3)

    upstream.fix(12)
    server.asked.clear()
    found = mined(settings)
    assert [item.candidate.title for item in found] == ["Make A 12", *whole]
    assert server.times("Listing") == 3  # the top, and the two pages that were left
    assert {item.candidate.verdict for item in found} == {"accepted"}

    server.asked.clear()
    again = mined(settings)
    assert [item.candidate for item in again if item.candidate.verdict == "rejected"] == []
    assert [item.candidate.candidate_id for item in again] == [item.candidate.candidate_id for item in found]
    assert (server.times("Listing"), server.times("Details")) == (1, 0)


def test_a_gap_between_two_stopped_listings_is_closed(
    upstream: Upstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "LISTED_AT_A_TIME", 2)
    for value in range(2, 6):
        upstream.fix(value)
    mined(settings, limit=1)
    for value in range(6, 12):
        upstream.fix(value)
    mined(settings, limit=1)  # the new top; four new ones lie between it and what is known
    found = mined(settings)
    assert sorted(item.candidate.title for item in found) == sorted(f"Make A {v}" for v in range(2, 12))


def test_a_cursor_that_github_forgot_starts_again_at_the_top(
    upstream: Upstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "LISTED_AT_A_TIME", 2)
    for value in range(2, 7):
        upstream.fix(value)
    mined(settings, limit=1)
    (cursor,) = settings.home.glob("github/*/pulls/ann/calc/cursor.json")
    cursor.write_text(json.dumps([span | {"after": "nonsense"} for span in json.loads(cursor.read_text())]))
    assert len(mined(settings)) == 5


def test_what_a_kill_tore_is_asked_again(upstream: Upstream, settings: Settings) -> None:
    for value in range(2, 5):
        upstream.fix(value)
    mined(settings)
    (lines,) = settings.home.glob("github/*/pulls/ann/calc/pulls.jsonl")
    lines.write_bytes(lines.read_bytes()[:-20])
    assert len(mined(settings)) == 3
    assert len(mined(settings)) == 3


def test_since_and_until_bound_what_was_merged(
    upstream: Upstream, server: FakeGitHub, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "LISTED_AT_A_TIME", 2)
    pulls = [upstream.fix(value) for value in range(2, 8)]
    found = mined(settings, since=pulls[3].at, until=pulls[5].at)
    assert [item.candidate.title for item in found] == ["Make A 6", "Make A 5"]
    assert server.times("Listing") == 2
    assert len(mined(settings)) == 6


def test_numbers_of_an_archive_are_asked_for_without_a_listing(
    upstream: Upstream, server: FakeGitHub, settings: Settings
) -> None:
    for value in range(2, 6):
        upstream.fix(value)
    found = mined(settings, numbers=(3, 99, 1))
    assert [item.candidate.title for item in found] == ["Make A 4", "Make A 2"]
    assert server.times("Listing") == 0


def test_another_branch(upstream: Upstream, settings: Settings) -> None:
    upstream.git("branch", "stable")
    upstream.fix(3)
    upstream.fix(4, base="stable")
    assert list(reasons(mined(settings, branch="stable"))) == ["Make A 4"]
    assert len(mined(settings)) == 2


FACTS = {
    "gone": ({"gone": True}, "repository_gone"),
    "taken-down": ({"taken_down": True}, "repository_gone"),
    "private": ({"private": True}, "repository_private"),
    "disabled": ({"disabled": True}, "repository_disabled"),
    "too-large": ({"size": 10_000_000}, "repository_too_large"),
    "copyleft": ({"license": "GPL-3.0"}, "license_not_permitted"),
    "gone-to-git": ({"git_gone": True}, "repository_gone"),
    "git-refuses": ({"git_status": 403}, "repository_gone"),
    "git-fails": ({"git_status": 500}, "fetch_failed"),
    "gone-meanwhile": ({"gone_to_graphql": True}, "repository_gone"),
}


@pytest.mark.parametrize(("facts", "reason"), FACTS.values(), ids=FACTS)
def test_a_repository_that_cannot_be_mined_says_why(
    facts: dict[str, object], reason: str, upstream: Upstream, settings: Settings
) -> None:
    upstream.fix(2)
    upstream.facts = facts
    with pytest.raises(SourceError) as caught:
        mined(settings)
    assert caught.value.reason == reason
    assert "ann/calc" in str(caught.value)
    assert "secret-one" not in str(caught.value)


def test_an_empty_repository(server: FakeGitHub, settings: Settings, tmp_path: Path) -> None:
    server.add(Upstream(tmp_path / "empty", "ann/empty", facts={"empty": True}))
    with pytest.raises(SourceError, match="empty") as caught:
        mined(settings, "ann/empty")
    assert caught.value.reason == "repository_empty"


def test_a_repository_without_pull_requests_yields_nothing(upstream: Upstream, settings: Settings) -> None:
    assert mined(settings) == []


def test_an_unknown_licence_is_left_to_the_trees(upstream: Upstream, settings: Settings) -> None:
    upstream.facts = {"license": "NOASSERTION"}
    upstream.fix(2)
    upstream.fix(3)
    upstream.commit("Drop", {"LICENSE": "All rights reserved\n"})
    upstream.fix(4)
    assert reasons(mined(settings)) == {"Make A 4": "license_unknown", "Make A 3": "", "Make A 2": ""}


def test_a_renamed_repository_is_mined_under_its_new_name(
    upstream: Upstream, server: FakeGitHub, settings: Settings, tmp_path: Path
) -> None:
    upstream.fix(2)
    server.add(Upstream(tmp_path / "old", "ann/old", facts={"moved_to": "ann/calc"}))
    (item,) = mined(settings, "ann/old")
    assert (item.candidate.repo, item.candidate.verdict) == ("ann/calc", "accepted")


def test_a_rewritten_branch_is_mined_while_github_keeps_its_commits(
    upstream: Upstream, settings: Settings
) -> None:
    start = upstream.git("rev-parse", "main")
    upstream.fix(2)
    upstream.git("reset", "-q", "--hard", start)
    upstream.fix(3)
    assert reasons(mined(settings)) == {"Make A 3": "", "Make A 2": ""}


def test_a_merge_commit_that_is_gone_is_a_reason(upstream: Upstream, settings: Settings) -> None:
    start = upstream.git("rev-parse", "main")
    upstream.fix(2)
    upstream.git("reset", "-q", "--hard", start)
    upstream.git("reflog", "expire", "--expire=now", "--all")
    upstream.git("gc", "-q", "--prune=now")
    upstream.fix(3)
    upstream.fix(4, no_merge_commit=True)
    assert reasons(mined(settings)) == {
        "Make A 4": "merge_commit_gone",
        "Make A 3": "",
        "Make A 2": "merge_commit_gone",
    }


def test_a_first_commit_has_no_base(server: FakeGitHub, settings: Settings, tmp_path: Path) -> None:
    fresh = server.add(Upstream(tmp_path / "fresh", "ann/fresh")).start()
    fresh.fix(2)
    orphan = fresh.git("commit-tree", fresh.git("rev-parse", "HEAD^{tree}"), "-m", "all")
    fresh.git("update-ref", "refs/heads/orphan", orphan)
    fresh.pulls[0].merged, fresh.pulls[0].parents = orphan, []
    assert reasons(mined(settings, "ann/fresh")) == {"Make A 2": "base_gone"}


def test_a_diff_of_100_mb_is_refused_unread(
    upstream: Upstream, server: FakeGitHub, settings: Settings
) -> None:
    upstream.fix(2).lines = (4_000_000, 0)
    assert reasons(mined(settings)) == {"Make A 2": "too_large"}
    assert server.times("Details") == 0
    assert server.git_requests == []


def test_a_diff_of_few_lines_and_many_bytes_is_refused(upstream: Upstream, settings: Settings) -> None:
    upstream.pull(
        "Add the table",
        {"pkg/table.py": b"T = '" + b"x" * (33 << 20) + b"'\n", "tests/test_t.py": "from pkg import table\n"},
        body="There was no table of what is what, so that everybody made one for himself.",
    )
    assert reasons(mined(settings)) == {"Add the table": "too_large"}


def test_200_000_files_are_not_fetched(upstream: Upstream, settings: Settings) -> None:
    blob = upstream.git("hash-object", "-w", "--stdin", data=b"same")
    leaf = upstream.git("mktree", data="".join(f"100644 blob {blob}\tf{i:03}\n" for i in range(450)).encode())
    many = upstream.git("mktree", data="".join(f"040000 tree {leaf}\td{i:03}\n" for i in range(450)).encode())
    pull = upstream.fix(2)
    trees = []
    for commit in (pull.parents[0], pull.merged):
        listed = upstream.git("ls-tree", commit)
        trees.append(upstream.git("mktree", data=f"{listed}\n040000 tree {many}\tmany\n".encode()))
    base = upstream.git("commit-tree", trees[0], "-m", "many")
    pull.merged = upstream.git("commit-tree", trees[1], "-p", base, "-m", "fix")
    pull.parents = [base]
    upstream.git("update-ref", "refs/heads/main", pull.merged)
    assert reasons(mined(settings)) == {"Make A 2": "too_many_files"}


def test_a_batch_that_is_too_heavy_is_asked_for_in_halves(
    upstream: Upstream, server: FakeGitHub, settings: Settings
) -> None:
    for value in range(2, 8):
        upstream.fix(value)

    def fault(asked: Asked) -> Answer | None:
        query = str((asked.body or {}).get("query", ""))
        if query.startswith("query Details") and query.count("pullRequest(number") > 2:
            return Answer(502, {"message": "Something went wrong"})
        return None

    server.faults.append(fault)
    assert len(mined(settings)) == 6


def test_two_processes_do_not_share_a_listing(upstream: Upstream, settings: Settings) -> None:
    upstream.fix(2)
    first = mine("ann/calc", settings, github=GitHub(settings, pause=0))
    next(first)
    with pytest.raises(SourceError) as caught:
        mined(settings)
    assert caught.value.reason == "in_use"
    first.close()  # type: ignore[attr-defined]
    assert len(mined(settings)) == 1
