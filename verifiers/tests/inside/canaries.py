"""Hidden tests with one assertion inverted, in name and place the same: nobody but root can tell them apart.

What runs in the process of the tests can forge everything that process says. What it cannot know is which
of the tests it was given are right: so every deciding test whose assertions can be inverted is run twice,
once as it is and once with an expectation that no solution meets. Which comes first is drawn for each when
grading starts. Code that makes tests pass whatever they say is caught by those that must fail; code that
guesses has to guess in the first run already, for n tests with a chance of 2⁻ⁿ. More runs would not lower it:
what the versions of a test have in common tells the true one.

An inverted test must fail *in an honest run*, or honest work would be called an attack. So only a statement
is inverted that a passing test has surely executed: an assertion directly in the body of a function without
`return` or `yield`; and only a test that passes as it is is held to fail when it is inverted.
"""

from __future__ import annotations

import ast
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

ROUNDS = 2
FEW = 3  # with fewer deciding tests than this, maintained ones are inverted, too
MAY_EXPECT_FAILURE = re.compile(rb"(?i)xfail|todo|expected.?fail|should.?fail|pending|known.?(bug|issue)")
EXPECTS_FAILURE = re.compile(rb"xfail|expectedFailure")
SIMPLE = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.List, ast.Tuple, ast.Dict)
BROKEN_SOURCE = (SyntaxError, ValueError, RecursionError, MemoryError)

# Types of which every argument is part of the value.
VALUE_TYPES = (
    "Decimal", "date", "datetime", "time", "timedelta", "Path", "PurePath", "PurePosixPath", "UUID",
)  # fmt: skip

