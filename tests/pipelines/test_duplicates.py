"""Near-duplicates and benchmarks: what is near, what is not, and how either ends a candidate."""

from __future__ import annotations

import json
import random
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from calc_repo import make
from hypothesis import given
from hypothesis import strategies as st

from pipelines.family import Mined
from pipelines.swe.duplicates import VALUES, Index, Signature, tasks_of
from pipelines.swe.exclusions import Exclusions
from pipelines.swe.family import SweFamily, SweOptions
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import Record, Task
from warehouse.settings import Settings

WORDS = [f"word{i}" for i in range(400)]


def patch_of(lines: list[str], name: str = "a.py", at: int = 1) -> str:
    head = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -{at},0 +{at},{len(lines)} @@\n"
    return head + "".join(f"+{line}\n" for line in lines)


def code(seed: int, lines: int = 40) -> list[str]:
    drawn = random.Random(seed)
    return [f"{drawn.choice(WORDS)} = {drawn.choice(WORDS)}({drawn.choice(WORDS)})" for _ in range(lines)]


def prose(seed: int, words: int = 60) -> str:
    drawn = random.Random(seed)
    return " ".join(drawn.choice(WORDS) for _ in range(words))


def near(first: Signature, second: Signature) -> bool:
    index = Index()
    index.add("first", first)
    return index.near(second) is not None


def test_the_same_patch_elsewhere_is_near() -> None:
    first = Signature.of(prose(1), patch_of(code(1)))
    assert near(first, Signature.of(prose(2), patch_of(code(1), "other/b.py", at=99)))


def test_a_patch_with_a_line_more_is_near_and_one_with_half_of_it_is_not() -> None:
    lines = code(1)
    first = Signature.of(prose(1), patch_of(lines))
    assert near(first, Signature.of(prose(2), patch_of([*lines, "one = more(line)"])))
    assert not near(first, Signature.of(prose(2), patch_of(lines[:20] + code(2)[20:])))


def test_the_same_statement_is_near_whatever_solved_it() -> None:
    first = Signature.of(prose(1), patch_of(code(1)))
    assert near(first, Signature.of(prose(1).upper() + "!", patch_of(code(2))))
    assert not near(first, Signature.of(prose(1, 40) + prose(2, 40), patch_of(code(2))))


def test_short_texts_are_near_only_together() -> None:
    small = patch_of(["return 1"])
    first = Signature.of("Return one", small)
    assert not near(first, Signature.of(prose(3), small))
    assert not near(first, Signature.of("Return one", patch_of(code(5))))
    assert near(first, Signature.of("Return one", small))


def test_what_was_removed_is_not_what_was_added() -> None:
    added = patch_of(code(1))
    removed = added.replace("\n+", "\n-").replace("-++ b", "+++ b")
    assert not near(Signature.of(prose(1), added), Signature.of(prose(2), removed))


@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_likeness_estimates_the_share_in_common(seed: int, share: float) -> None:
    """128 values tell the Jaccard similarity to ±0.2: more than four standard deviations."""
    drawn = random.Random(seed)
    tokens = [f"t{drawn.random()}" for _ in range(400)]
    cut = int(300 * share)
    first, second = set(tokens[:300]), set(tokens[300 - cut : 300] + tokens[300:400])
    a = Signature.of("", patch_of(sorted(first)))
    b = Signature.of("", patch_of(sorted(second)))
    exact = len(first & second) / len(first | second)
    alike = sum(x == y for x, y in zip(a.patch, b.patch, strict=True)) / VALUES
    assert abs(alike - exact) < 0.2


