"""A deck as it is shown: slides of shapes in drawing order, with the text, sizes and colours that inheritance
from layouts, masters and themes gives them.

Lengths are points. Nothing here judges; what a rule needs to know and cannot be told is None.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import charts
from colours import A, Rgb
from dress import Dress
from lxml import etree  # ty: ignore[missing-module-member]
from pptx import Presentation

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
POINT = 12700
TITLES = ("title", "ctrTitle")
READ = ("sp", "pic", "cxnSp", "grpSp", "graphicFrame", "nvGrpSpPr", "grpSpPr", "extLst")
DEFAULT_INSETS = (7.2, 3.6, 7.2, 3.6)


@dataclass
class Run:
    """A stretch of text of one look."""

    text: str
    size: float
    bold: bool
    italic: bool
    underline: bool
    font: str
    colour: Rgb | None
    """None is a colour that cannot be told."""
    drawn: bool = True
    """False for text without fill."""

    @property
    def look(self) -> tuple[Any, ...]:
        return (round(self.size, 1), self.bold, self.italic, self.underline, self.font, self.colour)


@dataclass
class Paragraph:
    runs: list[Run]
    level: int = 0
    align: str = ""
    indent: float = 0.0

    @property
    def text(self) -> str:
        return "".join(run.text for run in self.runs)

    @property
    def size(self) -> float:
        return max((run.size for run in self.runs if run.text.strip()), default=0.0)


@dataclass
class Cell:
    paragraphs: list[Paragraph]
    fill: Rgb | None
    """None where the table's style decides in a way that is not known."""
    spanned: bool = False

    @property
    def text(self) -> str:
        return "\n".join(paragraph.text for paragraph in self.paragraphs)


@dataclass
class Shape:
    """One object of a slide. `box` is left, top, right, bottom."""

    id: int
    name: str
    kind: str
    """text, table, chart, picture, line, other."""
    box: tuple[float, float, float, float]
    role: str = ""
    """The type of a placeholder."""
    rotation: float = 0.0
    fill: Rgb | None = None
    """What is drawn below its text; None where nothing is."""
    veiled: bool = False
    """Filled with what has no one colour: a picture, a pattern."""
    hidden: bool = False
    paragraphs: list[Paragraph] = field(default_factory=list)
    cells: list[list[Cell]] = field(default_factory=list)
    sides: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Widths of columns and heights of rows."""
    chart: charts.Chart | None = None
    digest: str = ""
    wrap: bool = True
    fit: str = ""
    """'' none, 'shrink' the text or 'grow' the shape."""
    insets: tuple[float, float, float, float] = DEFAULT_INSETS
    anchor: str = "t"

    @property
    def text(self) -> str:
        return "\n".join(paragraph.text for paragraph in self.paragraphs)

    @property
    def all_paragraphs(self) -> Iterator[Paragraph]:
        yield from self.paragraphs
        for row in self.cells:
            for cell in row:
                yield from cell.paragraphs

    @property
    def speaks(self) -> bool:
        """Whether it shows anything to read."""
        return self.kind in ("table", "chart") or bool(self.text.strip())


@dataclass
class Slide:
    id: int
    layout: str
    background: tuple[Rgb, ...]
    """Its colours; empty where it is a picture."""
    shapes: list[Shape]
    under: list[Shape]
    """What layout and master draw below."""
    notes: str
    hidden: bool
    unread: tuple[str, ...] = ()
    """Kinds of objects that no rule can look into."""

    @property
    def title(self) -> str:
        """The title's text, or that of the highest large text where there is no title."""
        for shape in self.shapes:
            if shape.role in TITLES and shape.text.strip() and not shape.hidden:
                return shape.text.strip()
        texts = [s for s in self.shapes if s.kind == "text" and s.text.strip() and not s.hidden]
        largest = max((p.size for s in texts for p in s.paragraphs), default=0.0)
        heads = [s for s in texts if max(p.size for p in s.paragraphs) >= 0.85 * largest]
        first = min(heads, key=lambda shape: shape.box[1], default=None)
        return next((p.text.strip() for p in first.paragraphs if p.text.strip()), "") if first else ""


