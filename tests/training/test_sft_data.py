"""From shard to batches: what is learnt, what is left out, and every way a shard can be wrong."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest

from training.data import COLUMNS, END, ROLES, batches, encode, read_corpus, shard_files
from warehouse.errors import FactoryError


def test_only_the_answer_and_its_end_are_learnt() -> None:
    tokens, learnt = encode([{"role": "user", "content": "né"}, {"role": "assistant", "content": "ok"}])
    assert list(tokens) == [ROLES["user"], *"né".encode(), END, ROLES["assistant"], *b"ok", END]
    assert list(learnt) == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_a_batch_is_whole_examples_of_one_epoch(shard: Path) -> None:
    corpus = read_corpus(str(shard), 1000, "error")
    made = list(islice(batches(corpus, 500, seed=3), 40))
    assert all(sum(len(e.tokens) for e in batch) <= 500 for batch in made)
    per_epoch, seen = [], Counter()
    for batch in made:
        seen.update(e.tokens.tobytes() for e in batch)
        if sum(seen.values()) == len(corpus.examples):
            per_epoch.append(set(seen.values()))
            seen.clear()
    assert len(per_epoch) >= 5
    assert all(counts == {1} for counts in per_epoch)
    assert made == list(islice(batches(corpus, 500, seed=3), 40))
    assert made != list(islice(batches(corpus, 500, seed=4), 40))


def test_folder_glob_and_file_name_the_same_shard(shard: Path) -> None:
    for data in (shard, shard.parent, shard.parent / "*.parquet", shard.parent / "**/*.parquet"):
        assert shard_files(str(data)) == [shard]


def test_long_examples_are_counted(write_shard, row) -> None:
    path = write_shard([row(0), row(1, patch="x" * 5000), row(2)])
    dropped = read_corpus(str(path), 400, "drop")
    assert (len(dropped.examples), dropped.dropped, dropped.truncated) == (2, 1, 0)
    cut = read_corpus(str(path), 400, "truncate")
    assert (len(cut.examples), cut.dropped, cut.truncated) == (3, 0, 1)
    assert max(len(e.tokens) for e in cut.examples) == 400
    with pytest.raises(FactoryError, match=r"Task task1 .* over sequence_length = 400"):
        read_corpus(str(path), 400, "error")
    # nothing of the answer fits: there is nothing to cut to
    with pytest.raises(FactoryError, match="all 3 examples are over 20 tokens"):
        read_corpus(str(path), 20, "truncate")


def test_what_is_wrong_with_a_shard_is_said(write_shard, row, tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(FactoryError) as error:
            read_corpus(str(path), 1000, "drop")
        assert path.name in str(error.value)
        return str(error.value)

    assert "it has no rows" in said(write_shard([]))
    assert "has no column 'weight'" in said(
        write_shard([], {k: v for k, v in COLUMNS.items() if k != "weight"})
    )
    assert "Column 'messages'" in said(write_shard([], COLUMNS | {"messages": pa.string()}))
    assert "is int64; it should be double" in said(write_shard([], COLUMNS | {"weight": pa.int64()}))
    assert "Task task0" in said(write_shard([row(0) | {"weight": float("nan")}]))
    assert "it must be a positive number" in said(write_shard([row(0) | {"weight": -1.0}]))
    assert "role is not one of" in said(
        write_shard([row(0) | {"messages": [{"role": "tool", "content": ""}]}])
    )
    assert "no assistant message" in said(write_shard([row(0) | {"messages": row(0)["messages"][:2]}]))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    assert "cannot be read as Parquet" in said(tmp_path / "cut.parquet")
    assert "No Parquet file" in said(tmp_path / "none.parquet")


def test_large_and_required_types_are_the_same_type(write_shard, row) -> None:
    struct = pa.struct([("role", pa.large_string()), pa.field("content", pa.string(), nullable=False)])
    path = write_shard([row(0)], COLUMNS | {"messages": pa.large_list(struct)})
    assert len(read_corpus(str(path), 1000, "error").examples) == 1
