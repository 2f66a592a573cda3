"""Inverted hidden tests where runners report by themselves, found on the host and proved by runs.

`candidates` reads hidden test files and finds, for each test, one assertion and its opposite (rules:
`assertions.py`). `proved` runs them on the gold state, half of them at a time as grading will, and keeps
those of which it was seen that their tests fail and all others pass. The bundle carries the rest of the way:
the supervisor draws for each, in every grading, in which of two runs it is inverted
(`verifiers/tests/inside/canaries.py`).
"""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath

from tree_sitter import Language, Node, Parser

from envs.reports import TestReport
from verifiers.integrity.assertions import BY_SUFFIX, LINES, SYNTAXES, TEST_MARK, Lines, Syntax
from verifiers.tests.bundle import HiddenFiles, write_tests
from verifiers.tests.classify import PASSING
from verifiers.tests.spec import Inversion, TestSpec

MOST = 60  # candidates of one task; more would not lower the odds of who guesses
FILE_BYTES = 1 << 20

Observe = Callable[[Path], Awaitable[TestReport]]
"""Runs a `tests/` folder on the gold state."""


@dataclass(frozen=True)
class Candidate:
    """One way to make one test fail, if it does: bytes [start, end) of a file and their replacement."""

    path: str
    test: str
    start: int
    end: int
    text: bytes
    literal: bool = False


def candidates(language: str, path: str, data: bytes) -> list[Candidate]:
    """One for each test of a file; a changed literal rather than an opposite assertion."""
    if len(data) > FILE_BYTES or b"\r" in data:
        return []
    if language in LINES:
        found = list(_of_lines(LINES[language], path, data))
    elif language in SYNTAXES:
        found = list(_Tree(SYNTAXES[language], path, data).candidates())
    else:
        return []
    chosen: dict[str, Candidate] = {}
    for candidate in found:
        known = chosen.get(candidate.test)
        if known is None or (candidate.literal and not known.literal):
            chosen[candidate.test] = candidate
    return list(chosen.values())


def _of_lines(lines: Lines, path: str, data: bytes) -> Iterator[Candidate]:
    test, offset = PurePosixPath(path).name if not (lines.test or lines.title) else "", 0
    for raw in data.splitlines(keepends=True):
        line = raw.decode("utf-8", "replace")
        if lines.test and (begin := re.search(lines.test, line)):
            test = begin["name"] or begin.groupdict().get("other") or ""
        for pattern, opposites in lines.rules:
            found = re.search(pattern, line.rstrip("\n"))
            title = re.search(lines.title, line) if lines.title else None
            name = title["name"] if title else test
            if found and name and found["x"] in opposites and line.isascii():
                start, end = found.span("x")
                text = opposites[found["x"]].encode()
                yield Candidate(path, name, offset + start, offset + end, text)
                break
        offset += len(raw)


@cache
def _parser(module: str, function: str) -> Parser:
    grammar: object = getattr(importlib.import_module(module), function)()
    return Parser(Language(grammar))


