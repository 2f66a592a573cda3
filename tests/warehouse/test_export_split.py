"""The split: by repository, the same everywhere, and never one that leaves nothing to train on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.errors import FactoryError
from warehouse.export.split import SPLITS, assign, held_out

HELD = [name for name in (f"r{n}" for n in range(200)) if held_out(name)]
KEPT = [name for name in (f"r{n}" for n in range(200)) if not held_out(name)]


def test_about_a_tenth_is_held_out() -> None:
    assert 8 < len(HELD) < 35


def test_the_hash_decides_where_both_sides_have_tasks() -> None:
    found = assign([(HELD[0], None), (KEPT[0], None)])
    assert found.by_repo == {HELD[0]: "validation", KEPT[0]: "train"}
    assert found.note == ""


@pytest.mark.parametrize("repos", [HELD[:1], HELD[:2]])
def test_all_held_out_is_all_train_and_said(repos: list[str]) -> None:
    found = assign([(repo, None) for repo in repos])
    assert set(found.by_repo.values()) == {"train"}
    assert "went to train" in found.note


def test_a_recorded_split_stays_and_counts() -> None:
    # somebody recorded tasks to train on, so a held-out repository may be held out
    assert assign([(HELD[0], None), (KEPT[0], "train")]).by_repo == {HELD[0]: "validation"}
    # what is left undecided beside recorded validation tasks goes to train
    assert assign([(HELD[0], None), (KEPT[0], "validation")]).by_repo == {HELD[0]: "train"}
    # nothing is undecided: nothing to add
    assert assign([(HELD[0], "test")]) == assign([(KEPT[0], "validation")])
    assert assign([(HELD[0], "test")]).note == ""


def test_names_that_no_export_knows() -> None:
    with pytest.raises(FactoryError, match="'dev'"):
        assign([("a", "dev")])


@given(st.lists(st.tuples(st.sampled_from(HELD + KEPT), st.sampled_from([None, *SPLITS]))), st.floats(0, 1))
def test_something_undecided_means_something_to_train_on(
    found: list[tuple[str, str | None]], share: float
) -> None:
    assignment = assign(found, share)
    assert set(assignment.by_repo) == {repo for repo, split in found if split is None}
    if assignment.by_repo:
        assert "train" in {*assignment.by_repo.values(), *(split for _, split in found)}
    assert assignment == assign(reversed(found), share)