def test_the_nearest_is_named_and_nothing_is_near_to_itself() -> None:
    lines = code(1)
    index = Index()
    for i in range(200):  # past the first allocation
        index.add(f"other {i}", Signature.of(prose(1000 + i), patch_of(code(1000 + i))))
    index.add("half", Signature.of(prose(1), patch_of(lines[:-3])), owner="a")
    index.add("whole", Signature.of(prose(1), patch_of(lines)), owner="b")
    wanted = Signature.of(prose(1), patch_of(lines))
    found = index.near(wanted, owner="c")
    assert found is not None
    assert (found.name, found.patch, found.statement) == ("whole", 1.0, 1.0)
    found = index.near(wanted, owner="b")
    assert found is not None
    assert found.name == "half"
    assert len(index) == 202


def test_a_signature_survives_its_record_and_another_version_does_not() -> None:
    made = Signature.of(prose(1), patch_of(code(1)))
    kept = json.loads(json.dumps(made.to_json()))
    assert Signature.from_json(kept) == made
    assert Signature.from_json(kept | {"version": "other"}) is None
    assert len(json.dumps(kept)) < 1500


# Through the family, over a real history.


def mined(repo: Path, settings: Settings, **options: Any) -> list[Mined]:
    asked = SweOptions(source="git", repo=(repo,), **options)
    return list(SweFamily().mine(str(repo), asked, settings))


def reasons(found: list[Mined]) -> list[str]:
    return [item.candidate.reason for item in found]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


