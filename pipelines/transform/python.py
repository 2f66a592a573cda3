"""Mutations of Python, on libcst's syntax tree: one small rule for each kind, found by the type of a node.

Only what functions do is changed, and the defaults of their parameters: a module that no longer imports
fails every test and teaches nothing. Docstrings, annotations and decorators are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, PositionProvider

from pipelines.transform.mutation import Mutation

Found = Iterator[tuple[str, cst.CSTNode, str]]
"""(kind, the node whose text is replaced, the text instead)."""
Rule = Callable[["Source", Any], Found]

BINARY: dict[type[cst.CSTNode], str] = {
    cst.Add: "-", cst.Subtract: "+", cst.Multiply: "+", cst.Divide: "*", cst.FloorDivide: "/",
    cst.Modulo: "//", cst.Power: "*", cst.BitAnd: "|", cst.BitOr: "&", cst.LeftShift: ">>",
    cst.RightShift: "<<", cst.And: "or", cst.Or: "and",
    cst.AddAssign: "-=", cst.SubtractAssign: "+=", cst.MultiplyAssign: "+=",
}  # fmt: skip
OPPOSITE: dict[type[cst.CSTNode], str] = {
    cst.Equal: "!=", cst.NotEqual: "==", cst.Is: "is not", cst.IsNot: "is", cst.In: "not in", cst.NotIn: "in",
    cst.LessThan: ">=", cst.GreaterThan: "<=", cst.LessThanEqual: ">", cst.GreaterThanEqual: "<",
}  # fmt: skip
BOUNDARY: dict[type[cst.CSTNode], str] = {
    cst.LessThan: "<=", cst.LessThanEqual: "<", cst.GreaterThan: ">=", cst.GreaterThanEqual: ">",
}  # fmt: skip
LEAVES = (cst.Raise, cst.Return, cst.Continue, cst.Break)
UNREADABLE = (cst.ParserSyntaxError, RecursionError, ValueError)


def mutations(path: str, language: str, data: bytes) -> Iterator[Mutation]:
    """Every mutation of a module that is UTF-8 and that libcst can parse."""
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            return
        source = Source(path, language, data, MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True))
    except UNREADABLE:
        return
    finder = _Finder(source)
    source.wrapper.module.visit(finder)
    yield from finder.found


class Source:
    """A module with the places of its nodes."""

    def __init__(self, path: str, language: str, data: bytes, wrapper: MetadataWrapper) -> None:
        self.path = path
        self.language = language
        self.data = data
        self.wrapper = wrapper
        self.spans = wrapper.resolve(ByteSpanPositionProvider)
        self.positions = wrapper.resolve(PositionProvider)

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        found = self.spans[node]
        return found.start, found.start + found.length

    def text(self, node: cst.CSTNode) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def mutation(self, kind: str, function: str, node: cst.CSTNode, text: str) -> Mutation:
        start, end = self.span(node)
        place = self.positions[node]
        return Mutation(
            self.path,
            self.language,
            kind,
            function,
            place.start.line,
            place.end.line,
            start,
            end,
            text.encode(),
        )


class _Finder(cst.CSTVisitor):
    """Asks every rule about every node of every function."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.scopes: list[str] = []
        self.functions = 0
        self.found: list[Mutation] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation | cst.Decorator):
            return False
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self.scopes.append(node.name.value)
        if isinstance(node, cst.FunctionDef):
            self.functions += 1
        if self.functions:
            function = ".".join(self.scopes)
            for types, rule in RULES:
                if isinstance(node, types):
                    for kind, target, text in rule(self.source, node):
                        self.found.append(self.source.mutation(kind, function, target, text))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self.scopes.pop()
        if isinstance(original_node, cst.FunctionDef):
            self.functions -= 1


def _binary(source: Source, node: cst.BinaryOperation | cst.BooleanOperation | cst.AugAssign) -> Found:
    if isinstance(node, cst.BinaryOperation) and _is_text(node.left):
        return  # formatting
    if (other := BINARY.get(type(node.operator))) is not None:
        yield "operator_swapped", node.operator, other


def _comparison(source: Source, node: cst.ComparisonTarget) -> Found:
    kind = type(node.operator)
    if kind in BOUNDARY:
        yield "off_by_one", node.operator, BOUNDARY[kind]
    if kind in OPPOSITE:
        yield "comparison_changed", node.operator, OPPOSITE[kind]


def _integer(source: Source, node: cst.Subscript | cst.BinaryOperation | cst.Comparison | cst.Call) -> Found:
    """Small numbers where they count or bound something."""
    for part in _bounds(node):
        if isinstance(part, cst.Integer):
            yield "off_by_one", part, str(part.evaluated_value + 1)


def _bounds(node: cst.CSTNode) -> list[cst.BaseExpression | None]:
    match node:
        case cst.Subscript():
            found: list[cst.BaseExpression | None] = []
            for element in node.slice:
                match element.slice:
                    case cst.Index(value=value):
                        found.append(value)
                    case cst.Slice(lower=lower, upper=upper):
                        found += [lower, upper]
            return found
        case cst.BinaryOperation() if isinstance(node.operator, cst.Add | cst.Subtract):
            return [node.right]
        case cst.Comparison():
            return [target.comparator for target in node.comparisons]
        case cst.Call(func=cst.Name(value="range")):
            return [argument.value for argument in node.args]
        case _:
            return []