class _Tree:
    """A file as its grammar reads it."""

    def __init__(self, syntax: Syntax, path: str, data: bytes) -> None:
        self.syntax, self.path, self.data = syntax, path, data
        module, function = BY_SUFFIX.get(PurePosixPath(path).suffix, (syntax.module, syntax.function))
        self.root = _parser(module, function).parse(data).root_node

    def candidates(self) -> Iterator[Candidate]:
        stack: list[tuple[Node, str]] = [(self.root, "")]
        while stack:
            node, test = stack.pop()
            test = self.test(node) or test
            if test:
                yield from self.inverted(node, test)
            stack += [(child, test) for child in reversed(node.children)]

    def text(self, node: Node | None) -> str:
        return self.data[node.start_byte : node.end_byte].decode("utf-8", "replace") if node else ""

    def test(self, node: Node) -> str:
        """The name of the test that begins at a node; '' if none does."""
        pattern = self.syntax.tests.get(node.type)
        if pattern is not None:
            name = self.text(node.child_by_field_name("name") or node.child_by_field_name("declarator"))
            called = re.match(r"\w+[?!]?", name.lstrip("*& "))
            if called is None:
                return ""
            if (suite := re.match(r"(?:TEST|TEST_F|TEST_P)\s*\(\s*(\w+)\s*,\s*(\w+)", name)) is not None:
                return f"{suite[1]}.{suite[2]}"
            by_name = re.fullmatch(pattern, called[0]) is not None
            marked = pattern != r"\w*" or called[0].lower().startswith("test") or self.marked(node)
            return called[0] if by_name and (marked or self.syntax.complains) else ""
        called_node = self.called(node)
        if self.syntax.titled and called_node is not None:
            name = re.split(r"\W", self.text(called_node))[0]
            title = next((self.literal(a) for a in self.arguments(node)), None)
            if name in self.syntax.titled and title:
                return title
        return ""

    def marked(self, node: Node) -> bool:
        """Whether an attribute or annotation makes it a test."""
        before = node.prev_named_sibling
        while before is not None and before.type in ("attribute_item", "line_comment", "block_comment"):
            if TEST_MARK.search(self.data[before.start_byte : before.end_byte]):
                return True
            before = before.prev_named_sibling
        head = self.data[node.start_byte : node.start_byte + 400].split(b"{")[0]
        return bool(TEST_MARK.search(head))

    def called(self, node: Node) -> Node | None:
        name = self.syntax.calls.get(node.type)
        return node.child_by_field_name(name) if name else None

    def arguments(self, node: Node) -> list[Node]:
        listed = node.child_by_field_name("arguments")
        found = [child for child in listed.named_children if child.type != "comment"] if listed else []
        return [a.named_children[0] if a.type == "argument" and a.named_children else a for a in found]

    def literal(self, node: Node) -> str | None:
        """The content of a plain string."""
        text = self.text(node)
        plain = "string" in node.type and len(text) >= 2 and text[0] in "\"'`" and text[-1] == text[0]
        return text[1:-1] if plain and "\\" not in text and "${" not in text else None

    def inverted(self, node: Node, test: str) -> Iterator[Candidate]:
        if node.type == "if_statement" and self.syntax.complains:
            yield from self.condition(node, test)
        called = self.called(node)
        if called is None:
            return
        whole = self.text(called)
        last = list(re.finditer(r"\w+[?!]?", whole))
        name = last[-1][0] if last else ""
        if name in self.syntax.equal or (name == "to" and self.syntax.equal):
            yield from self.other_literals(node, test)
        start = called.end_byte - len(name.encode())
        for known, matched_from in ((whole, called.start_byte), (name, start)):
            if (opposite := self.syntax.swapped.get(known)) is not None:
                yield Candidate(self.path, test, matched_from, called.end_byte, opposite.encode())
                return
        if name in self.syntax.prefixed and "." in whole and not re.search(r"\bnot\.\w+$", whole):
            yield Candidate(self.path, test, start, start, self.syntax.prefixed[name].encode())
        elif self.syntax.compared and re.fullmatch(self.syntax.compared, name):
            yield from self.compared(node, test)
        elif name in self.syntax.negated and whole in (name, f"t.{name}", f"assert.{name}"):
            yield from self.negated(node, test)

    def compared(self, node: Node, test: str) -> Iterator[Candidate]:
        """A check of one's own: `CHECK("adds", add(1, 1) == 2)`, named by its title if it has one."""
        arguments = self.arguments(node)
        title = next((text for argument in arguments if (text := self.literal(argument))), "")
        turned = [found for argument in arguments for found in self.turned(argument, title or test)]
        yield from turned
        if not turned and not title:
            yield from self.negated(node, test)

    def turned(self, node: Node, test: str) -> Iterator[Candidate]:
        """A comparison with the opposite operator."""
        operator = node.child_by_field_name("operator")
        opposite = {"==": "!=", "!=": "=="}.get(self.text(operator))
        if node.type == "binary_expression" and operator is not None and opposite:
            yield Candidate(self.path, test, operator.start_byte, operator.end_byte, opposite.encode())

    def condition(self, node: Node, test: str) -> Iterator[Candidate]:
        """The opposite condition of an `if` that complains."""
        condition, block = (node.child_by_field_name(n) for n in ("condition", "consequence"))
        if condition is None or not re.search(self.syntax.complains, self.text(block)):
            return
        inner = condition
        while (
            inner.type in ("parenthesized_expression", "condition_clause") and len(inner.named_children) == 1
        ):
            inner = inner.named_children[0]
        turned = list(self.turned(inner, test))
        yield from turned
        if not turned:
            text = b"!(" + self.data[inner.start_byte : inner.end_byte] + b")"
            yield Candidate(self.path, test, inner.start_byte, inner.end_byte, text)

    def negated(self, node: Node, test: str) -> Iterator[Candidate]:
        """`assert(x)` as `assert(!(x))`."""
        found = self.arguments(node)
        if found:
            first, last = found[0].start_byte, found[0].end_byte
        else:  # a macro's arguments are tokens
            tree = next((c for c in node.children if c.type == "token_tree"), None)
            if tree is None or len(tree.children) < 3:
                return
            comma = next((c for c in tree.children if c.type == ","), tree.children[-1])
            first, last = tree.children[0].end_byte, comma.start_byte
        yield Candidate(self.path, test, first, last, b"!(" + self.data[first:last] + b")")

    def other_literals(self, node: Node, test: str) -> Iterator[Candidate]:
        """Another literal of the same type among the arguments."""
        for argument in self.arguments(node):
            if argument.type == "call":  # `to eq(3)`
                yield from self.other_literals(argument, test)
                continue
            text, content = self.text(argument), self.literal(argument)
            new = ""
            if re.fullmatch(r"\d{1,9}", text):
                new = str(int(text) + 1)
            elif content and content.isascii():
                new = text[:-2] + ("a" if content[-1] != "a" else "e") + text[-1]
            if new:
                yield Candidate(
                    self.path, test, argument.start_byte, argument.end_byte, new.encode(), literal=True
                )


