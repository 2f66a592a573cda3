"""Layout rules: what a person would see at once. Each gives the faults it finds, as sentences.

A text is measured by its estimated extent in its box, not by the box, which usually has room to spare. A
plain shape below a text is its card; any other two things that lie on each other are a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from colours import Rgb, contrast
from deck import Deck, Paragraph, Shape, Slide
from memo import Memo
from metrics import LINE, Line, extent

Box = tuple[float, float, float, float]
EDGE = 2.0
"""Points that a box may reach over an edge or over another."""
SLACK = 1.15
"""How much longer than its box an estimated text may be."""
SHARED = 0.04
"""Part of the smaller of two things that may lie on the other."""
LARGE, LARGE_BOLD = 18.0, 14.0
"""WCAG 2.2: from these sizes on, text needs less contrast."""
COVERS = 0.25
Fault = Iterator[str]


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _common(one: Box, other: Box) -> Box:
    return (max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3]))


def _lines(paragraphs: list[Paragraph], scale: float = 1.0) -> list[Line]:
    found = []
    for paragraph in paragraphs:
        size = paragraph.size or max((run.size for run in paragraph.runs), default=12.0)
        bold = any(run.bold for run in paragraph.runs if run.text.strip())
        found.append((paragraph.text, size * scale, bold, paragraph.indent))
    return found


def measured(shape: Shape, scale: float = 1.0) -> tuple[float, float]:
    """Estimated width and height of a shape's text."""
    left, _, right, _ = shape.box
    room = right - left - shape.insets[0] - shape.insets[2]
    return extent(_lines(shape.paragraphs, scale), room if shape.wrap else None)


def inked(shape: Shape) -> Box:
    """Where something is drawn: of a text without fill, its letters."""
    left, top, right, bottom = shape.box
    if shape.kind == "table":
        return (left, top, right, top + sum(_heights(shape)))
    if shape.kind != "text" or not shape.text.strip():
        return shape.box
    wide, high = measured(shape, shrunk(shape))
    if shape.fill is not None or shape.veiled:
        grown = top + high + shape.insets[1] + shape.insets[3]
        return (left, top, right, max(bottom, grown) if shape.fit == "grow" else bottom)
    align = next((p.align for p in shape.paragraphs if p.text.strip()), "l")
    room = right - left - shape.insets[0] - shape.insets[2]
    spare = max(0.0, room - wide)
    start = left + shape.insets[0] + {"ctr": spare / 2, "r": spare}.get(align, 0.0)
    free = max(0.0, bottom - top - shape.insets[1] - shape.insets[3] - high)
    down = top + shape.insets[1] + {"ctr": free / 2, "b": free}.get(shape.anchor, 0.0)
    return (start, down, start + wide, down + high)


def shrunk(shape: Shape) -> float:
    """By how much a text that shrinks to its box is smaller than it says."""
    if shape.fit != "shrink":
        return 1.0
    room = shape.box[3] - shape.box[1] - shape.insets[1] - shape.insets[3]
    scale = 1.0
    while scale > 0.25 and measured(shape, scale)[1] > max(room, 1.0):
        scale -= 0.05
    return scale


def _heights(table: Shape) -> list[float]:
    """Of a table's rows, grown to their texts."""
    widths, heights = table.sides
    found = []
    for row, high in zip(table.cells, heights, strict=False):
        needs = [
            extent(_lines(cell.paragraphs), max(wide - 14.4, 1.0))[1] + 7.2
            for cell, wide in zip(row, widths, strict=False)
            if not cell.spanned
        ]
        found.append(max([high, *[need / SLACK for need in needs]]))
    return found


def _seen(slide: Slide) -> list[Shape]:
    return [shape for shape in slide.shapes if not shape.hidden]


def _told(shape: Shape) -> str:
    words = " ".join(shape.text.split())[:40]
    return f"“{words}”" if words else f"the {shape.kind} {shape.name!r}"