@dataclass
class Deck:
    width: float
    height: float
    slides: list[Slide]


def read(data: bytes) -> Deck:
    """The deck in a file. Raises what python-pptx raises for a file that is none."""
    made = Presentation(io.BytesIO(data))
    width, height = (made.slide_width or 9144000) / POINT, (made.slide_height or 6858000) / POINT
    return Deck(width, height, [_slide(made, slide) for slide in made.slides])


def _slide(made: Any, slide: Any) -> Slide:
    dress = Dress(made, slide)
    tree = slide.shapes._spTree
    unread = sorted({tag for e in tree.iter("*") if (tag := _strange(e)) is not None})
    layout = slide.slide_layout
    under: list[Shape] = []
    if slide._element.get("showMasterSp") != "0":
        behind = [layout] if layout._element.get("showMasterSp") == "0" else [layout.slide_master, layout]
        under = [s for part in behind for s in _shapes(part.shapes, dress) if not s.role]
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    return Slide(
        id=slide.slide_id, layout=layout.name, background=dress.background(), under=under,
        shapes=list(_shapes(slide.shapes, dress)), notes=notes.text if notes is not None else "",
        hidden=slide._element.get("show") == "0", unread=tuple(unread),
    )  # fmt: skip


def _strange(element: Any) -> str | None:
    """What kind of object an element is that cannot be looked into; None for any other."""
    if not isinstance(element.tag, str):
        return None
    tag = element.tag.rpartition("}")[2]
    parent = element.getparent()
    inside = parent is not None and parent.tag in (f"{P}spTree", f"{P}grpSp")
    if inside and tag not in READ:
        return tag
    uri = element.get("uri", "") if tag == "graphicData" else ""
    return None if not uri or uri.endswith(("/table", "/chart")) else uri.rpartition("/")[2]


Frame = tuple[float, float, float, float]
"""Offset and scale of a group's inside, in points."""


def _shapes(found: Any, dress: Dress, frame: Frame = (0.0, 0.0, 1.0, 1.0)) -> Iterator[Shape]:
    """Shapes in drawing order, those of groups in their place."""
    for shape in found:
        left, top, right, bottom = _box(shape, frame)
        if shape.shape_type is not None and hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes, dress, _inside(shape, (left, top, right, bottom)))
        else:
            yield _shape(shape, dress, (left, top, right, bottom))


def _box(shape: Any, frame: Frame) -> tuple[float, float, float, float]:
    x, y, wide, high = ((side or 0) / POINT for side in (shape.left, shape.top, shape.width, shape.height))
    left, top = frame[0] + x * frame[2], frame[1] + y * frame[3]
    return (left, top, left + wide * frame[2], top + high * frame[3])


def _inside(group: Any, box: tuple[float, float, float, float]) -> Frame:
    at = group._element.find(f"{P}grpSpPr/{A}xfrm")
    offset, size = (at.find(f"{A}chOff"), at.find(f"{A}chExt")) if at is not None else (None, None)
    if offset is None or size is None:
        return (0.0, 0.0, 1.0, 1.0)
    wide, high = int(size.get("cx")) / POINT or 1.0, int(size.get("cy")) / POINT or 1.0
    across, down = (box[2] - box[0]) / wide, (box[3] - box[1]) / high
    return (
        box[0] - int(offset.get("x")) / POINT * across,
        box[1] - int(offset.get("y")) / POINT * down,
        across,
        down,
    )


