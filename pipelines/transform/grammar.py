"""Mutations of every language that tree-sitter parses here: the rules are one, the names of nodes are data.

As with Python, only what lies in functions is changed. A mutant that no longer parses is dropped at once; one
that no longer compiles is found out when its tests are run.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache

from tree_sitter import Language, Node, Parser

from pipelines.transform.grammars import BINARY, BOOLEANS, BOUNDARY, GRAMMARS, OPPOSITE, SWAPPED, Grammar
from pipelines.transform.mutation import Mutation

Found = Iterator[tuple[str, Node, str]]
"""(kind, the node whose text is replaced, the text instead)."""


def mutations(path: str, language: str, data: bytes) -> Iterator[Mutation]:
    """Every mutation of a file that parses without an error, and parses so after the mutation."""
    grammar, parser = GRAMMARS[language], _parser(language)
    root = parser.parse(data).root_node
    if root.has_error:
        return
    for node, function in _inside_functions(root, grammar):
        for kind, target, text in _rules(node, grammar):
            mutation = Mutation(
                path=path, language=language, kind=kind, function=function,
                first=target.start_point[0] + 1, last=target.end_point[0] + 1,
                start=target.start_byte, end=target.end_byte, text=text.encode(),
            )  # fmt: skip
            if not parser.parse(mutation.apply(data)).root_node.has_error:
                yield mutation


@cache
def _parser(language: str) -> Parser:
    grammar = GRAMMARS[language]
    capsule: object = getattr(importlib.import_module(grammar.module), grammar.function)()
    return Parser(Language(capsule))


def _inside_functions(root: Node, grammar: Grammar) -> Iterator[tuple[Node, str]]:
    """Every node of a function's body, with its qualified name. No recursion: code nests deeply."""
    left: list[tuple[Node, tuple[str, ...], bool]] = [(root, (), False)]
    while left:
        node, scopes, inside = left.pop()
        if node.type in grammar.skip:
            continue
        if node.type in grammar.functions or node.type in grammar.types:
            name = _name(node, grammar)
            scopes = (*scopes, name) if name else scopes
            inside = inside or node.type in grammar.functions
        elif inside:
            yield node, ".".join(scopes)
        left += [(child, scopes, inside) for child in reversed(node.children)]


def _name(node: Node, grammar: Grammar) -> str:
    """What a function or type is called; an anonymous function has the name of what it is assigned to."""
    named = node.child_by_field_name("name")
    if named is None and node.type in grammar.types:
        named = node.child_by_field_name("type")  # what is implemented
    if named is None and node.parent is not None and node.parent.type == "variable_declarator":
        named = node.parent.child_by_field_name("name")
    declarator = node.child_by_field_name("declarator")
    while named is None and declarator is not None:
        if declarator.type == "identifier":
            named = declarator
        declarator = declarator.child_by_field_name("declarator")
    return _text(named) if named is not None else ""


def _rules(node: Node, grammar: Grammar) -> Found:
    if node.type in BINARY or node.type in grammar.assignments:
        yield from _operator(node, grammar)
    if node.type in grammar.ifs:
        yield from _if(node, grammar)
    if node.type in grammar.calls:
        yield from _arguments(node, grammar)
    if node.type == "expression_statement" or node.type in grammar.assignments:
        yield from _statement(node, grammar)
    if node.type in grammar.returns:
        yield from _return(node)
    if node.type in grammar.catches:
        body = node.child_by_field_name("body")
        if body is not None and body.named_child_count:
            yield "exception_swallowed", body, grammar.empty
    if node.type in grammar.throws:
        yield "exception_swallowed", node, grammar.nothing
    if node.type in BOOLEANS or node.type == "boolean_literal":
        yield "literal_flipped", node, BOOLEANS[_text(node)]
    for word, other in grammar.loops:
        if node.type in (f"{word}_statement", f"{word}_expression") and node.named_child_count == 0:
            yield "loop_changed", node, _text(node).replace(word, other, 1)


