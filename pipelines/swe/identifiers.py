"""Names that hidden tests use and only the gold patch brings, in languages that we have no syntax tree of.

A name counts as new when a hidden test has it, the gold patch adds a line to source that defines it, and no
file of the base tree in that language has it as a word. Its line is told up to where a body or a value
begins. What stands in quotes is no name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from pipelines.swe.filters import IsTest, kind_of
from pipelines.swe.trees import Entry, Tree

WORD = re.compile(r"[A-Za-z_$][\w$]{2,}")
QUOTED = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
# A keyword before it; a C function, method or field; an assignment; a field with its type behind it; what a
# keyword defines in an owner; R's arrow; Ruby's attributes; an exported list; a variant of an enumeration.
DEFINES = (
    r"\b(?:func|fn|def|fun|function|class|struct|enum|union|interface|trait|impl|type|typedef|module|namespace"
    r"|const|let|var|val|static|public|protected|export|extern|sub|my|our|local|record|macro|define)\b"
    r"[^=;]*(?<![\w$.>]){0}(?![\w$])"
    r"|^(?!(?:return|else|case|goto|delete|throw|new|if|while)\b)(?:\w+\([\w\s*]+\))?[\w\s*&<>:,\[\]]*[\s*&]{0}\s*[(;\[]"
    r"|^{0}\s*\(.*\{$|(?:^|[\s.>]){0}\s*[:=](?!=)|^{0}\s+[\w*\[\].]+$"
    r"|\b(?:def|function|sub)\s+[\w.:]+[.:]{0}(?![\w$])|^{0}\s*<<?-|\battr_\w+\b.*:{0}(?![\w$])"
    r"|\bexports?\b.*[{,]\s*{0}\s*[,}]|^{0}(?:\([^)]*\))?,$"
)
BODY = re.compile(r"\s*(?:\{.*|=>.*|(?<![=!<>:])=(?![=>]).*|;|\\)\s*$", re.S)
COMMENT = re.compile(r"^\s*(?://|#(?!\s*define)|\*|/\*|--|;|%)")
CHARACTERS = 300
FILE_BYTES = 1 << 20


def fresh(
    base: Tree, gold: Tree, touched: Collection[str], hidden: Mapping[str, Entry], is_test: IsTest
) -> Iterator[tuple[str, str, str]]:
    """(path, name, line) of every new name, in order of path and line; Python files are left out."""
    used = {
        word
        for path, entry in hidden.items()
        if not path.endswith(".py") and len(entry.data) <= FILE_BYTES
        for line in _lines(entry.data)
        for word in WORD.findall(line)
    }
    defined: dict[str, tuple[str, str]] = {}
    suffixes = set()
    for path, line in _added(base, gold, touched, is_test):
        suffixes.add(PurePosixPath(path).suffix)
        for word in WORD.findall(line):
            if (
                word in used
                and word not in defined
                and re.search(DEFINES.replace("{0}", re.escape(word)), line)
            ):
                defined[word] = path, _head(line)
    known = _words(base, suffixes, set(defined)) if defined else set()
    yield from ((path, name, line) for name, (path, line) in defined.items() if name not in known)


def _added(base: Tree, gold: Tree, touched: Collection[str], is_test: IsTest) -> Iterator[tuple[str, str]]:
    """Lines of source that the base's file does not have."""
    for path in sorted(touched):
        if path.endswith(".py") or path not in gold or gold.is_link(path):
            continue
        if kind_of(path, is_test) != "source" or len(gold[path]) > FILE_BYTES:
            continue
        had = set(_lines(base[path])) if path in base and not base.is_link(path) else set()
        yield from (
            (path, line) for line in _lines(gold[path]) if line not in had and not COMMENT.match(line)
        )


def _lines(data: bytes) -> list[str]:
    """Without blanks around them, and with nothing in their quotes."""
    text = data.decode("utf-8", "replace")
    return [bare for line in text.split("\n") if (bare := QUOTED.sub('""', line).strip())]


def _words(base: Tree, suffixes: set[str], wanted: set[str]) -> set[str]:
    """Which of `wanted` the base tree has in a file of these suffixes."""
    found: set[str] = set()
    for path in base:
        if PurePosixPath(path).suffix in suffixes and not base.is_link(path):
            data = base[path]
            if len(data) <= FILE_BYTES:
                found |= wanted & set(WORD.findall(data.decode("utf-8", "replace")))
    return found


def _head(line: str) -> str:
    """A line up to a body or a value."""
    return BODY.sub("", line)[:CHARACTERS].strip() or line[:CHARACTERS]