def _shape(shape: Any, dress: Dress, box: tuple[float, float, float, float]) -> Shape:
    element = shape._element
    tag = element.tag.rpartition("}")[2]
    placeholder = element.find(f".//{P}nvPr/{P}ph")
    properties = element.find(f".//{P}cNvPr")
    found = Shape(
        id=shape.shape_id, name=shape.name, kind="other", box=box, rotation=getattr(shape, "rotation", 0.0),
        role="" if placeholder is None else placeholder.get("type", "obj"),
        hidden=properties is not None and properties.get("hidden") in ("1", "true"),
    )  # fmt: skip
    if tag == "cxnSp":
        found.kind = "line"
    elif tag == "pic":
        found.kind, found.veiled = "picture", True
        found.digest = hashlib.sha256(shape.image.blob).hexdigest()
    elif getattr(shape, "has_table", False):
        found.kind = "table"
        _table(found, shape, dress)
    elif getattr(shape, "has_chart", False):
        found.kind, found.chart = "chart", charts.read(shape.chart._chartSpace, dress)
    elif tag == "sp":
        found.kind = "text"
        _text(found, shape, dress)
    else:
        found.digest = hashlib.sha256(etree.tostring(element, method="c14n")).hexdigest()
    return found


def _text(found: Shape, shape: Any, dress: Dress) -> None:
    found.fill, found.veiled = dress.fill(shape)
    body = shape._element.find(f"{P}txBody")
    form = shape._element.find(f".//{A}prstGeom")
    found.digest = "" if form is None else form.get("prst", "")
    if body is None:
        return
    found.paragraphs = [_paragraph(p, shape, dress) for p in body.iterchildren(f"{A}p")]
    found.wrap = dress.frame(shape, "wrap") != "none"
    found.anchor = dress.frame(shape, "anchor") or "t"
    sides = []
    for side, usual in zip(("lIns", "tIns", "rIns", "bIns"), DEFAULT_INSETS, strict=True):
        told = dress.frame(shape, side)
        sides.append(int(told) / POINT if told is not None else usual)
    found.insets = (sides[0], sides[1], sides[2], sides[3])
    found.fit, scale = dress.fit(shape)
    for paragraph in found.paragraphs:
        for run in paragraph.runs:
            run.size *= scale


def _paragraph(element: Any, shape: Any, dress: Dress) -> Paragraph:
    """A paragraph of a shape or, with `shape` a cell's frame, of a table."""
    properties = element.find(f"{A}pPr")
    level = int(properties.get("lvl", 0)) if properties is not None else 0
    runs = []
    for part in element:
        tag = part.tag.rpartition("}")[2] if isinstance(part.tag, str) else ""
        if tag in ("r", "fld", "br"):
            text = "\v" if tag == "br" else "".join(t.text or "" for t in part.iterchildren(f"{A}t"))
            runs.append(Run(text, **dress.letters(part.find(f"{A}rPr"), shape, level)))
    align = dress.paragraph(properties, shape, level, "algn") or "l"
    indent = int(dress.paragraph(properties, shape, level, "marL") or 0) / POINT
    return Paragraph(_joined(runs), level, align, indent)


def _joined(runs: list[Run]) -> list[Run]:
    """Neighbours of one look made one, so that how a text was cut does not count."""
    found: list[Run] = []
    for run in runs:
        if not run.text:
            continue
        if found and found[-1].look == run.look and found[-1].drawn == run.drawn:
            found[-1].text += run.text
        else:
            found.append(run)
    return found


def _table(found: Shape, shape: Any, dress: Dress) -> None:
    table = shape.table
    look = dress.table(shape)
    for number, row in enumerate(table.rows):
        line = []
        for place, cell in enumerate(row.cells):
            style = look.cell(number, place)
            under = dress.cell_fill(cell._tc, style.fill)
            frame = dress.of_cell(shape, style)
            body = cell._tc.find(f"{A}txBody")
            paragraphs = (
                [] if body is None else [_paragraph(p, frame, dress) for p in body.iterchildren(f"{A}p")]
            )
            line.append(Cell(paragraphs, under, cell.is_spanned))
        found.cells.append(line)
    found.sides = ([c.width / POINT for c in table.columns], [r.height / POINT for r in table.rows])