def off_slide(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    for shape in _seen(slide):
        left, top, right, bottom = shape.box
        if shape.speaks and shape.kind == "text":
            ink = inked(shape)
            left, top = min(left, ink[0]), min(top, ink[1])
            right, bottom = max(right, ink[2] / SLACK), max(bottom, ink[3] / SLACK)
        elif shape.kind == "table":
            bottom = inked(shape)[3]
        if left < -EDGE or top < -EDGE or right > deck.width + EDGE or bottom > deck.height + EDGE:
            yield f"{_told(shape)} reaches beyond the slide"


def overflow(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    for shape in _seen(slide):
        if shape.kind != "text" or not shape.text.strip() or shape.fit:
            continue
        wide, high = measured(shape)
        left, top, right, bottom = shape.box
        room = bottom - top - shape.insets[1] - shape.insets[3]
        one_line = max((p.size for p in shape.paragraphs), default=0.0) * LINE
        if high > max(room * SLACK, room + 0.35 * one_line):
            yield f"{_told(shape)} needs about {high:.0f} pt of height and has {room:.0f}"
        elif wide > (right - left - shape.insets[0] - shape.insets[2]) * SLACK + EDGE and shape.wrap:
            yield f"{_told(shape)} holds a word that is wider than its box"


def overlap(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    shapes = [(shape, inked(shape)) for shape in _seen(slide) if shape.kind != "line"]
    for upper in range(len(shapes)):
        above, over = shapes[upper]
        for below, under in shapes[:upper]:
            if not (above.speaks or below.speaks) or _card(below, under, above, over):
                continue
            shared, smaller = _area(_common(over, under)), min(_area(over), _area(under))
            if smaller and shared > SHARED * smaller and _deep(_common(over, under)):
                yield f"{_told(above)} and {_told(below)} lie on each other"


def _deep(box: Box) -> bool:
    return box[2] - box[0] > EDGE and box[3] - box[1] > EDGE


def _card(below: Shape, under: Box, above: Shape, over: Box) -> bool:
    """Whether `below` is what `above` is laid on: it says nothing, and holds it whole."""
    held = _area(_common(over, under)) >= 0.97 * _area(over)
    return not below.speaks and below.kind in ("text", "picture", "other") and held


def small_text(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    least = rules["font"]
    for shape in _seen(slide):
        scale = shrunk(shape)
        for paragraph in shape.all_paragraphs:
            for run in paragraph.runs:
                if run.text.strip() and run.size * scale < least - 0.05:
                    yield f"“{run.text.strip()[:40]}” is set in {run.size * scale:.1f} pt; least is {least:g}"


def low_contrast(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    for place, shape in enumerate(slide.shapes):
        if shape.hidden:
            continue
        below = grounds(slide, place)
        for paragraph in shape.paragraphs:
            yield from _pale(paragraph, below, rules["contrast"])
        for row in shape.cells:
            for cell in row:
                for paragraph in cell.paragraphs:
                    yield from _pale(paragraph, (cell.fill,) if cell.fill else (), rules["contrast"])


def grounds(slide: Slide, place: int) -> tuple[Rgb, ...]:
    """What colours the text of a shape stands on; none where that cannot be told."""
    shape = slide.shapes[place]
    if shape.veiled:
        return ()
    if shape.fill is not None:
        return (shape.fill,)
    ink = inked(shape)
    for below in reversed([*slide.under, *slide.shapes[:place]]):
        touches = _area(_common(inked(below), ink)) > 0.5 * _area(ink)
        if touches and not below.hidden and (below.fill is not None or below.veiled):
            return () if below.fill is None else (below.fill,)
    return slide.background


def _pale(paragraph: Paragraph, grounds: tuple[Rgb, ...], least: float) -> Fault:
    for run in paragraph.runs:
        words = run.text.strip()[:40]
        if not words:
            continue
        if not run.drawn or run.colour is None or not grounds:
            yield f"“{words}” has no one colour on a plain ground"
            continue
        wanted = (
            least if not (run.size >= LARGE or (run.bold and run.size >= LARGE_BOLD)) else min(least, 3.0)
        )
        shown = min(contrast(run.colour, ground) for ground in grounds)
        if shown < wanted - 0.01:
            yield f"“{words}” has a contrast of {shown:.1f} to 1; least is {wanted:g}"


def covered(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    for place, shape in enumerate(slide.shapes):
        if shape.hidden or not shape.speaks:
            continue
        ink = inked(shape)
        for above in slide.shapes[place + 1 :]:
            solid = above.fill is not None or above.veiled or above.kind in ("table", "chart")
            if solid and not above.hidden and _area(_common(inked(above), ink)) > COVERS * _area(ink):
                yield f"{_told(shape)} is covered by {_told(above)}"


def unreadable(deck: Deck, slide: Slide, rules: Mapping[str, Any]) -> Fault:
    if slide.hidden:
        yield "the slide is hidden"
    for kind in slide.unread:
        yield f"it holds an object that is no text, table, chart or picture ({kind})"
    for shape in slide.shapes:
        if shape.hidden and shape.speaks:
            yield f"{_told(shape)} is hidden"
        if shape.speaks and shape.kind != "text" and min(_sides(shape.box)) < 36:
            yield f"{_told(shape)} is too small to be read"


def _sides(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


RULES: Mapping[str, Callable[[Deck, Slide, Mapping[str, Any]], Fault]] = {
    "nothing beyond the slide": off_slide,
    "no text longer than its box": overflow,
    "nothing on each other": overlap,
    "text is large enough": small_text,
    "text stands out from its ground": low_contrast,
    "nothing covered": covered,
    "all can be read": unreadable,
}


def deck_faults(deck: Deck, rules: Mapping[str, Any], only: range | None = None) -> dict[str, list[str]]:
    """Rule → its faults, of all slides or of some."""
    found: dict[str, list[str]] = {}
    for name, rule in RULES.items():
        found[name] = [
            f"slide {number}: {fault}"
            for number, slide in enumerate(deck.slides, 1)
            if only is None or number in only
            for fault in rule(deck, slide, rules)
        ]
    return found


def memo_faults(memo: Memo, rules: Mapping[str, Any]) -> dict[str, list[str]]:
    """The same for a text document."""
    small, pale, wide = [], [], []
    for block in memo.blocks:
        for paragraph, ground in block.drawn:
            for run in paragraph.runs:
                if run.text.strip() and run.size < rules["font"] - 0.05:
                    small.append(
                        f"“{run.text.strip()[:40]}” is set in {run.size:g} pt; least is {rules['font']:g}"
                    )
            pale += _pale(paragraph, (ground,) if ground else (), rules["contrast"])
        if block.wide > memo.room * 1.03 + EDGE:
            wide.append(f"a {block.kind} is {block.wide:.0f} pt wide; the text is {memo.room:.0f}")
    return {
        "text is large enough": small,
        "text stands out from its ground": pale,
        "nothing wider than the text": wide,
    }
