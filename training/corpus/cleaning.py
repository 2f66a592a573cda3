"""Which conversations are not learnt from, and why: rules in stages, the first that applies is the reason.

Whether a row was right comes first, then what its answers look like, then whether it was there before. A row
that is not a conversation at all is an error of its shard, never cleaned away (`sources`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from training.chat.messages import CLOSE, OPEN, Message
from training.corpus.sources import Row
from training.corpus.tokens import FRAME
from training.process import CALL_MARKS, foreign_share, script_of
from training.settings import CleaningConfig

Rule = Callable[[Row, CleaningConfig], bool]


@dataclass(frozen=True)
class Reason:
    """A reason to leave a row out."""

    stage: str
    name: str
    applies: Rule


def _answers(row: Row) -> list[Message]:
    return [message for message in row.messages if message.role == "assistant"]


def _not_rewarded(row: Row, config: CleaningConfig) -> bool:
    return row.reward is not None and not row.reward >= config.min_reward


def _no_answer(row: Row, config: CleaningConfig) -> bool:
    return not _answers(row)


def _empty_answer(row: Row, config: CleaningConfig) -> bool:
    return any(not answer.content.strip() and not answer.calls for answer in _answers(row))


def _frame_inside(row: Row, config: CleaningConfig) -> bool:
    """Whether a message holds the marks that messages are told apart by."""
    texts = [text for message in row.messages for text in (message.content, message.reasoning)]
    arguments = [str(call.arguments) for message in row.messages for call in message.calls]
    return any(mark in text for text in (*texts, *arguments) for mark in FRAME)


def _malformed_call(row: Row, config: CleaningConfig) -> bool:
    """Whether an answer's text holds what should have been a call: such text was not parsed as one."""
    said = [answer.content for answer in _answers(row)]
    return config.tool_format and any(mark in text for text in said for mark in CALL_MARKS)


def _torn_reasoning(row: Row, config: CleaningConfig) -> bool:
    said = [text for answer in _answers(row) for text in (answer.content, answer.reasoning)]
    return any(mark in text for text in said for mark in (OPEN, CLOSE))


def _no_reasoning(row: Row, config: CleaningConfig) -> bool:
    return config.reasoning and any(not answer.reasoning.strip() for answer in _answers(row))


def _foreign_letters(row: Row, config: CleaningConfig) -> bool:
    if config.foreign_letters >= 1:
        return False
    asked = " ".join(message.content for message in row.messages if message.role == "user")
    own = script_of(asked)
    return any(
        foreign_share(f"{answer.reasoning} {answer.content}", own) > config.foreign_letters
        for answer in _answers(row)
    )


REASONS: tuple[Reason, ...] = (
    Reason("outcome", "not_rewarded", _not_rewarded),
    Reason("form", "no_answer", _no_answer),
    Reason("form", "empty_answer", _empty_answer),
    Reason("form", "frame_marks_inside", _frame_inside),
    Reason("form", "malformed_tool_call", _malformed_call),
    Reason("form", "torn_reasoning", _torn_reasoning),
    Reason("content", "no_reasoning", _no_reasoning),
    Reason("content", "foreign_letters", _foreign_letters),
)
DUPLICATE = "duplicate"


class Cleaning:
    """Judges rows one after another; it remembers conversations only by their hash."""

    def __init__(self, config: CleaningConfig) -> None:
        self._config = config
        self._seen: set[bytes] = set()

    def reason(self, row: Row) -> str | None:
        """Why `row` is left out, or None."""
        for reason in REASONS:
            if reason.applies(row, self._config):
                return reason.name
        if not self._config.duplicates:
            return None
        digest = hashlib.sha256()
        for part in (*row.messages, *row.tools):
            digest.update(part.model_dump_json().encode() + b"\n")
        if digest.digest() in self._seen:
            return DUPLICATE
        self._seen.add(digest.digest())
        return None
