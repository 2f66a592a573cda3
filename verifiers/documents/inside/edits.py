"""Local edits of a deck: what it must be afterwards, object by object, and where it is something else.

The expected deck is the original, read, with the edits of the specification made to what was read. Whatever
differs from it is a fault: of an edit where the edit names that object, of everything else otherwise. Some
edits leave a choice (where a shape goes, which colour is legible); they name the aspects that are free, and
layout rules judge those.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colours import hexed
from deck import Cell, Deck, Paragraph, Run, Shape, Slide

PLACE = 1.5
"""Points by which a box may be off and be the same."""
NEW = 0
Path = tuple[int, int, str]
"""Slide id, shape id (0 is the slide itself), aspect."""


@dataclass(frozen=True)
class Difference:
    path: Path
    told: str


class Expected:
    """The original with edits made to it."""

    def __init__(self, original: Deck, edits: Sequence[Mapping[str, Any]]) -> None:
        self.deck = copy.deepcopy(original)
        self.free: set[Path] = set()
        self.owner: dict[Path, str] = {}
        self.added: dict[int, Mapping[str, Any]] = {}
        """New slides: their id here → the edit."""
        for edit in edits:
            EDITS[edit["do"]](self, edit)

    def slide(self, edit: Mapping[str, Any]) -> Slide:
        return next(slide for slide in self.deck.slides if slide.id == edit["slide"])

    def shape(self, edit: Mapping[str, Any]) -> Shape:
        return next(shape for shape in self.slide(edit).shapes if shape.id == edit["shape"])

    def own(self, edit: Mapping[str, Any], *aspects: str, free: bool = False) -> None:
        for aspect in aspects:
            path = (edit["slide"], edit.get("shape", 0), aspect)
            self.owner[path] = edit["name"]
            if free:
                self.free.add(path)


Edit = Mapping[str, Any]


def replace(expected: Expected, edit: Edit) -> None:
    """Words inside runs, whose look stays."""
    shape = expected.shape(edit)
    for paragraph in shape.all_paragraphs:
        for run in paragraph.runs:
            run.text = run.text.replace(edit["old"], edit["new"])
    expected.own(edit, "text", "cells")


def paragraphs(expected: Expected, edit: Edit) -> None:
    """The paragraphs of a shape, each in the look of the one whose place it takes."""
    shape = expected.shape(edit)
    known = {paragraph.text: paragraph for paragraph in shape.paragraphs}
    models = shape.paragraphs
    made = []
    for place, text in enumerate(edit["texts"]):
        model = known.get(text) or models[min(place, len(models) - 1)]
        one = copy.deepcopy(model)
        if text not in known:
            one.runs = [Run(text, *_look(model))]
        made.append(one)
    shape.paragraphs = made
    expected.own(edit, "text")


def _look(paragraph: Paragraph) -> tuple[Any, ...]:
    run = max(paragraph.runs, key=lambda one: len(one.text))
    return (run.size, run.bold, run.italic, run.underline, run.font, run.colour)


def cells(expected: Expected, edit: Edit) -> None:
    """Texts of cells of a table."""
    table = expected.shape(edit).cells
    for row, column, text in edit["cells"]:
        table[row][column] = _cell(table[row][column], text)
    expected.own(edit, "cells")


def add_row(expected: Expected, edit: Edit) -> None:
    """A row of a table, which grows by it."""
    table = expected.shape(edit)
    model = table.cells[edit["row"] - 1]
    table.cells.insert(
        edit["row"], [_cell(one, text) for one, text in zip(model, edit["texts"], strict=True)]
    )
    expected.own(edit, "cells")
    expected.own(edit, "box", free=True)


def _cell(model: Cell, text: str) -> Cell:
    one = copy.deepcopy(model)
    first = one.paragraphs[0]
    look = _look(first) if first.runs else (18.0, False, False, False, "", None)
    one.paragraphs = [Paragraph([Run(text, *look)], first.level, first.align, first.indent)]
    return one


def chart(expected: Expected, edit: Edit) -> None:
    """Values of a chart's series by category."""
    shown = expected.shape(edit).chart
    assert shown is not None
    for series in shown.series:
        if series.name == edit["series"]:
            values = edit["values"]
            series.points = [(name, values.get(name, value)) for name, value in series.points]
    expected.own(edit, "chart")


