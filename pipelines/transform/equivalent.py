"""Another form of source files that does the same: what a test must not notice.

Python is written anew from its syntax tree, so comments, layout and spelling of literals change; in other
languages comments go. Whether the form does the same is not taken on trust: the parent's tests are run on it.
"""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import PurePosixPath

from pipelines.transform.grammar import comments
from pipelines.transform.mutation import MUTATORS

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
# Comments that tools read.
DIRECTIVE = re.compile(
    rb"^(//go:|// \+build|#!|//!|///|/\*\*|/// ?<|/\*!|// ?@|/\* ?(eslint|global|istanbul|c8))"
)


def equivalent(path: str, data: bytes) -> bytes | None:
    """The same program in other words; None where there is no other form of it."""
    language = MUTATORS.get(PurePosixPath(path).suffix, ("", ""))[0]
    if not language:
        return None
    other = _python(data) if language == "python" else _without_comments(language, data)
    return other if other is not None and other != data else None


def _python(data: bytes) -> bytes | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the mined code, not of ours
            return (ast.unparse(ast.parse(data)) + "\n").encode()
    except UNREADABLE:
        return None


def _without_comments(language: str, data: bytes) -> bytes:
    for start, end in reversed(comments(language, data)):
        text = data[start:end]
        if not DIRECTIVE.match(text):
            data = data[:start] + b"\n" * text.count(b"\n") + data[end:]
    return data
