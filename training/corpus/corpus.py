"""All examples of a run, encoded once, and which of them a stage takes.

An example is one user turn of a conversation in the context it was answered in (`chat.m2.samples`): learnt
are the assistant's tokens after the last user message, reasoning included. Turns of one conversation share
prefixes, which a step computes once.

Shapes: S tokens of one example.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.chat import m2
from training.chat.m2 import Segment
from training.corpus.cleaning import Cleaning
from training.corpus.distillation import distilled
from training.corpus.sources import Row, read_rows
from training.corpus.tokens import Tokenizer, open_tokenizer
from training.settings import SftConfig, StageConfig
from warehouse.errors import FactoryError
from warehouse.settings import Settings


@dataclass(frozen=True, eq=False)
class Example:
    """Tokens of one example; where `learnt_S`, predicting the token counts `weight`."""

    where: str
    domain: str
    tokens_S: NDArray[np.int64]
    learnt_S: NDArray[np.bool_]
    weight: float
    difficulty: float | None

    def __len__(self) -> int:
        """S, the number of tokens."""
        return len(self.tokens_S)


@dataclass(frozen=True)
class Corpus:
    """The examples by domain, rows left out by reason, and the sha256 of what is learnt."""

    examples: dict[str, tuple[Example, ...]]
    rows: int
    left_out: dict[str, int]
    vocabulary: int
    sha256: str


@dataclass(frozen=True)
class Selected:
    """What a stage learns from, by domain; how many examples were too long, cut, or of another difficulty."""

    examples: dict[str, tuple[Example, ...]]
    dropped: int
    truncated: int
    other_difficulty: int


def read_corpus(config: SftConfig, settings: Settings | None = None) -> Corpus:
    """Reads, cleans and encodes every domain. Raises FactoryError where nothing is left."""
    tokenizer = open_tokenizer(config.tokenizer)
    left_out: Counter[str] = Counter()
    cleaning, digest, count = Cleaning(config.cleaning), hashlib.sha256(), 0
    examples: dict[str, tuple[Example, ...]] = {}
    for name, domain in config.sources().items():
        found: list[Example] = []
        for row in read_rows(domain, settings):
            count += 1
            reason = cleaning.reason(row)
            if reason is not None:
                left_out[reason] += 1
                continue
            key = f"{config.seed}/{name}/{row.where.partition(' in ')[0]}"
            found += _examples(name, row, tokenizer, config.sections_dropped, key)
        if not found:
            reasons = ", ".join(f"{reason} {n}" for reason, n in left_out.items())
            why = f"all rows were left out ({reasons})" if left_out else "it has no rows"
            raise FactoryError(f"{domain.data or domain.sql} leaves nothing to train on: {why}.")
        for example in found:
            digest.update(f"{name} {example.weight} {example.difficulty}\n".encode())
            digest.update(example.tokens_S.tobytes() + example.learnt_S.tobytes())
        examples[name] = tuple(found)
    return Corpus(examples, count, dict(left_out), tokenizer.vocabulary, digest.hexdigest())


def select(corpus: Corpus, stage: StageConfig, too_long: str) -> Selected:
    """The examples within a stage's lengths and difficulty.

    One cut before its first learnt token counts as dropped. Raises FactoryError where a domain that the stage
    draws from has none left.
    """
    chosen: dict[str, tuple[Example, ...]] = {}
    dropped = truncated = other = 0
    low, high = stage.difficulty
    for name, examples in corpus.examples.items():
        if stage.ratios and not stage.ratios.get(name):
            continue
        limit = min(stage.sequence_length, stage.context.get(name, stage.sequence_length))
        kept: list[Example] = []
        for example in examples:
            if example.difficulty is not None and not low <= example.difficulty <= high:
                other += 1
            elif len(example) <= limit:
                kept.append(example)
            elif too_long == "error":
                raise FactoryError(
                    f"{example.where} has {len(example)} tokens, over sequence_length = {limit}; "
                    "raise it, or set too_long to 'drop' or 'truncate'."
                )
            elif too_long == "truncate" and example.learnt_S[1:limit].any():
                kept.append(_cut(example, limit))
                truncated += 1
            else:
                dropped += 1
        if not kept:
            raise FactoryError(
                f"Stage {stage.name} has nothing to train on in domain {name}: of {len(examples)} examples "
                f"those over {limit} tokens and those outside of difficulty {low} to {high} are left out."
            )
        chosen[name] = tuple(kept)
    return Selected(chosen, dropped, truncated, other)


def encode(segments: list[Segment], tokenizer: Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Tokens of a sample's stretches and which of them are learnt."""
    parts = [(tokenizer.encode(segment.text), segment.learnt) for segment in segments]
    tokens_S = np.concatenate([np.asarray(ids, np.int64) for ids, _ in parts])
    learnt_S = np.concatenate([np.full(len(ids), learnt) for ids, learnt in parts])
    return tokens_S, learnt_S


def _examples(domain: str, row: Row, tokenizer: Tokenizer, share: float, key: str) -> list[Example]:
    messages = list(row.messages)
    if share and messages and messages[0].role == "system":
        prompt = distilled(messages[0].content, share, key)
        messages[0] = messages[0].model_copy(update={"content": prompt})
    try:
        samples = m2.samples(messages, row.tools)
    except FactoryError as error:
        raise FactoryError(f"{row.where} is not a conversation: {error}") from error
    return [
        Example(row.where, domain, *encode(sample, tokenizer), row.weight, row.difficulty)
        for sample in samples
    ]


def _cut(example: Example, limit: int) -> Example:
    return Example(
        example.where,
        example.domain,
        example.tokens_S[:limit],
        example.learnt_S[:limit],
        example.weight,
        example.difficulty,
    )
