"""Judges one deck or text by its deliverable specification (`verifiers.documents.spec`).

The reward is 1 if every check holds, else 0. `inverted` counts the checks that were seen to fail on something
that must fail: the contents with other figures and words, or the original without its edits.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import content
import deck
import edits
import layout
import memo
from document_intake import admit
from intake import Refused  # ty: ignore[import-not-found]
from lxml.etree import LxmlError  # ty: ignore[import-not-found]

SHOWN = 5
UNREADABLE = (
    KeyError, ValueError, TypeError, AttributeError, IndexError, LxmlError, zipfile.BadZipFile, StopIteration,
    NotImplementedError, AssertionError, RecursionError, OSError, struct.error,
)  # fmt: skip
"""What the libraries raise for files that are damaged inside."""


def report(
    kind: str, reason: str, checks: list[dict[str, Any]] | None = None, inverted: int = 0
) -> dict[str, Any]:
    rows = checks or []
    paid = kind == "scored" and bool(rows) and all(row["passed"] for row in rows)
    told = {"engines": {"python-pptx": "1.0.2", "python-docx": "1.2.0"}, "inverted": inverted}
    return {"kind": kind, "reason": reason, "reward": float(paid), "checks": rows, "report": told}


def row(name: str, wrong: list[str]) -> dict[str, Any]:
    more = f" (and {len(wrong) - SHOWN} more)" if len(wrong) > SHOWN else ""
    evidence = "; ".join(wrong[:SHOWN]) + more
    return {"name": name, "passed": not wrong, "score": float(not wrong), "evidence": evidence[:600]}


def judge(spec: Mapping[str, Any], name: str, data: bytes, original: bytes | None) -> dict[str, Any]:
    """The report on one file. `original` is the deck that was to be edited."""
    try:
        admit(name, data)
    except Refused as refused:
        return report("malformed", str(refused))
    before = deck.read(original) if original is not None else None
    try:
        found = deck.read(data) if name.endswith(".pptx") else memo.read(data)
    except UNREADABLE as error:
        return report("malformed", f"{name} is corrupt: it cannot be opened ({type(error).__name__}).")
    except MemoryError:
        return report("malformed", f"{name} needs more memory than a graded document may.")
    if before is not None:
        assert isinstance(found, deck.Deck)
        rows, inverted = _edited(spec, before, found)
    else:
        rows, inverted = _made(spec, found)
    return report("scored", "", rows, inverted)


def _made(spec: Mapping[str, Any], found: deck.Deck | memo.Memo) -> tuple[list[dict[str, Any]], int]:
    """Checks of something new."""
    low, high = spec["length"]
    if isinstance(found, deck.Deck):
        parts, count, unit = content.of_deck(found), len(found.slides), "slides"
        everything = "\n".join([p.words for p in parts] + [s.notes for s in found.slides])
        faults = layout.deck_faults(found, spec["rules"])
        more = [content.empty_placeholders(found.slides)]
    else:
        parts, count, unit = content.of_memo(found), found.words, "words"
        everything = "\n".join(block.text for block in found.blocks)
        faults = layout.memo_faults(found, spec["rules"])
        more = []
    rows = [row("length", [] if low <= count <= high else [f"{count} {unit}; wanted are {low} to {high}"])]
    if title := spec.get("title"):
        first = parts[0].words if isinstance(found, deck.Deck) else _head(found)
        rows.append(
            row("title", [] if content.plain(title) in content.plain(first) else [f"“{title}” is not there"])
        )
    rows += [row(name, wrong) for name, wrong in content.checks(spec, parts)]
    if spec.get("placed"):
        rows.append(row(*content.order(spec, parts)))
    rows += [row(name, wrong) for name, wrong in (*content.clean(spec, parts, everything), *more)]
    rows += [row(name, wrong) for name, wrong in faults.items()]
    return rows, content.inverted(spec, parts)


def _head(found: memo.Memo) -> str:
    """What stands before the first section."""
    texts = []
    for block in found.blocks:
        if block.kind == "heading" and block.level > 0 and texts:
            break
        texts.append(block.text)
    return "\n".join(texts)


def _edited(spec: Mapping[str, Any], before: deck.Deck, found: deck.Deck) -> tuple[list[dict[str, Any]], int]:
    """Checks of edits."""
    expected = edits.Expected(before, spec["edits"])
    wrong = _by_owner(expected, found)
    names = [edit["name"] for edit in spec["edits"]]
    faults = layout.deck_faults(found, spec["rules"])
    rows = [row(name, wrong.get(name, [])) for name in dict.fromkeys(names)]
    rows.append(row("nothing else changed", wrong.get("", [])))
    rows += [row(name, told) for name, told in faults.items()]
    untouched = _by_owner(expected, before)
    broken = {name for name, told in layout.deck_faults(before, spec["rules"]).items() if told}
    return rows, len(set(untouched) - {""}) + len(broken)


def _by_owner(expected: edits.Expected, found: deck.Deck) -> dict[str, list[str]]:
    """Edit → what is wrong with it; '' → what else was changed."""
    wrong: dict[str, list[str]] = {}
    for one in edits.differences(expected, found):
        wrong.setdefault(expected.owner.get(one.path, ""), []).append(one.told)
    return wrong
