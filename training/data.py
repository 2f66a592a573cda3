"""From a shard to packed batches of tokens.

The vocabulary is bytes plus four marks, so it needs no file and loses nothing. An example is
`<system>…<end><user>…<end><assistant>…<end>`; only the assistant's bytes and the `<end>` that closes them are
learnt. A batch is whole examples laid end to end with their lengths: no padding, and the model attends
within a length only. Which examples make up batch n is a function of the seed and n, so that a run resumes
exactly.
"""

from __future__ import annotations

import glob
import hashlib
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import FactoryError

ROLES = {"system": 256, "user": 257, "assistant": 258}
END = 259
VOCABULARY = 260

# What each column must hold; a shard has other columns too, which training does not read.
COLUMNS = {
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "task_id": pa.string(),
    "weight": pa.float64(),
}

# Spellings of one type that differ between Parquet writers.
SAME_TYPE = (("large_", ""), (" not null", ""), ("list<element:", "list<item:"))


@dataclass(frozen=True)
class Example:
    """Tokens of one conversation (16-bit); `learnt[i]` is 1 where predicting token i counts."""

    tokens: array[int]
    learnt: bytes
    weight: float


@dataclass(frozen=True)
class Corpus:
    """The examples of a shard, what was left out of it, and the sha256 of its files."""

    examples: tuple[Example, ...]
    dropped: int
    truncated: int
    sha256: str


def encode(messages: list[dict[str, str]]) -> tuple[array[int], bytes]:
    """Tokens of a conversation and which of them are learnt."""
    tokens = array("h")
    learnt = bytearray()
    for message in messages:
        content = message["content"].encode()
        tokens.extend((ROLES[message["role"]], *content, END))
        learnt += b"\0" + bytes([message["role"] == "assistant"]) * (len(content) + 1)
    return tokens, bytes(learnt)


def shard_files(data: str) -> list[Path]:
    """The Parquet files that `data` (a file, a folder or a glob) names, in order."""
    path = Path(data)
    found = path.rglob("*.parquet") if path.is_dir() else map(Path, glob.glob(data, recursive=True))
    files = sorted(f for f in found if f.is_file())
    if not files:
        raise FactoryError(f"No Parquet file is at {data}; `verifactory export sft OUT` makes a shard.")
    return files


def _check_schema(path: Path, schema: pa.Schema) -> None:
    for name, wanted in COLUMNS.items():
        if name not in schema.names:
            raise FactoryError(
                f"The shard {path} has no column {name!r}; `verifactory export sft` writes it."
            )
        found = str(schema.field(name).type)
        for spelling, usual in SAME_TYPE:
            found = found.replace(spelling, usual)
        if found != str(wanted):
            raise FactoryError(f"Column {name!r} of the shard {path} is {found}; it should be {wanted}.")


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(path, file.schema_arrow)
            return file.read(columns=list(COLUMNS)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise FactoryError(f"The shard {path} cannot be read as Parquet: {error}.") from error


def _example(where: str, row: dict[str, Any]) -> Example:
    messages = row["messages"] or []
    for message in messages:
        if message is None or message["role"] not in ROLES or message["content"] is None:
            raise FactoryError(
                f"{where} has a message without content, or whose role is not one of: {', '.join(ROLES)}."
            )
    if row["weight"] is None or not 0 < row["weight"] < float("inf"):
        raise FactoryError(f"{where} has weight {row['weight']}; it must be a positive number.")
    tokens, learnt = encode(messages)
    if not any(learnt):
        raise FactoryError(f"{where} has no assistant message, so nothing could be learnt from it.")
    return Example(tokens, learnt, row["weight"])


def read_corpus(data: str, sequence_length: int, too_long: Literal["drop", "truncate", "error"]) -> Corpus:
    """Read every file of `data`. An example cut before its first learnt token counts as dropped."""
    digest = hashlib.sha256()
    examples: list[Example] = []
    dropped = truncated = 0
    for path in shard_files(data):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        for row in _rows(path):
            where = f"Task {row['task_id']} in the shard {path}"
            example = _example(where, row)
            if len(example.tokens) <= sequence_length:
                examples.append(example)
            elif too_long == "error":
                raise FactoryError(
                    f"{where} has {len(example.tokens)} tokens, over sequence_length = {sequence_length}; "
                    "raise it, or set too_long to 'drop' or 'truncate'."
                )
            elif too_long == "truncate" and any(example.learnt[:sequence_length]):
                tokens, learnt = example.tokens[:sequence_length], example.learnt[:sequence_length]
                examples.append(Example(tokens, learnt, example.weight))
                truncated += 1
            else:
                dropped += 1
    if not examples:
        why = f"all {dropped} examples are over {sequence_length} tokens" if dropped else "it has no rows"
        raise FactoryError(f"The shard {data} leaves nothing to train on: {why}.")
    return Corpus(tuple(examples), dropped, truncated, digest.hexdigest())


def batches(corpus: Corpus, batch_tokens: int, seed: int) -> Iterator[list[Example]]:
    """Endless batches of whole examples, each of one shuffled epoch and at most `batch_tokens` long."""
    epoch = 0
    while True:
        order = list(corpus.examples)
        random.Random(f"{seed}/{epoch}").shuffle(order)
        batch: list[Example] = []
        size = 0
        for example in order:
            if size + len(example.tokens) > batch_tokens:
                yield batch
                batch, size = [], 0
            batch.append(example)
            size += len(example.tokens)
        yield batch
        epoch += 1