def told_apart(found: Iterable[Candidate], tests: Iterable[str]) -> dict[Candidate, frozenset[str]]:
    """Which tests each candidate may concern: those that its name stands in, and no longer name."""
    known: dict[Candidate, set[str]] = {candidate: set() for candidate in found}
    for test in tests:
        matching = [c for c in known if _names(c.test, test)]
        here = [c for c in matching if c.path in test or PurePosixPath(c.path).stem in test]
        best = sorted(here or matching, key=lambda c: len(c.test), reverse=True)
        if best and (len(best) == 1 or len(best[0].test) > len(best[1].test)):
            known[best[0]].add(test)
    return {candidate: frozenset(names) for candidate, names in known.items() if names}


def _names(name: str, test: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", test) is not None


def _firsts(found: list[Candidate]) -> list[Candidate]:
    """The first of each file."""
    return list({candidate.path: candidate for candidate in reversed(found)}.values())


def _of_file(candidate: Candidate) -> Candidate:
    """The same, for runners that name a test by its program or file."""
    stem = PurePosixPath(candidate.path).stem
    return replace(candidate, test=re.sub(r"^(test|t)[_-]|[_-](test|t)$", "", stem))


def _holds(test: str, parts: set[str]) -> bool:
    """Whether a test stands for several (a program, a file, subtests), of which `parts` are some."""
    return any(part.startswith((f"{test}::", f"{test} > ", f"{test}/")) for part in parts)


async def proved(
    spec: TestSpec, hidden: HiddenFiles, language: str, observe: Observe
) -> tuple[Inversion, ...]:
    """Inversions that were seen to do what they should on the gold state."""
    decide = {*spec.fail_to_pass, *spec.new}
    tests = (*decide, *spec.pass_to_pass)
    found = [
        candidate
        for path, (mode, data) in sorted(hidden.items()) if mode != "120000"
        for candidate in candidates(language, path, data)
    ]  # fmt: skip
    left = told_apart(found, tests)
    named = {candidate.path for candidate in left}
    left |= told_apart([_of_file(c) for c in _firsts(found) if c.path not in named], tests)
    ordered = sorted(left, key=lambda c: (not left[c] & decide, c.path, c.start))[:MOST]
    kept: list[Inversion] = []
    for half in (ordered[0::2], ordered[1::2]):
        if half:
            kept += await _proved(half, left, spec, hidden, observe)
    return tuple(sorted(kept, key=lambda i: (i.path, i.start)))


async def _proved(
    half: list[Candidate],
    left: dict[Candidate, frozenset[str]],
    spec: TestSpec,
    hidden: HiddenFiles,
    observe: Observe,
) -> list[Inversion]:
    """One run of half of the candidates; those of a file in which others fell too are dropped."""
    with tempfile.TemporaryDirectory(prefix="verifactory-inversions-") as folder:
        write_tests(Path(folder) / "tests", spec, {**hidden, **_edited(half, hidden)})
        report = await observe(Path(folder) / "tests")
    passed = {result.id for result in report.results if result.status in PASSING}
    expected = {*spec.fail_to_pass, *spec.new, *spec.pass_to_pass}
    meant = {test for candidate in half for test in left[candidate]}
    fallen = {test for test in expected - passed - meant if not _holds(test, meant)}  # nobody meant them
    if fallen and not passed & expected:  # it does not compile, or does not start
        return await _apart(half, left, spec, hidden, observe)
    spoilt = {c.path for c in half if any(_names(PurePosixPath(c.path).stem, test) for test in fallen)}
    if fallen and not spoilt:
        return []
    seen = {result.id for result in report.results}
    found = []
    for candidate in half:
        tests = tuple(sorted((left[candidate] - passed) & seen))
        if tests and candidate.path not in spoilt:
            found.append(
                Inversion(
                    path=candidate.path, tests=tests, start=candidate.start, end=candidate.end,
                    replacement=candidate.text.decode(),
                )
            )  # fmt: skip
    return found


async def _apart(
    half: list[Candidate],
    left: dict[Candidate, frozenset[str]],
    spec: TestSpec,
    hidden: HiddenFiles,
    observe: Observe,
) -> list[Inversion]:
    """Two halves again, to find the part that is at fault; a single candidate is given up."""
    if len(half) < 2:
        return []
    middle = len(half) // 2
    first = await _proved(half[:middle], left, spec, hidden, observe)
    return first + await _proved(half[middle:], left, spec, hidden, observe)


def _edited(half: list[Candidate], hidden: HiddenFiles) -> HiddenFiles:
    files: dict[str, tuple[str, bytes]] = {}
    for candidate in sorted(half, key=lambda c: c.start, reverse=True):
        mode, data = files.get(candidate.path, hidden[candidate.path])
        files[candidate.path] = (mode, data[: candidate.start] + candidate.text + data[candidate.end :])
    return files
