"""Whether a deck or a text delivers what its specification lists: sections, figures, texts, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deck import Deck, Shape, Slide
from facts import Part, altered, numbers, plain, says, states, unfounded
from memo import Memo

LEFTOVER = re.compile(r"lorem ipsum|\bTBD\b|\bTODO\b|click to add|\[(?:insert|name|date)[^\]]*\]", re.I)
SHOWN = 6
Row = tuple[str, list[str]]
"""A check's name, and what is wrong."""


def of_deck(deck: Deck) -> list[Part]:
    """What each slide says to who looks at it: hidden shapes and slides, notes and layouts do not."""
    found = []
    for slide in deck.slides:
        shapes = [] if slide.hidden else [s for s in slide.shapes if not s.hidden]
        part = Part("" if slide.hidden else slide.title)
        part.texts = _texts(deck, [s for s in shapes if s.kind == "text" and s.text.strip()])
        part.tables = [[[cell.text for cell in row] for row in s.cells] for s in shapes if s.kind == "table"]
        part.charts = [s.chart for s in shapes if s.chart is not None]
        found.append(part)
    return found


def _texts(deck: Deck, shapes: list[Shape]) -> list[str]:
    """Texts of shapes; a name and the number beside it, in boxes of their own, are one text."""
    texts = [_drawn(shape) for shape in shapes]
    bare = [n for n, text in enumerate(texts) if any(numbers(text)) and not re.search(r"[^\W\d_]{4,}", text)]
    names = [n for n, text in enumerate(texts) if text and not any(numbers(text))]
    pairs = []
    for number in bare:
        nearest = min(names, key=lambda n: _apart(shapes[n], shapes[number]), default=None)
        if nearest is not None and _apart(shapes[nearest], shapes[number]) < deck.width / 3:
            pairs.append(f"{texts[nearest]}\n{texts[number]}")
    return [*texts, *pairs]


def _drawn(shape: Shape) -> str:
    return "\n".join("".join(run.text for run in p.runs if run.drawn) for p in shape.paragraphs).strip()


def _apart(one: Shape, other: Shape) -> float:
    """Between the middles of two shapes; beside counts less than above, as cards are read."""
    (l1, t1, r1, b1), (l2, t2, r2, b2) = one.box, other.box
    return abs((l1 + r1) - (l2 + r2)) / 2 + abs((t1 + b1) - (t2 + b2)) / 2


def of_memo(memo: Memo) -> list[Part]:
    """The sections of a text: what stands above the first heading, then each heading with what follows."""
    found = [Part("")]
    for block in memo.blocks:
        if block.kind == "heading":
            found.append(Part(block.text.strip()))
        elif block.kind == "table":
            found[-1].tables.append([[cell.text for cell in row] for row in block.cells])
        elif block.text.strip():
            found[-1].texts.append(block.text)
    return found


def checks(spec: Mapping[str, Any], parts: Sequence[Part]) -> Iterator[Row]:
    """What the specification asks of the contents."""
    labels = sorted({fact["label"] for section in spec["sections"] for fact in section.get("facts", ())})
    placed = spec.get("placed", False)
    for section in spec["sections"]:
        chosen = [p for p in parts if _titled(p, section["heading"])] if placed else list(parts)
        heading = section["heading"]
        if placed:
            yield f"{heading}: is there", [] if chosen else [f"nothing is titled “{heading}”"]
        facts = section.get("facts", ())
        show = section.get("show", "") if placed else ""
        missing = [
            f"{fact['label']} {fact.get('period', '')} {fact['as']}".replace("  ", " ")
            for fact in facts
            if not any(states(part, fact, labels, show) for part in chosen)
        ]
        form = f" in a {show}" if show else ""
        if facts:
            yield f"{heading}: figures{form}", [f"{text} is not there{form}" for text in missing]
        texts = section.get("texts", ())
        if texts:
            missing = [text for text in texts if not any(says(part, text) for part in chosen)]
            yield f"{heading}: texts", [f"“{text}” is not there" for text in missing]


def _titled(part: Part, heading: str) -> bool:
    wanted, title = plain(heading), plain(re.sub(r"^\s*\d+(?:\.\d+)*[.)]?\s+", "", part.title))
    return wanted == title or (bool(title) and wanted in title)


def order(spec: Mapping[str, Any], parts: Sequence[Part]) -> Row:
    """Whether sections stand in the order that is asked for."""
    places = [
        next((n for n, p in enumerate(parts) if _titled(p, s["heading"])), -1) for s in spec["sections"]
    ]
    wrong = [] if places == sorted(places) else ["the sections stand in another order"]
    return "sections in order", wrong


def clean(spec: Mapping[str, Any], parts: Sequence[Part], everything: str) -> Iterator[Row]:
    """Nothing made up, nothing that must not go out, nothing left over."""
    strange = [f"{value:g} is in no source" for part in parts for value in unfounded(part, spec["figures"])]
    yield "no figure without a source", strange
    told = plain(everything)
    yield (
        "nothing that must not go out",
        [f"“{text}” is there" for text in spec.get("forbidden", ()) if plain(text) in told],
    )
    yield (
        "nothing left over",
        [f"“{m[0]}” is left over" for part in parts for m in LEFTOVER.finditer(part.words)],
    )


def empty_placeholders(slides: Sequence[Slide]) -> Row:
    left = [
        f"slide {number}: an empty placeholder {shape.name!r}"
        for number, slide in enumerate(slides, 1)
        for shape in slide.shapes
        if shape.role
        and shape.kind == "text"
        and not shape.text.strip()
        and shape.role not in ("dt", "ftr", "sldNum")
    ]
    return "no empty placeholder", left


def inverted(spec: Mapping[str, Any], parts: Sequence[Part]) -> int:
    """How many checks of content fail, as they must, on the same parts with other figures and words."""
    others = [altered(part) for part in parts]
    return sum(bool(wrong) for name, wrong in checks(spec, others) if not name.endswith(": is there"))