def chart_title(expected: Expected, edit: Edit) -> None:
    shown = expected.shape(edit).chart
    assert shown is not None
    shown.title = edit["text"]
    expected.own(edit, "chart")


def lay(expected: Expected, edit: Edit) -> None:
    """A shape goes where no rule of layout is broken; its size stays."""
    expected.own(edit, "place", free=True)


def align(expected: Expected, edit: Edit) -> None:
    """A shape's left and top edges become those that are told."""
    shape = expected.shape(edit)
    left, top, right, bottom = shape.box
    x, y = edit.get("left", left), edit.get("top", top)
    shape.box = (x, y, x + right - left, y + bottom - top)
    expected.own(edit, "place")


def look(expected: Expected, edit: Edit) -> None:
    """Size, weight or colour of all of a shape's text."""
    for paragraph in expected.shape(edit).all_paragraphs:
        for run in paragraph.runs:
            run.size = edit.get("size", run.size)
            run.bold = edit.get("bold", run.bold)
            run.colour = hexed(edit["colour"]) if "colour" in edit else run.colour
    expected.own(edit, "look")


def legible(expected: Expected, edit: Edit) -> None:
    """Text becomes legible: colour and size are free, rules of layout judge them."""
    expected.own(edit, "look", free=True)
    expected.own(edit, "fill", free=True)


def delete_shape(expected: Expected, edit: Edit) -> None:
    slide = expected.slide(edit)
    slide.shapes = [shape for shape in slide.shapes if shape.id != edit["shape"]]
    expected.own(edit, "is there")


def delete_slide(expected: Expected, edit: Edit) -> None:
    expected.deck.slides = [slide for slide in expected.deck.slides if slide.id != edit["slide"]]
    expected.own(edit, "is there")
    expected.owner.setdefault((0, 0, "order"), edit["name"])


def move_slide(expected: Expected, edit: Edit) -> None:
    """To a place, counted from 1 in the deck as it becomes."""
    slide = expected.slide(edit)
    expected.deck.slides.remove(slide)
    expected.deck.slides.insert(edit["to"] - 1, slide)
    expected.owner[0, 0, "order"] = edit["name"]


def add_slide(expected: Expected, edit: Edit) -> None:
    """A slide with a title and points, made like another one."""
    like = next(slide for slide in expected.deck.slides if slide.id == edit["like"])
    made = Slide(-len(expected.added) - 1, like.layout, like.background, [], like.under, "", hidden=False)
    expected.deck.slides.insert(edit["at"] - 1, made)
    expected.added[made.id] = edit
    expected.owner[made.id, 0, "new"] = edit["name"]
    expected.owner[0, 0, "order"] = edit["name"]


def notes(expected: Expected, edit: Edit) -> None:
    expected.slide(edit).notes = edit["text"]
    expected.own(edit, "notes")


EDITS: Mapping[str, Callable[[Expected, Edit], None]] = {
    one.__name__: one
    for one in (
        replace, paragraphs, cells, add_row, chart, chart_title, lay, align, look, legible, delete_shape,
        delete_slide, move_slide, add_slide, notes,
    )
}  # fmt: skip


