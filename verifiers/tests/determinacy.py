"""Spec determinacy: what hidden tests ask for that a solver could only guess.

A name, a literal or a message counts as undetermined when a line that the hidden tests add has it, the gold
patch brought it into being, and neither the instruction nor any file of the base tree has it: there was a
choice, upstream made it, and the tests insist on it. Values that follow from what is described (a sum, a
formatted date) do not occur in the gold patch and are not found. Everything is read as text, in any language,
so findings are warnings for people and models, never a verdict.
"""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise

from verifiers.tests.overlap import added_lines

MOST = 20  # findings of one task
LINE_CHARACTERS = 2_000
FILE_BYTES = 1 << 20
SHORT_LITERAL = 3

NAME = re.compile(r"[A-Za-z_$][\w$]{2,}")
QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`")
COMMENT = re.compile(r"^\s*(?://|# |#$|\*|/\*|--(?!-)|;|%|\"\"\")")
TITLE = re.compile(r"\s*(?:\w+\.)?(?:it|test|describe|context|specify|suite|subtest|@test)\b[.(\s]")
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
PIECE = re.compile(r"[^\w\s'-]|\d")  # what breaks a message into pieces: placeholders, punctuation, numbers
# A name that a line binds for itself: its own function, variable, parameter or loop.
BOUND = (
    r"\b(?:def|class|func|fn|function|sub|let|const|var|my|our|local|for|auto|struct|type|module)\b[^=]*?"
    r"(?<![\w$.]){0}(?![\w$])|(?<![\w$.]){0}\s*(?::=|<-|=(?!=))|\blambda\b[^:]*\b{0}\b|\bas\s+{0}\b"
)
# Words that languages bring themselves, which a small base tree may well not have.
_WORDS = """
Array ArrayList Boolean Buffer Date Err Error Exception HashMap Hash IllegalArgumentException Integer JSON
List Map Math None Number Object Optional Option Promise RangeError ReferenceError RegExp Result Set Some
StandardError String Symbol SyntaxError TypeError Vec abort abstract argc argv assert async await bool
boolean box byte case catch char const constructor croak defer default delete die done double dyn echo
elif else elsif endif ensure enum errors esac eval exit exports extends extern false fatal fetch fi final
finally float fmt fprintf free func function goto impl implements import include inline int int32_t
int64_t interface isset iter let local long loop malloc match mod module mut namespace new nil null
nullptr number package panic perl printf println private protected public raise redo require rescue return
scalar self shift short signed sizeof size_t sprintf static std stderr stdin stdout str strcmp strict
string struct sub super switch synchronized template testing then this throw throws trait true type
typedef typeof uint16_t uint32_t uint64_t uint8_t undef undefined union unless unsigned unwrap use using
usize var vec vector virtual void volatile wantarray warn warnings where while yield
"""
LANGUAGES_OWN = frozenset((*keyword.kwlist, *dir(builtins), *sys.stdlib_module_names, *_WORDS.split()))


@dataclass(frozen=True)
class Undetermined:
    """`kind` is name | literal | message; `where` is path:line of a hidden test."""

    kind: str
    text: str
    where: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.text!r}"


@dataclass(frozen=True)
class _Line:
    where: str
    names: frozenset[str]
    texts: tuple[str, ...]


def undetermined(
    told: str, base: Mapping[str, bytes], hidden: Mapping[str, bytes], gold_patch: bytes
) -> tuple[Undetermined, ...]:
    """What tests insist on and nobody said, in the order of the tests; each once."""
    gold = [_line("", line) for line in added_lines(gold_patch) if not COMMENT.match(line)]
    tests = list(_new_lines(base, hidden))
    found = [*_names(tests, gold), *_literals(tests, gold)]
    if not found:
        return ()
    said = _Said(told, base, {part for one in found for part in one.parts})
    left = (one.found for one in found if not said.has(one))
    lines = [line for data in hidden.values() if len(data) <= FILE_BYTES for line in _text(data).splitlines()]
    return tuple(islice((one for one in left if one.kind != "name" or not _binds(one.text, lines)), MOST))


@dataclass(frozen=True)
class _Candidate:
    """A finding unless all of its `parts` were said: a name, a literal, or pairs of words of a message."""

    found: Undetermined
    parts: frozenset[str]


def _line(where: str, line: str) -> _Line:
    cut = line[:LINE_CHARACTERS]
    texts = () if TITLE.match(cut) else tuple(text[1:-1] for text in QUOTED.findall(cut))
    return _Line(where, frozenset(NAME.findall(QUOTED.sub(" ", cut))), texts)


def _new_lines(base: Mapping[str, bytes], hidden: Mapping[str, bytes]) -> Iterator[_Line]:
    """Lines of hidden tests that the base's file of that path does not have."""
    for path, data in sorted(hidden.items()):
        if len(data) > FILE_BYTES or b"\0" in data[:1000]:
            continue
        had = set(_text(base[path]).splitlines()) if path in base else set()
        for number, line in enumerate(_text(data).splitlines(), 1):
            if line not in had and not COMMENT.match(line):
                yield _line(f"{path}:{number}", line)


def _binds(name: str, lines: list[str]) -> bool:
    """Whether hidden tests define the name for themselves."""
    bound = re.compile(BOUND.replace("{0}", re.escape(name)))
    return any(bound.search(line[:LINE_CHARACTERS]) for line in lines if name in line)


def _names(tests: list[_Line], gold: list[_Line]) -> Iterator[_Candidate]:
    brought = {name for line in gold for name in line.names} - LANGUAGES_OWN
    # what is a name in the tests may be text in the patch (a dictionary's key, an option), and the reverse
    brought |= {text for line in gold for text in line.texts if NAME.fullmatch(text)}
    seen: set[str] = set()
    for line in tests:
        for name in sorted(line.names & brought - seen):
            seen.add(name)
            yield _Candidate(Undetermined("name", name, line.where), frozenset({name}))


def _literals(tests: list[_Line], gold: list[_Line]) -> Iterator[_Candidate]:
    texts = {text for line in gold for text in line.texts}
    names = {name for line in gold for name in line.names}
    pairs = {pair for text in texts for pair in _pairs(text)}
    seen: set[str] = set()
    for line in tests:
        for text in line.texts:
            if text in seen or len(text) < SHORT_LITERAL or not re.search(r"[^\W\d_]", text):
                continue
            seen.add(text)
            if shared := frozenset(_pairs(text)) & pairs:
                yield _Candidate(Undetermined("message", text, line.where), shared)
            elif (text in texts or text in names) and not re.search(r"\s", text):
                yield _Candidate(Undetermined("literal", text, line.where), frozenset({text}))


def _pairs(text: str) -> Iterator[str]:
    """Words that follow each other, in lower case; none of what is one word to begin with."""
    if not re.search(r"\s", text):
        return
    for piece in PIECE.split(text):
        words = WORD.findall(piece.lower())
        yield from (f"{one} {other}" for one, other in pairwise(words))


class _Said:
    """Which of the parts that are asked about the instruction or the base tree has."""

    def __init__(self, told: str, base: Mapping[str, bytes], asked: Collection[str]) -> None:
        self.found: set[str] = set()
        self.open = set(asked)
        self._read(told)
        for path in base:
            if not self.open:
                return
            data = base[path]
            if len(data) <= FILE_BYTES and b"\0" not in data[:1000]:
                self._read(_text(data))

    def has(self, one: _Candidate) -> bool:
        return one.parts <= self.found

    def _read(self, text: str) -> None:
        words = set(NAME.findall(text)) | set(_pairs(text)) if self._pairs_open() else set(NAME.findall(text))
        here = self.open & words
        here |= {part for part in self.open - here if not NAME.fullmatch(part) and part in text}
        self.found |= here
        self.open -= here

    def _pairs_open(self) -> bool:
        return any(" " in part for part in self.open)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
