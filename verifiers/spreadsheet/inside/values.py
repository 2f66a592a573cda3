"""Typed cell values, and when one is what was expected.

A value is (type, content): number, text, boolean, error or blank. A date is a number that its cell shows as
one. What a check expects is JSON: 1.5, "text", true, null for blank, {"date": "2025-03-31"},
{"error": "#DIV/0!"}, {"any": true}. Types never stand in for each other: the text "12" is not the number 12,
and TRUE is not 1, because the next formula that reads the cell sees the difference.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

Value = tuple[str, Any]

BLANK: Value = ("blank", None)
ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#CIRC!", "#SPILL!", "#CALC!")
EPOCH = dt.datetime(1899, 12, 30)
DAY = dt.timedelta(days=1)


def serial(when: dt.datetime) -> float:
    """A date as the number that a workbook of the 1900 system holds."""
    return (when - EPOCH) / DAY


def typed(content: Any) -> Value:
    """A literal of openpyxl, or a cell of a check, as a value."""
    match content:
        case None | "":
            return BLANK
        case bool():
            return ("boolean", content)
        case int() | float():
            return ("number", float(content))
        case dt.datetime():
            return ("number", serial(content))
        case dt.date():
            return ("number", serial(dt.datetime.combine(content, dt.time())))
        case dt.time():
            return ("number", serial(dt.datetime.combine(EPOCH.date(), content)))
        case dt.timedelta():
            return ("number", content / DAY)
        case str() if content in ERRORS:
            return ("error", content)
        case str():
            return ("text", content)
        case {"date": str(text)}:
            return ("number", serial(dt.datetime.fromisoformat(text)))
        case {"error": str(text)}:
            return ("error", text)
    return ("text", str(content))


def close(actual: float, expected: float, absolute: float, relative: float) -> bool:
    return math.isfinite(actual) and abs(actual - expected) <= max(absolute, relative * abs(expected))


def difference(
    expected: Any, actual: Value, *, is_date: bool, absolute: float, relative: float, case: bool
) -> str:
    """'' where `actual` is what was expected, else what it is instead."""
    if isinstance(expected, dict) and expected.get("any"):
        return ""
    wanted = typed(expected)
    if wanted[0] != actual[0]:
        return f"is {told(actual)}, expected {told(wanted)}"
    if wanted[0] == "number":
        if not close(actual[1], wanted[1], absolute, relative):
            return f"is {told(actual)}, expected {told(wanted)}"
        if isinstance(expected, dict) and "date" in expected and not is_date:
            return f"is the bare number {actual[1]:g}, expected it shown as the date {expected['date']}"
        return ""
    if wanted[0] == "text":
        one, other = (" ".join(str(side).split()) for side in (actual[1], wanted[1]))
        same = one == other if case else one.casefold() == other.casefold()
        return "" if same else f"is {told(actual)}, expected {told(wanted)}"
    if wanted[0] == "boolean":
        return "" if wanted[1] == actual[1] else f"is {told(actual)}, expected {told(wanted)}"
    return "" if wanted[0] == "blank" or wanted[1] == actual[1] else f"is {actual[1]}, expected {wanted[1]}"


def told(value: Value) -> str:
    """A value in words, short, without line breaks."""
    kind, content = value
    if kind == "blank":
        return "blank"
    text = f"{content:.10g}" if kind == "number" else ascii(content) if kind == "text" else str(content)
    return f"the {kind} {text[:60]}"


def agree(one: Value, other: Value) -> bool:
    """Whether two engines say the same, up to the last digits of an iterative function."""
    if one[0] == other[0] == "number":
        return close(one[1], other[1], 1e-9, 1e-9)
    return one == other or ({one[0], other[0]} == {"blank", "text"} and not (one[1] or other[1]))
