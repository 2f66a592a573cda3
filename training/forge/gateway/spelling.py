"""Token ids to text while they come, and where in a response the reasoning ends.

Vocabularies here are of bytes: the text of a run of tokens is the text of its parts, except that a character
may lie across tokens. `Speller` holds back the tokens of an unfinished character.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.chat.m2 import END
from training.chat.messages import CLOSE
from training.corpus.tokens import Tokenizer
from warehouse.errors import FactoryError

UNFINISHED = "�"
LONGEST = 4  # tokens that a character may lie across


def end_id(tokenizer: Tokenizer) -> int:
    """The token that ends what the model writes."""
    ids = tokenizer.encode(END)
    if len(ids) != 1:
        raise FactoryError(f"The tokenizer has no token for {END}; use the model's own tokenizer.")
    return ids[0]


class Speller:
    """The text of one response, piece by piece; the end mark is not part of it."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        self._tokenizer, self._end = tokenizer, end
        self._held: list[int] = []

    def feed(self, ids: Sequence[int]) -> str:
        """The text that `ids` complete."""
        self._held += [token for token in ids if token != self._end]
        text = self._tokenizer.decode(self._held)
        if text.endswith(UNFINISHED) and len(self._held) < LONGEST:
            return ""
        if text.endswith(UNFINISHED):
            return self._whole_characters()
        self._held = []
        return text

    def _whole_characters(self) -> str:
        """What comes before the unfinished character; where nothing ends one, what is too old for it."""
        for cut in range(len(self._held) - 1, len(self._held) - LONGEST, -1):
            text = self._tokenizer.decode(self._held[:cut])
            if not text.endswith(UNFINISHED):
                self._held = self._held[cut:]
                return text
        self._held, done = self._held[1 - LONGEST :], self._held[: 1 - LONGEST]
        return self._tokenizer.decode(done)

    def rest(self) -> str:
        """What was held back."""
        held, self._held = self._held, []
        return self._tokenizer.decode(held) if held else ""


def content_start(tokenizer: Tokenizer, response: Sequence[int]) -> int:
    """The index in `response` of the first token after the reasoning and the newlines that follow it.

    Where the reasoning is not closed nothing was said: the length. A token that holds both the end of the
    reasoning and something else belongs to the reasoning.
    """
    low, high = 0, len(response)
    if CLOSE not in tokenizer.decode(response):
        return high
    while low < high:  # the shortest beginning that has the mark
        middle = (low + high) // 2
        if CLOSE in tokenizer.decode(response[:middle]):
            high = middle
        else:
            low = middle + 1
    while low < len(response) and not tokenizer.decode(response[low : low + 1]).strip("\n"):
        low += 1
    return low


class Stopper:
    """Ends a text before the first stop sequence that comes after the reasoning.

    What may be the beginning of one is held back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._text = ""
        self._shown = 0
        self.stopped = False

    def feed(self, text: str) -> str:
        """What of the text may be shown."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        self._text += text
        closed = self._text.find(CLOSE)
        if closed < 0:
            return self._show(len(self._text))
        begin = closed + len(CLOSE)
        places = [place for stop in self._stops if (place := self._text.find(stop, begin)) >= 0]
        if places:
            self.stopped = True
            return self._show(min(places))
        held = max(overlap(self._text[begin:], stop) for stop in self._stops)
        return self._show(len(self._text) - held)

    def rest(self) -> str:
        """What was held back."""
        return "" if self.stopped else self._show(len(self._text))

    def _show(self, until: int) -> str:
        shown, self._shown = self._text[self._shown : max(until, self._shown)], max(until, self._shown)
        return shown


def overlap(text: str, mark: str) -> int:
    """How long an end of `text` begins `mark`, without being all of it."""
    for size in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:size]):
            return size
    return 0
