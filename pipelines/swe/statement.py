"""The problem statement: what upstream said about a change, cleaned, and without the solution.

Text comes from the commit or pull request, the changelog, or the README's news, in the order that fits
the source. It is hostile: markup is reduced to plain Markdown, HTML and control characters go. Then it
is compared with the lines that the gold patch adds to code: whatever repeats them is taken out, and what
was taken out, and by which rule, is kept with the statement. What is left must still say something, or
the change is refused with `no_statement`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.swe import changelog
from pipelines.swe.change import Change, Refused
from pipelines.swe.filters import kind_of
from pipelines.swe.markup import clean
from pipelines.swe.trees import Tree

MIN_WORDS, MIN_CHARACTERS, MAX_CHARACTERS = 6, 40, 8_000
_TOKEN = re.compile(r"[^\W\d]\w*|\d+|[^\s\w]")
_GRAM = 10
_GRAM_SYMBOLS = 3
_MIN_LINE = 12


@dataclass(frozen=True)
class Removed:
    """A piece that repeated the gold patch. `rule` is patch | code_block | code_line | n_gram."""

    rule: str
    text: str


@dataclass(frozen=True)
class Statement:
    """The statement, where it came from (`issue`, `pull_request`, `commit`, `changelog`, `commit+changelog`,
    `readme`), and what was removed.
    """

    text: str
    source: str
    removed: tuple[Removed, ...] = ()


def draft(change: Change, base: Tree, gold: Tree, gold_patch: bytes) -> Statement:
    """The statement of a change. Raises Refused("no_statement")."""
    code = added_code(gold_patch)
    tried: list[Statement] = []
    for source, raw in _sources(change, base, gold):
        text, removed = without_leaks(clean(raw), code)
        statement = Statement(_shorten(text), source, removed)
        if says_something(statement.text):
            return statement
        tried.append(statement)
    longest = max((s.text for s in tried), key=len, default="")
    raise Refused("no_statement", f"nothing upstream wrote says what changed (longest: {longest[:200]!r})")


def says_something(text: str) -> bool:
    """Enough words outside headings to work from."""
    prose = "\n".join(line for line in text.split("\n") if not line.startswith("#"))
    return len(re.findall(r"[^\W\d_]{2,}", prose)) >= MIN_WORDS and len(prose.strip()) >= MIN_CHARACTERS


def added_code(patch: bytes) -> tuple[str, ...]:
    """Lines that a patch adds to files that are no documentation."""
    lines: list[str] = []
    in_code = in_hunk = False
    for raw in patch.split(b"\n"):
        line = raw.decode("utf-8", "replace")
        if line.startswith("diff --git "):
            in_code = kind_of(line.rpartition(" b/")[2].rstrip('"'), lambda _: False) != "docs"
            in_hunk = False
        elif line.startswith("@@ "):
            in_hunk = True
        elif in_hunk and in_code and line.startswith("+") and line[1:].strip():
            lines.append(line[1:].strip())
    return tuple(lines)


def without_leaks(text: str, code: Iterable[str]) -> tuple[str, tuple[Removed, ...]]:
    """`text` without what repeats `code`, and what was taken out."""
    known = {flat for line in code if _is_code(line) and len(flat := _flat(line)) >= _MIN_LINE}
    grams = set(_grams("\n".join(code)))
    kept: list[str] = []
    removed: list[Removed] = []
    for block in _blocks(text):
        if rule := _block_rule(block, known):
            removed.append(Removed(rule, "\n".join(block)))
            continue
        for line in block:
            if rule := _line_rule(line, known, grams):
                removed.append(Removed(rule, line))
            else:
                kept.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), tuple(removed)


def instruction(change: Change, statement: Statement, interface: str) -> str:
    """What the solver reads. It says how it will be judged, and names no test."""
    released = change.kind == "releases"
    state = f"version {change.base_ref}" if released else f"as of {change.source_date:%Y-%m-%d}"
    parts = [
        f"# {change.repo}",
        f"The source code of `{change.repo}` ({state}) is in `/app`, a git repository with one commit. It is "
        "installed with its dependencies; there is no network. Change the code in `/app` so that it does "
        "what is described here.",
        "## What to change",
        statement.text,
        interface,
        _JUDGING,
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


_JUDGING = """## How it is judged

Your changes to `/app` are applied to a fresh copy of this environment, where hidden tests are run. Some of
them fail today and must pass; what passes today must keep passing. The project's own test files are replaced
by the hidden ones, so editing tests changes nothing, and nothing outside `/app` is kept. A commit is not
needed."""


def _sources(change: Change, base: Tree, gold: Tree) -> Iterator[tuple[str, str]]:
    """(source, raw text), best first."""
    version = change.gold_ref if change.kind == "releases" else ""
    news = _without_version_headings(changelog.added(base, gold, version))
    told = "\n\n".join(change.texts)
    yield from (account for account in change.linked if says_something(clean(account[1])))
    if told and says_something(clean(told)):
        yield "commit", told
    if told and news:
        yield "commit+changelog", f"{told}\n\n{news}"
    if news:
        yield "changelog", news
    if readme := changelog.readme_news(base, gold):
        yield "readme", _without_version_headings(readme)
    if told:
        yield "commit", told


def _without_version_headings(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not changelog.is_version_heading(line))


def _shorten(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    return text[: text.rfind("\n", 0, MAX_CHARACTERS)].rstrip()


def _flat(line: str) -> str:
    """A line without what a quotation adds: bullets, prompts, backticks and blanks."""
    line = re.sub(r"^\s*(?:[-*+]\s+|>>>\s*|\.\.\.\s+|\$\s+|>\s+)*", "", line)
    return re.sub(r"[\s`]", "", line)


def _is_code(line: str) -> bool:
    return bool(re.search(r"[=(){}\[\]<>:;]|\w\.\w|\b(return|import|raise|def|class)\b", line))


def _grams(text: str) -> Iterator[tuple[str, ...]]:
    """Runs of tokens that are code rather than prose: enough of them are symbols."""
    tokens = [token for token in _TOKEN.findall(text) if token != "`"]
    for i in range(len(tokens) - _GRAM + 1):
        gram = tuple(tokens[i : i + _GRAM])
        if sum(not (token[0].isalnum() or token[0] in "_.,'\"-") for token in gram) >= _GRAM_SYMBOLS:
            yield gram


def _blocks(text: str) -> Iterator[list[str]]:
    """Fenced blocks, indented blocks and single other lines."""
    lines = text.split("\n")
    i = 0
    while i < len(lines):
        stop = i + 1
        if lines[i].lstrip().startswith("```"):
            while stop < len(lines) and not lines[stop].lstrip().startswith("```"):
                stop += 1
            stop += 1
        elif lines[i].startswith("    ") and lines[i].strip():
            while stop < len(lines) and lines[stop].startswith("    "):
                stop += 1
        yield lines[i:stop]
        i = stop


def _block_rule(block: list[str], known: set[str]) -> str:
    if any(re.match(r"\s*(diff --git |@@ -\d+|(\+\+\+|---) [ab]/)", line) for line in block):
        return "patch"
    body = [flat for line in block if len(flat := _flat(line)) >= _MIN_LINE]
    repeated = sum(flat in known for flat in body)
    return "code_block" if len(block) > 1 and body and repeated * 2 >= len(body) else ""


def _line_rule(line: str, known: set[str], grams: set[tuple[str, ...]]) -> str:
    if _flat(line) in known:
        return "code_line"
    return "n_gram" if any(gram in grams for gram in _grams(line)) else ""
