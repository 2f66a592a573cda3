"""Text to tokens, stretch by stretch, and back.

What is learnt and what is not are encoded apart, as they are when a model answers a prompt: no token reaches
over the border. The vocabulary `bytes` is the 256 bytes and the marks of the chat format, so it needs no file
and loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from training.chat.m2 import BEGIN, BLOCK, CALL, END, END_CALL
from training.chat.messages import CLOSE, OPEN
from warehouse.errors import FactoryError

MARKS = (BEGIN, BLOCK, END, OPEN, CLOSE, CALL, END_CALL)
# Only these are the format's frame; the others are part of what a message says.
FRAME = (BEGIN, BLOCK, END)


class Tokenizer(Protocol):
    """Text to token ids below `vocabulary`."""

    vocabulary: int

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of a stretch of text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, marks included; what is no UTF-8 is U+FFFD."""
        ...


class ByteTokenizer:
    """Bytes, and one token for each mark."""

    vocabulary = 256 + len(MARKS)
    _ids = {mark: 256 + n for n, mark in enumerate(MARKS)}  # noqa: RUF012
    _spelt = [*(bytes([n]) for n in range(256)), *(mark.encode() for mark in MARKS)]  # noqa: RUF012
    _split = re.compile("(" + "|".join(map(re.escape, MARKS)) + ")")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in self._split.split(text):
            if part in self._ids:
                ids.append(self._ids[part])
            else:
                ids += part.encode()
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        known = len(self._spelt)  # a model's vocabulary may be padded: such ids are no text
        spelt = (self._spelt[token] if token < known else b"\xff" for token in ids)
        return b"".join(spelt).decode(errors="replace")


class FileTokenizer:
    """A `tokenizer.json` of the tokenizers library."""

    def __init__(self, path: Path) -> None:
        try:
            from tokenizers import Tokenizer as Fast
        except ImportError as error:
            raise FactoryError(
                "Reading a tokenizer.json needs tokenizers, which is missing: run `pip install tokenizers`."
            ) from error
        try:
            self._fast = Fast.from_file(str(path))
        except Exception as error:  # the library raises plain Exception, whatever is wrong
            raise FactoryError(
                f"The tokenizer {path} cannot be read: {error}; name a tokenizer.json."
            ) from error
        whole = [mark for mark in FRAME if self._fast.token_to_id(mark) is None]
        if whole:
            raise FactoryError(
                f"The tokenizer {path} has no token for {', '.join(whole)}; use the model's own tokenizer."
            )
        self.vocabulary = self._fast.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        return self._fast.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        return self._fast.decode(ids, skip_special_tokens=False)


def open_tokenizer(name: str) -> Tokenizer:
    """`bytes`, or the tokenizer in a file."""
    return ByteTokenizer() if name == "bytes" else FileTokenizer(Path(name))