def differences(expected: Expected, found: Deck) -> Iterator[Difference]:
    """Where a deck is not the expected one."""
    wanted = expected.deck
    if _far((wanted.width, wanted.height), (found.width, found.height)):
        yield Difference((0, 0, "size"), "the slides have another size")
    pairs = _pairs(wanted, found)
    taken = [n for n in pairs.values() if n is not None]
    for place, slide in enumerate(found.slides):
        if place not in taken:
            yield Difference((0, 0, "order"), f"slide {place + 1} (“{slide.title[:40]}”) was not asked for")
    if taken != sorted(taken):
        yield Difference((0, 0, "order"), "the slides stand in another order")
    for slide in wanted.slides:
        place = pairs[slide.id]
        if place is None:
            told = expected.added[slide.id]["title"] if slide.id in expected.added else slide.title
            aspect = "new" if slide.id in expected.added else "is there"
            yield Difference((slide.id, 0, aspect), f"the slide “{told[:40]}” is missing")
        elif slide.id in expected.added:
            for told in _new(expected.added[slide.id], slide, found.slides[place]):
                yield Difference((slide.id, 0, "new"), told)
        else:
            for one in _slide(slide, found.slides[place]):
                if one.path not in expected.free:
                    yield one


def _pairs(wanted: Deck, found: Deck) -> dict[int, int | None]:
    """Which slide is which: by id; a program that gives new ids is followed by titles, in order."""
    ids = {slide.id: place for place, slide in enumerate(found.slides)}
    same = {s.id for s in wanted.slides if s.id in ids and found.slides[ids[s.id]].title == s.title}
    by_id = len(same) * 2 >= len(wanted.slides)
    pairs: dict[int, int | None] = {s.id: ids.get(s.id) if by_id else None for s in wanted.slides}
    left = [n for n in range(len(found.slides)) if n not in pairs.values()]
    for slide in wanted.slides:
        if pairs[slide.id] is None and slide.id > 0 and not by_id:
            match = next((n for n in left if found.slides[n].title == slide.title), None)
            if match is not None:
                pairs[slide.id] = match
                left.remove(match)
    for slide in wanted.slides:
        if slide.id < 0 and left:
            pairs[slide.id] = left.pop(0)
    return pairs


def _new(edit: Edit, wanted: Slide, found: Slide) -> Iterator[str]:
    """What is wrong with a slide that was asked for."""
    if " ".join(found.title.split()) != edit["title"]:
        yield f"the new slide is titled “{found.title[:60]}”"
    if found.layout != wanted.layout:
        yield f"the new slide has the layout {found.layout!r}, not {wanted.layout!r}"
    points = list(edit["points"])
    told = [
        [p.text.strip() for p in shape.paragraphs if p.text.strip()]
        for shape in found.shapes
        if shape.kind == "text"
        and shape.text.strip()
        and not shape.hidden
        and shape.role not in ("title", "ctrTitle")
    ]
    if told != [points]:
        yield f"the new slide's points are {told!r}"
    if any(shape.kind != "text" for shape in found.shapes):
        yield "the new slide holds more than text"


def _slide(wanted: Slide, found: Slide) -> Iterator[Difference]:
    def differ(aspect: str, told: str) -> Difference:
        return Difference((wanted.id, 0, aspect), f"slide “{wanted.title[:40]}”: {told}")

    if wanted.background != found.background:
        yield differ("background", "another background")
    if wanted.layout != found.layout:
        yield differ("layout", f"the layout {found.layout!r}")
    if wanted.hidden != found.hidden:
        yield differ("hidden", "it is hidden or shown")
    if _words(wanted.notes) != _words(found.notes):
        yield differ("notes", f"its notes are “{found.notes[:60]}”")
    pairs, more = _matched(wanted.shapes, found.shapes)
    for shape in more:
        yield Difference((wanted.id, shape.id, "is there"), f"{_told(wanted, shape)} is new")
    for shape, other in pairs:
        if other is None:
            yield Difference((wanted.id, shape.id, "is there"), f"{_told(wanted, shape)} is gone")
            continue
        for aspect, told in _shape(shape, other):
            yield Difference((wanted.id, shape.id, aspect), f"{_told(wanted, shape)}: {told}")
    drawn = [found.shapes.index(other) for _, other in pairs if other is not None]
    if drawn != sorted(drawn):
        yield differ("layers", "objects lie in another order")