OPPOSITE = {
    ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
OPPOSITE_METHOD = {
    "assertEqual": "assertNotEqual", "assertEquals": "assertNotEqual", "assertNotEqual": "assertEqual",
    "assertTrue": "assertFalse", "assertFalse": "assertTrue", "assertIs": "assertIsNot",
    "assertIsNot": "assertIs", "assertIn": "assertNotIn", "assertNotIn": "assertIn",
    "assertIsNone": "assertIsNotNone", "assertIsNotNone": "assertIsNone",
    "assertIsInstance": "assertNotIsInstance", "assertNotIsInstance": "assertIsInstance",
}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """Bytes [start, end) of a file and what stands there instead.

    `same_type` where another value of the same type is expected, which no object that equals everything, or
    everything of a type, can tell from the true one. Such edits are preferred.
    """

    start: int
    end: int
    text: bytes
    same_type: bool = False


@dataclass
class Function:
    """A test function of some file, the ways to invert it, and the tests that run it."""

    path: str
    owner: str
    name: str
    edits: list[Edit]
    may_expect_failure: bool
    tests: set[str] = field(default_factory=set)
    true_round: int = 0


class Source:
    """A test file as it should be, and the functions in it."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self.lines = [0]
        for line in data.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def functions(self) -> Iterator[Function]:
        """Every test function; one whose name stands twice in its scope cannot be told and has no edits."""
        try:
            text = self.data.decode("utf-8")
            module = ast.parse(text)
        except BROKEN_SOURCE:
            return
        if "\f" in text or "\r" in text or text.startswith("\ufeff"):  # offsets would not be what they seem
            return
        marks = bool(re.search(rb"^\s*pytestmark.*xfail", self.data, re.M))
        called = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
        for owner, scope in self._scopes(module):
            named = [n for n in scope.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
            decorators = scope.decorator_list if isinstance(scope, ast.ClassDef) else []
            on_class = any(EXPECTS_FAILURE.search(self._text(d)) for d in decorators)
            for node in named:
                once = sum(other.name == node.name for other in named) == 1
                own = any(EXPECTS_FAILURE.search(self._text(part)) for part in (*node.decorator_list, node))
                edits = list(self._edits(node)) if once and isinstance(node, ast.FunctionDef) else []
                if not owner and node.name in called:
                    edits = []
                yield Function(self.path, owner, node.name, edits, marks or on_class or own)

    def _scopes(self, module: ast.Module) -> Iterator[tuple[str, ast.Module | ast.ClassDef]]:
        yield "", module
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                yield node.name, node

    def _edits(self, function: ast.FunctionDef) -> Iterator[Edit]:
        ends = (ast.Return, ast.Yield, ast.YieldFrom)
        if any(isinstance(node, ends) for node in ast.walk(function)):
            return
        for statement in function.body:
            if isinstance(statement, ast.Assert):
                yield from self._inverted(statement.test)
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                yield from self._inverted_call(statement.value)

    def _inverted(self, test: ast.expr) -> Iterator[Edit]:
        """Ways to turn a true expression into a false one."""
        if isinstance(test, ast.Tuple):
            return
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            left, right, kind = test.left, test.comparators[0], type(test.ops[0])
            if kind is ast.Eq:
                yield from self._other_side(left, right)
                return
            if kind is ast.In and (wrong := list(self._not_contained(left))):
                yield from wrong
                return
            if kind in OPPOSITE:
                between = self._grouped(left) + b" %s " % OPPOSITE[kind].encode() + self._grouped(right)
                yield Edit(*self._span(test), between)
                return
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            yield Edit(*self._span(test), self._grouped(test.operand))
        else:
            yield Edit(*self._span(test), b"not " + self._grouped(test))

    def _inverted_call(self, call: ast.Call) -> Iterator[Edit]:
        function = call.func
        on_self = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
        if not (on_self and function.value.id == "self") or any(
            isinstance(a, ast.Starred) for a in call.args
        ):
            return
        if function.attr in ("assertEqual", "assertEquals") and len(call.args) >= 2:
            yield from self._other_side(*call.args[:2])
        elif function.attr == "assertIn" and call.args and (wrong := list(self._not_contained(call.args[0]))):
            yield from wrong
        elif function.attr in OPPOSITE_METHOD:
            _, end = self._span(function)
            yield Edit(end - len(function.attr), end, OPPOSITE_METHOD[function.attr].encode())

    def _other_side(self, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
        """Ways to turn two equal expressions into different ones; never by another operator, which an object
        that equals everything answers rightly.
        """
        both_constant = isinstance(left, ast.Constant) and isinstance(right, ast.Constant)
        wrong = [] if both_constant else [e for side in (left, right) for e in self._other_value(side)]
        yield from wrong or [Edit(*self._span(right), b"[" + self._text(right) + b"]")]

    def _other_value(self, node: ast.expr) -> Iterator[Edit]:
        """Another literal of the same type, as a test might have it."""
        for part in _literal_parts(node):  # the whole differs when one part does
            yield from self._other_value(part)
        if not isinstance(node, ast.Constant):
            return
        value, span = node.value, self._span(node)
        if isinstance(value, bool):
            yield Edit(*span, repr(not value).encode(), same_type=True)
        elif isinstance(value, int):
            yield Edit(*span, str(value + 1).encode(), same_type=True)
        elif isinstance(value, float) and value == value and abs(value) < 1e15:
            yield Edit(*span, repr(value + 1.0).encode(), same_type=True)
        elif (line := self._line(node)) is not None:
            last = line[-1:]
            digit = str((int(last) + 1) % 10) if last.isascii() and last.isdigit() else ""
            other = line[:-1] + (digit or ("a" if last != "a" else "e"))
            yield Edit(*span, ascii(other).encode(), same_type=True)

    def _not_contained(self, node: ast.expr) -> Iterator[Edit]:
        """A literal that nothing contains which contains this one."""
        if line := self._line(node):
            tail = "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(6))
            yield Edit(*self._span(node), ascii(line + tail).encode(), same_type=True)

    def _line(self, node: ast.expr) -> str | None:
        """The value of a string literal of one line and no expressions; None of anything else."""
        value = node.value if isinstance(node, ast.Constant) else None
        formatted = self._text(node).startswith((b"f", b"F"))
        return value if isinstance(value, str) and not formatted and "\n" not in value else None

    def _span(self, node: ast.AST) -> tuple[int, int]:
        begin, end = (getattr(node, name) for name in ("lineno", "end_lineno"))
        return (
            self.lines[begin - 1] + getattr(node, "col_offset", 0),
            self.lines[end - 1] + getattr(node, "end_col_offset", 0),
        )

    def _text(self, node: ast.AST) -> bytes:
        start, end = self._span(node)
        return self.data[start:end]

    def _grouped(self, node: ast.expr) -> bytes:
        return self._text(node) if isinstance(node, SIMPLE) else b"(" + self._text(node) + b")"


def _literal_parts(node: ast.expr) -> Sequence[ast.expr]:
    """Literals of which another value makes `node` another value."""
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return node.elts
    if isinstance(node, ast.Dict):
        return node.values
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        return [node.operand]
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return [*node.args, *(keyword.value for keyword in node.keywords)] if name in VALUE_TYPES else []
    return []


@dataclass(frozen=True)
class Plan:
    """Which functions are inverted, each in all rounds but its true one."""

    functions: list[Function]
    rounds: int
    sources: dict[str, bytes]
    expected_failures: frozenset[str] | None  # tests that may be expected to fail; None: nothing is known

    def inverted(self, number: int) -> list[Function]:
        return [function for function in self.functions if function.true_round != number]

    def files(self, number: int) -> dict[str, bytes]:
        """Content of the files that differ in round `number`."""
        edits: dict[str, list[Edit]] = {}
        for function in self.inverted(number):
            preferred = [edit for edit in function.edits if edit.same_type] or function.edits
            edits.setdefault(function.path, []).append(secrets.choice(preferred))
        return {path: _edited(self.sources[path], found) for path, found in edits.items()}

    def tests(self) -> set[str]:
        return {name for function in self.functions for name in function.tests}


def listed_plan(spec: dict[str, Any], sources: dict[str, bytes]) -> Plan:
    """Draw the rounds of a task whose bundle lists what can be inverted."""
    functions = [
        Function(
            entry["path"], "", "", [Edit(entry["start"], entry["end"], entry["replacement"].encode())],
            may_expect_failure=False, tests=set(entry["tests"]),
        )
        for entry in spec.get("inversions", ())
    ]  # fmt: skip
    expects = any(MAY_EXPECT_FAILURE.search(data) for data in sources.values())
    excused = None if expects else frozenset()
    return _drawn(functions, {*spec["fail_to_pass"], *spec["new"]}, sources, excused)


def plan(spec: dict[str, Any], sources: dict[str, bytes]) -> Plan:
    """Draw the rounds for a task whose test files, as they should be, are `sources`."""
    functions = [f for path, data in sorted(sources.items()) for f in Source(path, data).functions()]
    by_name: dict[str, list[Function]] = {}
    for function in functions:
        by_name.setdefault(function.name, []).append(function)
    decide = {*spec["fail_to_pass"], *spec["new"]}
    unresolved, known = set(), set()
    for name in (*decide, *spec["pass_to_pass"]):
        path, owner, title = parts(name, spec["runner"], sources)
        found = _defined(by_name.get(title, []), path, owner)
        if found is None:
            unresolved.add(title)
        else:
            found.tests.add(name)
            if not found.may_expect_failure:
                known.add(name)
    able = [f for f in functions if f.edits and f.tests and f.name not in unresolved]
    elsewhere = any(
        EXPECTS_FAILURE.search(data) for path, data in sources.items() if path.endswith("conftest.py")
    )
    return _drawn(able, decide, sources, None if elsewhere else frozenset(decide - known))


def _drawn(
    able: list[Function], decide: set[str], sources: dict[str, bytes], excused: frozenset[str] | None
) -> Plan:
    """The functions that are inverted, each with its true round."""
    chosen = [f for f in able if f.tests & decide]
    others = [f for f in able if not f.tests & decide]
    while others and len(chosen) < FEW:
        chosen.append(others.pop(secrets.randbelow(len(others))))
    count = ROUNDS if chosen else 1
    true = [secrets.randbelow(count) for _ in chosen]
    if len(set(true)) == 1 and len(chosen) >= FEW:  # no run holds all true tests, to be passed as a whole
        true[secrets.randbelow(len(true))] ^= 1
    for function, number in zip(chosen, true):  # noqa: B905 - Python 3.9 has no `strict`
        function.true_round = number
    return Plan(chosen, count, sources, excused)


def _defined(candidates: list[Function], path: str, owner: str) -> Function | None:
    """The function behind a test: its own class's, or the one that its class can only have inherited."""
    own = [f for f in candidates if f.path == path and f.owner == owner]
    if own:
        return own[0] if len(own) == 1 else None
    inherited = [f for f in candidates if f.owner]
    return inherited[0] if owner and len(inherited) == 1 else None


def parts(name: str, runner: str, paths: Iterable[str]) -> tuple[str, str, str]:
    """(file, class, function) of a test id."""
    if runner == "pytest":
        path, _, rest = name.partition("::")
        owner, _, title = rest.partition("[")[0].rpartition("::")
        return path, owner, title
    module, owner, title = ["", "", "", *name.rsplit(".", 2)][-3:]
    stem = module.replace(".", "/") + ".py"
    found = [path for path in paths if path == stem or path.endswith("/" + stem)]
    return (found[0] if len(found) == 1 else ""), owner, title


def _edited(data: bytes, edits: list[Edit]) -> bytes:
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        data = data[: edit.start] + edit.text + data[edit.end :]
    return data
