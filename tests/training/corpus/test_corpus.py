"""From rows to batches: what is learnt, what is left out and why, and every way a shard can be wrong."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from training.chat import m2
from training.chat.atif import read_atif
from training.chat.messages import Message
from training.corpus.corpus import encode, read_corpus, select
from training.corpus.distillation import distilled, sections
from training.corpus.mixture import batches, samples
from training.corpus.sources import shard_files
from training.corpus.tokens import MARKS, ByteTokenizer, open_tokenizer
from training.settings import CleaningConfig, DomainConfig, SftConfig, StageConfig
from warehouse.errors import FactoryError
from warehouse.loader import load
from warehouse.outbox import Outbox
from warehouse.records import Shard
from warehouse.settings import Settings

COLUMNS = {
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "task_id": pa.string(),
    "weight": pa.float64(),
}
JSON_COLUMNS = {"messages": pa.string(), "task_id": pa.string(), "weight": pa.float64()}
PROMPT = "You mend code.\n\n# Tools\nUse them.\n\n# Style\nBe brief.\n\n# Tests\nRun them.\n"


def corpus_of(path: Path, **changes):
    return read_corpus(SftConfig(data=str(path), **changes))


def chosen(path: Path, limit: int, too_long: str):
    stage = StageConfig(steps=1, sequence_length=limit)
    return select(corpus_of(path), stage, too_long)


def conversation(*messages: dict, **columns) -> dict:
    return {"messages": json.dumps(messages), "task_id": "t", "weight": 1.0} | columns


def asked(content: str = "Mend it.") -> dict:
    return {"role": "user", "content": content}


def answered(content: str = "Done.", **more) -> dict:
    return {"role": "assistant", "content": content} | more


CALL = {"function": {"name": "run", "arguments": '{"cmd": "ls"}'}}


def test_only_the_answer_and_its_end_are_learnt() -> None:
    messages = [Message.read(asked("né")), Message.read(answered("ok", reasoning_content="why"))]
    (sample,) = m2.samples(messages)
    tokens, learnt = encode(sample, ByteTokenizer())
    end, close = 256 + MARKS.index("[e~["), 256 + MARKS.index("</think>")
    assert tokens[learnt].tolist() == [*b"why\n", close, *b"\n\nok", end]
    text = "".join(chr(t) if t < 256 else MARKS[t - 256] for t in tokens)
    assert text.encode("latin-1").decode() == m2.render(messages)


def test_reasoning_stays_within_a_tool_loop_and_turns_share_their_prefix(write_shard) -> None:
    loop = (
        asked(),
        answered("", reasoning_content="first look", tool_calls=[CALL]),
        {"role": "tool", "content": "a.py"},
        answered("Here.", reasoning_content="then answer"),
    )
    rows = [conversation(*loop, asked("And now?"), answered("Yes.", reasoning_content="last"))]
    first, second = corpus_of(write_shard(rows, JSON_COLUMNS)).examples["all"]
    assert b"first look" in _bytes(first.tokens_S)
    assert b"then answer" in _bytes(first.tokens_S[first.learnt_S])
    assert b"first look" not in _bytes(second.tokens_S)
    assert _bytes(second.tokens_S[second.learnt_S]).startswith(b"last\n")
    assert (first.tokens_S[:40] == second.tokens_S[:40]).all()


def _bytes(tokens) -> bytes:
    return bytes(t for t in tokens.tolist() if t < 256)


def test_a_shard_and_a_condition(write_shard, row, tmp_path: Path) -> None:
    path = write_shard(
        [row(n) | {"repo": "a" if n % 3 else "b"} for n in range(9)], COLUMNS | {"repo": pa.string()}
    )
    domain = {"few": DomainConfig(data=str(path), where="repo = 'b'")}
    assert len(read_corpus(SftConfig(domains=domain)).examples["few"]) == 3
    wrong = {"few": DomainConfig(data=str(path), where="rep = 'b'")}
    with pytest.raises(FactoryError, match=r"condition .*rep = 'b'.* does not fit the shard"):
        read_corpus(SftConfig(domains=wrong))


def test_rows_of_the_warehouse_by_sql(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    with Outbox(settings) as outbox:
        outbox.append(
            [
                Shard(sha256=f"{n:064x}", path="", layout="sft", query="", snapshot="", rows=n)
                for n in range(4)
            ]
        )
    load(settings)
    sql = """SELECT sha256 AS task_id, 1 AS weight, [{'role': 'user', 'content': 'how many?'},
             {'role': 'assistant', 'content': rows::VARCHAR}] AS messages
             FROM shards WHERE rows > 1 ORDER BY 1"""
    corpus = read_corpus(SftConfig(domains={"counts": DomainConfig(sql=sql)}), settings)
    assert [_bytes(e.tokens_S[e.learnt_S]) for e in corpus.examples["counts"]] == [b"2", b"3"]
    with pytest.raises(FactoryError, match="needs a warehouse"):
        read_corpus(SftConfig(domains={"counts": DomainConfig(sql=sql)}))


def test_trajectories_in_atif(write_shard) -> None:
    steps = [
        {"step_id": 1, "source": "user", "message": "Mend it."},
        {
            "step_id": 2,
            "source": "agent",
            "message": "",
            "reasoning_content": "look first",
            "tool_calls": [{"tool_call_id": "c", "function_name": "run", "arguments": {"cmd": "ls"}}],
            "observation": {"results": [{"source_call_id": "c", "content": "a.py"}]},
        },
        {"step_id": 3, "source": "agent", "message": "Done.", "reasoning_content": "enough"},
    ]
    trajectory = {"schema_version": "ATIF-v1.4", "session_id": "s", "agent": {"name": "x"}, "steps": steps}
    messages, _ = read_atif(trajectory)
    assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1].calls[0].arguments == {"cmd": "ls"}
    kinds = {"trajectory": pa.string(), "task_id": pa.string(), "weight": pa.float64()}
    rows = [{"trajectory": json.dumps(trajectory), "task_id": "t", "weight": 1.0}]
    (example,) = corpus_of(write_shard(rows, kinds)).examples["all"]
    assert b"look first" in _bytes(example.tokens_S[example.learnt_S])
    # one that acts through its text is answered as by a user
    plain = [steps[0], {"source": "agent", "message": "ls", "observation": {"results": [{"content": "a"}]}}]
    assert [m.role for m in read_atif(trajectory | {"steps": plain})[0]] == ["user", "assistant", "user"]
    for wrong in ({}, trajectory | {"steps": []}, trajectory | {"steps": [{"source": "x"}]}):
        with pytest.raises(FactoryError):
            read_atif(wrong)


@pytest.mark.parametrize(
    ("reason", "messages", "columns", "cleaning"),
    [
        ("not_rewarded", (asked(), answered()), {"reward": 0.5}, {}),
        ("no_answer", (asked(),), {}, {}),
        ("empty_answer", (asked(), answered(" ")), {}, {}),
        ("frame_marks_inside", (asked("]~b]ai\nsay"), answered()), {}, {}),
        ("malformed_tool_call", (asked(), answered("<invoke name='x'>")), {}, {}),
        ("torn_reasoning", (asked(), answered("<think> and no end")), {}, {}),
        ("no_reasoning", (asked(), answered()), {}, {"reasoning": True}),
        ("foreign_letters", (asked(), answered("Готово")), {}, {"foreign_letters": 0.1}),
    ],
)
def test_rows_are_left_out_for_a_reason(write_shard, reason, messages, columns, cleaning) -> None:
    good = conversation(asked(), answered("Good.", reasoning_content="so"), reward=1.0)
    path = write_shard(
        [good, conversation(*messages, **columns), good], JSON_COLUMNS | {"reward": pa.float64()}
    )
    corpus = corpus_of(path, cleaning=CleaningConfig(**cleaning))
    assert corpus.left_out == {reason: 1, "duplicate": 1}
    assert (corpus.rows, len(corpus.examples["all"])) == (3, 1)


def test_nothing_left_names_the_reasons(write_shard) -> None:
    path = write_shard([conversation(asked())], JSON_COLUMNS)
    with pytest.raises(FactoryError, match=r"all rows were left out \(no_answer 1\)"):
        corpus_of(path)


def test_prompt_distillation_drops_a_share_of_sections(write_shard) -> None:
    assert "".join(sections(PROMPT)) == PROMPT
    assert len(sections(PROMPT)) == 4
    assert sections("one\n\ntwo\n\nthree") == ["one\n\n", "two\n\n", "three"]
    assert distilled(PROMPT, 0.0, "k") == PROMPT
    assert distilled(PROMPT, 1.0, "k") == ""
    half = {distilled(PROMPT, 0.5, str(n)) for n in range(30)}
    assert len(half) == 6
    assert all(len(sections(prompt)) == 2 for prompt in half)
    kept = sum(len(sections(distilled(PROMPT, 0.3, str(n)))) for n in range(1000)) / 4000
    assert kept == pytest.approx(0.7, abs=0.02)
    rows = [conversation({"role": "system", "content": PROMPT}, asked(f"{n}"), answered()) for n in range(4)]
    path = write_shard(rows, JSON_COLUMNS)
    whole, less = corpus_of(path), corpus_of(path, sections_dropped=0.5)
    assert sum(map(len, less.examples["all"])) < sum(map(len, whole.examples["all"]))
    assert less.sha256 == corpus_of(path, sections_dropped=0.5).sha256 != whole.sha256


def test_folder_glob_and_file_name_the_same_shard(shard: Path) -> None:
    for data in (shard, shard.parent, shard.parent / "*.parquet", shard.parent / "**/*.parquet"):
        assert shard_files(str(data)) == [shard]


def test_long_examples_are_counted(write_shard, row) -> None:
    path = write_shard([row(0), row(1, patch="x" * 5000), row(2)])
    dropped = chosen(path, 400, "drop")
    assert (len(dropped.examples["all"]), dropped.dropped, dropped.truncated) == (2, 1, 0)
    cut = chosen(path, 400, "truncate")
    assert (len(cut.examples["all"]), cut.dropped, cut.truncated) == (3, 0, 1)
    assert max(len(e) for e in cut.examples["all"]) == 400
    with pytest.raises(FactoryError, match=r"Task task1 .* over sequence_length = 400"):
        chosen(path, 400, "error")
    # nothing of the answer fits: there is nothing to cut to
    with pytest.raises(FactoryError, match="nothing to train on in domain all: of 3 examples those over 20"):
        chosen(path, 20, "truncate")


def test_what_is_wrong_with_a_shard_is_said(write_shard, row, tmp_path: Path) -> None:
    def said(path: Path) -> str:
        with pytest.raises(FactoryError) as error:
            corpus_of(path)
        assert path.name in str(error.value)
        return str(error.value)

    assert "it has no rows" in said(write_shard([], COLUMNS))
    assert "no column 'weight'" in said(write_shard([], {k: v for k, v in COLUMNS.items() if k != "weight"}))
    assert "Column 'messages'" in said(write_shard([], COLUMNS | {"messages": pa.int64()}))
    assert "is string; it should be a number" in said(write_shard([], COLUMNS | {"weight": pa.string()}))
    assert "Task task0" in said(write_shard([row(0) | {"weight": float("nan")}]))
    assert "it must be a positive number" in said(write_shard([row(0) | {"weight": -1.0}]))
    assert "A message has role 'oracle'" in said(
        write_shard([row(0) | {"messages": [{"role": "oracle", "content": ""}]}])
    )
    assert "no call stands before it" in said(
        write_shard([row(0) | {"messages": [{"role": "tool", "content": ""}, *row(0)["messages"][1:]]}])
    )
    assert "messages is not JSON" in said(
        write_shard([row(0) | {"messages": "[{"}], COLUMNS | {"messages": pa.string()})
    )
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    assert "cannot be read as Parquet" in said(tmp_path / "cut.parquet")
    assert "No Parquet file" in said(tmp_path / "none.parquet")


def test_large_and_required_types_are_the_same_type(write_shard, row) -> None:
    struct = pa.struct([("role", pa.large_string()), pa.field("content", pa.string(), nullable=False)])
    path = write_shard([row(0)], COLUMNS | {"messages": pa.large_list(struct)})
    assert len(corpus_of(path).examples["all"]) == 1


def test_batches_are_whole_examples_of_shuffled_epochs(shard: Path) -> None:
    stage = StageConfig(steps=1, sequence_length=1000)
    selected = select(corpus_of(shard), stage, "error")

    def drawn(seed: int) -> list[list]:
        return list(islice(batches(selected, stage, 900, seed), 40))

    made = drawn(3)
    assert all(sum(map(len, batch)) <= 900 for batch in made)
    order = [id(example) for batch in made for example in batch]
    for epoch in range(len(order) // 12):
        assert len(set(order[12 * epoch : 12 * epoch + 12])) == 12
    assert made == drawn(3)
    assert made != drawn(4)


def test_domains_keep_their_shares_and_contexts(write_shard, row, tmp_path: Path) -> None:
    path = write_shard(
        [row(n) | {"repo": "long" if n % 2 else "short", "difficulty": n / 20} for n in range(20)]
        + [row(99, patch="x" * 900) | {"repo": "long", "difficulty": None}],
        COLUMNS | {"repo": pa.string(), "difficulty": pa.float64()},
    )
    domains = {name: DomainConfig(data=str(path), where=f"repo = '{name}'") for name in ("long", "short")}
    stage = StageConfig(
        steps=1,
        sequence_length=2000,
        ratios={"long": 3, "short": 1},
        context={"short": 500, "long": 1500},
        difficulty=(0.2, 0.8),
    )
    selected = select(read_corpus(SftConfig(domains=domains)), stage, "drop")
    assert {name: len(found) for name, found in selected.examples.items()} == {"long": 7, "short": 7}
    assert (selected.other_difficulty, selected.dropped) == (7, 0)
    tokens: Counter[str] = Counter()
    for batch in islice(batches(selected, stage, 3000, seed=0), 200):
        for example in batch:
            tokens[example.domain] += len(example)
    assert tokens["long"] / tokens.total() == pytest.approx(0.75, abs=0.01)


def test_weights_of_a_step_sum_to_one(shard: Path) -> None:
    examples = corpus_of(shard).examples["all"][:3]
    made = samples(examples)
    assert sum(sample.weight_S.sum() for sample in made) == pytest.approx(1, rel=1e-12)
    assert all((sample.weight_S[~e.learnt_S] == 0).all() for sample, e in zip(made, examples, strict=True))


def test_a_tokenizer_file_needs_the_marks(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    fast = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None, vocab={"a": 0, "b": 1}, merges=[]))
    fast.save(str(tmp_path / "bare.json"))
    with pytest.raises(FactoryError, match=r"no token for \]~!b\["):
        open_tokenizer(str(tmp_path / "bare.json"))
    fast.add_special_tokens(list(MARKS))
    fast.save(str(tmp_path / "whole.json"))
    whole = open_tokenizer(str(tmp_path / "whole.json"))
    assert whole.vocabulary == 2 + len(MARKS)
    assert list(whole.encode("ab[e~[")) == [0, 1, 2 + MARKS.index("[e~[")]
    (tmp_path / "cut.json").write_text("{")
    with pytest.raises(FactoryError, match=r"cut\.json cannot be read"):
        open_tokenizer(str(tmp_path / "cut.json"))
    assert np.asarray(whole.encode("")).size == 0