def _told(slide: Slide, shape: Shape) -> str:
    return f"slide “{slide.title[:40]}”, {shape.name!r}"


def _words(text: str) -> str:
    return " ".join(text.split())


def _matched(wanted: list[Shape], found: list[Shape]) -> tuple[list[tuple[Shape, Shape | None]], list[Shape]]:
    """Which shape is which: by id and kind, then by name, then by place; and those that are left."""
    left = list(found)
    pairs: dict[int, Shape | None] = {}
    for same in (
        lambda a, b: a.id == b.id and a.kind == b.kind,
        lambda a, b: a.name == b.name and a.kind == b.kind,
        lambda a, b: a.kind == b.kind and not _far(a.box, b.box),
    ):
        for shape in wanted:
            if pairs.get(shape.id) is None:
                match = next((other for other in left if same(shape, other)), None)
                pairs[shape.id] = match
                if match is not None:
                    left.remove(match)
    return [(shape, pairs[shape.id]) for shape in wanted], left


def _far(one: Sequence[float], other: Sequence[float]) -> bool:
    return any(abs(a - b) > PLACE for a, b in zip(one, other, strict=True))


def _shape(wanted: Shape, found: Shape) -> Iterator[tuple[str, str]]:
    """(aspect, what is different)."""
    sizes = [(s.box[2] - s.box[0], s.box[3] - s.box[1]) for s in (wanted, found)]
    if _far(*sizes):
        yield "box", f"its size is {sizes[1][0]:.0f} × {sizes[1][1]:.0f} pt"
    if _far(wanted.box[:2], found.box[:2]):
        yield "place", f"it stands at {found.box[0]:.0f}, {found.box[1]:.0f} pt"
    for aspect in ("role", "rotation", "hidden", "anchor", "wrap"):
        if getattr(wanted, aspect) != getattr(found, aspect):
            yield aspect, f"its {aspect} is {getattr(found, aspect)!r}"
    if (wanted.fill, wanted.veiled) != (found.fill, found.veiled):
        yield "fill", "it is filled otherwise"
    if wanted.digest != found.digest:
        yield "content", "its form or picture is another"
    if wanted.chart != found.chart:
        yield "chart", "its chart shows something else"
    yield from _paragraphs("text", wanted.paragraphs, found.paragraphs)
    yield from _cells(wanted.cells, found.cells)


def _paragraphs(aspect: str, wanted: list[Paragraph], found: list[Paragraph]) -> Iterator[tuple[str, str]]:
    if [p.text for p in wanted] != [p.text for p in found]:
        yield aspect, f"it says “{' / '.join(p.text for p in found)[:120]}”"
        return
    for one, other in zip(wanted, found, strict=True):
        if (one.level, one.align) != (other.level, other.align):
            yield "look", f"“{one.text[:40]}” has another level or alignment"
        if [(r.text, r.look, r.drawn) for r in one.runs] != [(r.text, r.look, r.drawn) for r in other.runs]:
            yield "look", f"“{one.text[:40]}” looks different"


def _cells(wanted: list[list[Cell]], found: list[list[Cell]]) -> Iterator[tuple[str, str]]:
    shapes = [[len(row) for row in table] for table in (wanted, found)]
    if shapes[0] != shapes[1]:
        yield "cells", f"it has {len(found)} rows of {shapes[1][0] if found else 0} cells"
        return
    for number, (line, others) in enumerate(zip(wanted, found, strict=True), 1):
        for place, (one, other) in enumerate(zip(line, others, strict=True), 1):
            where = f"row {number}, column {place}"
            for aspect, told in _paragraphs("cells", one.paragraphs, other.paragraphs):
                yield aspect, f"{where}: {told}"
            if (one.fill, one.spanned) != (other.fill, other.spanned):
                yield "fill", f"{where} is filled otherwise"