def _operator(node: Node, grammar: Grammar) -> Found:
    operator = node.child_by_field_name("operator")
    sign = _text(operator) if operator is not None else ""
    if operator is None or any("string" in child.type for child in node.named_children):
        return  # text is put together with the same signs
    if sign in SWAPPED:
        yield "operator_swapped", operator, SWAPPED[sign]
    if sign in OPPOSITE:
        yield "comparison_changed", operator, OPPOSITE[sign]
    if sign in BOUNDARY:
        yield "off_by_one", operator, BOUNDARY[sign]
    right = node.child_by_field_name("right")
    if right is not None and right.type in grammar.integers and re.fullmatch(r"\d+", _text(right)):
        yield "off_by_one", right, str(int(_text(right)) + 1)


def _if(node: Node, grammar: Grammar) -> Found:
    condition = node.child_by_field_name("condition")
    consequence = node.child_by_field_name("consequence")
    alternative = node.child_by_field_name("alternative")
    if condition is None or consequence is None or condition.type in ("let_condition", "let_chain"):
        return
    inner = condition.named_children[0] if grammar.in_parentheses and condition.named_children else condition
    yield "condition_negated", inner, grammar.negation.format(_text(inner))
    last = _statements(consequence)[-1:]
    if alternative is None and len(_statements(consequence)) <= 2 and last and last[0].type in grammar.leaves:
        yield "guard_removed", inner, grammar.never
    if alternative is not None:
        block = alternative.named_children[-1] if alternative.type == "else_clause" else alternative
        if block.type not in grammar.ifs:
            yield "branch_removed", block, grammar.empty


def _statements(block: Node) -> list[Node]:
    """The statements of a block, whatever wraps them."""
    found = [node for node in block.named_children if "comment" not in node.type]
    if len(found) == 1 and found[0].type == "statement_list":
        return _statements(found[0])
    if not found or block.type.endswith(("_statement", "_expression")):
        return [block]
    return [
        n.named_children[0] if n.type == "expression_statement" and n.named_children else n for n in found
    ]


def _arguments(node: Node, grammar: Grammar) -> Found:
    listed = next((child for child in node.children if child.type in grammar.arguments), None)
    given = listed.named_children if listed is not None else []
    if listed is None or len(given) < 2 or _text(given[0]) == _text(given[1]):
        return
    first, second = given[0], given[1]
    text, start = _text(listed), listed.start_byte
    raw = text.encode()
    between = raw[first.end_byte - start : second.start_byte - start]
    swapped = (
        raw[: first.start_byte - start]
        + _text(second).encode()
        + between
        + _text(first).encode()
        + raw[second.end_byte - start :]
    )
    yield "argument_changed", listed, swapped.decode()


def _statement(node: Node, grammar: Grammar) -> Found:
    """Statements for their effect only. Where assignments are statements, nothing wraps them."""
    inner = node.named_children[0] if node.type == "expression_statement" and node.named_children else node
    is_statement = node.type == "expression_statement" or node.type.endswith("_statement")
    if not is_statement:
        return
    if inner.type in grammar.calls:
        yield "call_removed", node, grammar.nothing
    if inner.type in grammar.assignments:
        yield "assignment_removed", node, grammar.nothing


def _return(node: Node) -> Found:
    value = node.named_children[0] if node.named_children else None
    if value is None:
        return
    parts = value.named_children if value.type == "expression_list" else [value]
    for part in parts[:1]:
        text = _text(part)
        if text in BOOLEANS:
            yield "return_changed", part, BOOLEANS[text]
        elif re.fullmatch(r"-?\d+", text):
            yield "return_changed", part, str(int(text) + 1)
        elif part.type == "binary_expression" and re.search(r"[=!<>]=|[<>]|&&|\|\|", text):
            yield "return_changed", part, f"!({text})"


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def comments(language: str, data: bytes) -> list[tuple[int, int]]:
    """Where the comments of a file are, in bytes and in order."""
    left, found = [_parser(language).parse(data).root_node], []
    while left:
        node = left.pop()
        if "comment" in node.type:
            found.append((node.start_byte, node.end_byte))
        else:
            left += node.children
    return sorted(found)