def test_a_change_made_twice_in_one_run_is_mined_once(tmp_path: Path, settings: Settings) -> None:
    repo = make(tmp_path / "calc")
    git = ["git", "-C", str(repo), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    whole = subprocess.run([*git, "diff", "HEAD~1", "HEAD"], check=True, capture_output=True).stdout
    for arguments in (["revert", "--no-edit", "HEAD"], ["cherry-pick", "HEAD~1"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    assert whole
    found = mined(repo, settings)
    first, again = (item for item in found if item.candidate.title.startswith("Add product"))
    assert (first.candidate.verdict, again.candidate.reason) == ("accepted", "near_duplicate")
    assert again.change is None
    why = json.loads(again.candidate.detail)["why"]
    assert why.startswith(f"candidate {first.candidate.candidate_id}: patch 100%")


def _task(item: Mined, task_id: str) -> Task:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    return Task(
        task_id=task_id, candidate_id=item.candidate.candidate_id, environment_id="e", family="swe",
        kind="bug_fix", repo="calc", language="python", license="MIT", attribution="", source_date=now,
        instruction="x", verifier="{}", gold_patch="", test_patch="", fail_to_pass=(), pass_to_pass=(),
        new_tests=(), quarantined=(),
        statement_check="rules", bundle="", run_id="r",
    )  # fmt: skip


def _stored(settings: Settings, records: list[Record]) -> None:
    outbox = Outbox(settings)
    outbox.append(records)
    outbox.flush()
    load(settings)


def test_a_task_of_the_warehouse_is_not_made_again(tmp_path: Path, settings: Settings) -> None:
    first = mined(make(tmp_path / "calc"), settings)
    task = first[0]
    _stored(settings, [task.source, task.candidate, _task(task, "t" * 20)])
    assert len(tasks_of(settings)) == 1
    # the same history again is the same candidates, which are near to nothing but themselves
    assert reasons(mined(tmp_path / "calc", settings)) == reasons(first)
    copy = make(tmp_path / "fork")
    again = mined(copy, settings)
    assert reasons(again)[0] == "near_duplicate"
    assert json.loads(again[0].candidate.detail)["why"].startswith(f"task {'t' * 20}: patch 100%")
    assert reasons(again)[1:] == reasons(first)[1:]


LISTS = {
    "repository": ("ann/calc\n", 4),
    "instances": ("# a comment\nann__calc-3\nann/calc#1  # why\n", 2),
    "case": ("ANN/Calc\n", 4),
    "another": ("bob/calc\nann/calcs\nbob__calc-3\nann__calc-99\n", 0),
}


@pytest.mark.parametrize(("listed", "excluded"), LISTS.values(), ids=LISTS)
def test_a_list_of_benchmark_ids(listed: str, excluded: int, tmp_path: Path, settings: Settings) -> None:
    repo = make(tmp_path / "calc")
    subprocess.run(
        ["git", "-C", str(repo), "remote", "add", "origin", "https://example.org/ann/calc.git"], check=True
    )
    file = tmp_path / "ids.txt"
    file.write_text(listed)
    found = mined(repo, settings, exclude=(file,))
    assert reasons(found).count("benchmark_overlap") == excluded


def test_a_clone_without_an_owner_is_measured_by_its_name(tmp_path: Path, settings: Settings) -> None:
    repo = make(tmp_path / "calc")
    file = tmp_path / "ids.txt"
    file.write_text("ann__calc-3\n")
    found = mined(repo, settings, exclude=(file,))
    assert [i.candidate.title for i in found if i.candidate.reason] == ["Digits of negative numbers end"]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_table_of_a_benchmark(suffix: str, tmp_path: Path, settings: Settings) -> None:
    repo = make(tmp_path / "calc")
    plain = mined(repo, settings)
    by_patch, by_commit = plain[0], plain[1]
    from pipelines.swe.split import split
    from pipelines.swe.trees import ObjectStore

    change = by_patch.change
    parts = split(
        ObjectStore.open(change.store), change.base_tree, change.gold_tree, lambda path: "test" in path
    )
    rows = [
        ("other__name-1", "other/name", by_commit.candidate.base_ref, "", "x"),
        (
            "other__name-2",
            "other/name",
            "0" * 40,
            parts.gold_patch.decode(),
            "It goes on forever below zero.",
        ),
    ]
    file = tmp_path / f"bench.{suffix}"
    with duckdb.connect() as con:
        con.execute(
            "CREATE TABLE t (instance_id VARCHAR, repo VARCHAR, base_commit VARCHAR, patch VARCHAR, "
            "problem_statement VARCHAR)"
        )
        con.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
        con.execute(f"COPY t TO '{file}'" + (" (FORMAT json)" if suffix == "jsonl" else ""))
    found = mined(repo, settings, exclude=(file,))
    assert reasons(found)[:3] == ["benchmark_overlap", "benchmark_overlap", reasons(plain)[2]]
    why = [json.loads(item.candidate.detail)["why"] for item in found[:2]]
    assert why[0].startswith("other__name-2: patch 100%")
    assert why[1].startswith("other__name-1")


def test_a_table_of_repositories(tmp_path: Path) -> None:
    file = tmp_path / "repos.csv"
    file.write_text("repo,stars\nann/calc,3\n")
    excluded = Exclusions.read((file,))
    assert excluded.named("ann/calc", 5, "", "") == "ann/calc"
    assert excluded.named("calc", None, "", "") == "ann/calc"
    assert excluded.named("bob/calc", 5, "", "") is None


def test_a_release_is_measured_by_the_name_of_any_instance(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("django__django-11099\npsf__requests-5414\nscikit-learn__scikit-learn-10297\n")
    excluded = Exclusions.read((file,))
    assert excluded.named("requests", None, "2.1", "2.2") == "psf__requests-5414"
    assert excluded.named("scikit-learn", None, "", "") == "scikit-learn__scikit-learn-10297"
    assert excluded.named("requests-cache", None, "", "") is None
    assert excluded.named("django/django", 11099, "", "") == "django__django-11099"
    assert excluded.named("django/django", 11098, "", "") is None


BAD = {
    "missing": ("none.txt", None),
    "prose": ("ids.txt", b"these are not ids\n"),
    "binary": ("ids.txt", b"\xff\xfe\x00"),
    "no-parquet": ("bench.parquet", b"PAR1 nonsense"),
    "no-columns": ("bench.csv", b"a,b\n1,2\n"),
}


@pytest.mark.parametrize(("name", "data"), BAD.values(), ids=BAD)
def test_a_file_that_names_nothing(name: str, data: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(FactoryError, match=name.replace(".", r"\.")):
        Exclusions.read((file,))