def _condition(source: Source, node: cst.If | cst.While | cst.IfExp) -> Found:
    test = node.test
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        yield "condition_negated", test, f"({source.text(test.expression)})"
    elif not (isinstance(node, cst.While) and source.text(test) in ("True", "1")):
        yield "condition_negated", test, f"not ({source.text(test)})"


def _guard(source: Source, node: cst.If) -> Found:
    """`if …: raise` and the like; as an `elif` it stays, without effect."""
    statements = node.body.body
    last = statements[-1]
    small = last.body[-1] if isinstance(last, cst.SimpleStatementLine) else last
    if node.orelse is None and len(statements) <= 2 and isinstance(small, LEAVES):
        yield "guard_removed", node.test, "False"


def _branch(source: Source, node: cst.If) -> Found:
    if isinstance(node.orelse, cst.Else):
        yield "branch_removed", node.orelse.body, "pass"
    elif isinstance(node.orelse, cst.If):
        yield "branch_removed", node.orelse.test, "False"


def _arguments(source: Source, node: cst.Call) -> Found:
    if any(isinstance(a.value, cst.GeneratorExp) for a in node.args):
        return  # one that stands alone needs no parentheses; moved, it would
    plain = [a for a in node.args if a.keyword is None and not a.star]
    if len(plain) >= 2 and source.text(plain[0].value) != source.text(plain[1].value):
        first, second = source.text(plain[0].value), source.text(plain[1].value)
        start, end = source.span(plain[0].value)[0], source.span(plain[1].value)[1]
        between = source.data[source.span(plain[0].value)[1] : source.span(plain[1].value)[0]].decode()
        whole = source.text(node)
        offset = source.span(node)[0]
        text = source.data[offset:start].decode() + second + between + first
        yield "argument_changed", node, text + source.data[end : offset + len(whole.encode())].decode()
    if len(plain) == len(node.args) == 1 and source.text(node.func).rpartition(".")[2].islower():
        yield "call_removed", node, f"({source.text(plain[0].value)})"  # abs(x) becomes x; classes are kept
    named = [a for a in node.args if a.keyword is not None]
    if named and len(node.args) > 1:
        kept = [source.text(a) for a in node.args if a is not named[-1]]
        yield "argument_changed", node, f"{source.text(node.func)}({', '.join(kept)})"


def _default(source: Source, node: cst.Param) -> Found:
    if node.default is not None and (other := _other_value(node.default)):
        yield "default_changed", node.default, other


def _statement(source: Source, node: cst.Expr | cst.Assign | cst.AugAssign) -> Found:
    match node:
        case cst.Expr(value=cst.Call() | cst.Await()):
            yield "call_removed", node, "pass"
        case cst.AugAssign():
            yield "assignment_removed", node, "pass"
        case cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute() | cst.Subscript())]):
            yield "assignment_removed", node, "pass"


def _exception(source: Source, node: cst.Raise | cst.ExceptHandler) -> Found:
    if isinstance(node, cst.Raise):
        yield "exception_swallowed", node, "pass"
    elif source.text(node.body) != "pass":
        yield "exception_swallowed", node.body, "pass"


def _return(source: Source, node: cst.Return) -> Found:
    value = node.value
    if value is None:
        return
    if other := _other_value(value):
        yield "return_changed", value, other
    elif isinstance(value, cst.Tuple) and len(value.elements) == 2:
        first, second = (source.text(element.value) for element in value.elements)
        yield "return_changed", value, f"{second}, {first}"
    elif isinstance(value, cst.Comparison | cst.BooleanOperation):
        yield "return_changed", value, f"not ({source.text(value)})"
    else:
        yield "return_changed", value, "None"


def _loop(source: Source, node: cst.Break | cst.Continue) -> Found:
    yield "loop_changed", node, "continue" if isinstance(node, cst.Break) else "break"


def _literal(source: Source, node: cst.Assign | cst.Arg) -> Found:
    value = node.value
    if isinstance(value, cst.Name) and value.value in ("True", "False"):
        yield "literal_flipped", value, "False" if value.value == "True" else "True"


def _other_value(value: cst.BaseExpression) -> str:
    """Another constant in place of one; '' for what is none."""
    match value:
        case cst.Name(value="True"):
            return "False"
        case cst.Name(value="False"):
            return "True"
        case cst.Integer():
            return str(value.evaluated_value + 1)
        case _:
            return ""


def _is_text(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.SimpleString | cst.ConcatenatedString | cst.FormattedString)


RULES: tuple[tuple[type[cst.CSTNode] | tuple[type[cst.CSTNode], ...], Rule], ...] = (
    ((cst.BinaryOperation, cst.BooleanOperation, cst.AugAssign), _binary),
    (cst.ComparisonTarget, _comparison),
    ((cst.Subscript, cst.BinaryOperation, cst.Comparison, cst.Call), _integer),
    ((cst.If, cst.While, cst.IfExp), _condition),
    (cst.If, _guard),
    (cst.If, _branch),
    (cst.Call, _arguments),
    (cst.Param, _default),
    ((cst.Expr, cst.Assign, cst.AugAssign), _statement),
    ((cst.Raise, cst.ExceptHandler), _exception),
    (cst.Return, _return),
    ((cst.Break, cst.Continue), _loop),
    ((cst.Assign, cst.Arg), _literal),
)
