"""A text document as it is read: headings, paragraphs and tables in order, with the look of what is visible.

Deleted revisions, hidden text, text boxes, comments, headers and footers are not part of the text. Lengths
are points.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from colours import BLACK, WHITE, Rgb, hexed
from deck import Cell, Paragraph, Run
from docx import Document

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
TWIP, EMU = 20, 12700
SIZE = 10.0
SKIPPED = (f"{W}del", f"{W}moveFrom", f"{W}txbxContent")
OFF = ("0", "false", "none", "off")


@dataclass
class Block:
    """A paragraph or a table of the body."""

    kind: str
    """heading, paragraph, table"""
    paragraph: Paragraph | None = None
    level: int = 0
    """Of a heading: 0 for the title."""
    cells: list[list[Cell]] = field(default_factory=list)
    wide: float = 0.0
    """Of a table, or of the widest picture."""
    ground: Rgb | None = WHITE

    @property
    def text(self) -> str:
        if self.paragraph is not None:
            return self.paragraph.text
        return "\n".join("\t".join(cell.text for cell in row) for row in self.cells)

    @property
    def drawn(self) -> Iterator[tuple[Paragraph, Rgb | None]]:
        """Its paragraphs and what they stand on."""
        if self.paragraph is not None:
            yield self.paragraph, self.ground
        for row in self.cells:
            for cell in row:
                for paragraph in cell.paragraphs:
                    yield paragraph, cell.fill


@dataclass
class Memo:
    blocks: list[Block]
    room: float
    """Width of the text between the margins."""

    @property
    def words(self) -> int:
        return sum(len(block.text.split()) for block in self.blocks)


def read(data: bytes) -> Memo:
    """The document in a file. Raises what python-docx raises for a file that is none."""
    made = Document(io.BytesIO(data))
    styles = _Styles(made)
    blocks = [
        styles.table(element) if element.tag == f"{W}tbl" else styles.block(element)
        for element in _body(made.element.body)
    ]
    section = made.sections[0]
    sides = (section.page_width, section.left_margin, section.right_margin)
    page, left, right = (int(side or 0) / EMU for side in sides)
    return Memo(blocks, page - left - right)


def _body(body: Any) -> Iterator[Any]:
    """Paragraphs and tables, those of content controls too."""
    for element in body:
        if element.tag in (f"{W}p", f"{W}tbl"):
            yield element
        elif element.tag == f"{W}sdt":
            inside = element.find(f"{W}sdtContent")
            yield from _body(inside) if inside is not None else ()


class _Styles:
    """Looks up what paragraphs and runs inherit."""

    def __init__(self, made: Any) -> None:
        root = made.styles.element
        self.styles = {style.get(f"{W}styleId"): style for style in root.iterchildren(f"{W}style")}
        self.usual = next(
            (
                style.get(f"{W}styleId")
                for style in self.styles.values()
                if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") == "1"
            ),
            "",
        )
        defaults = root.find(f"{W}docDefaults/{W}rPrDefault/{W}rPr")
        self.defaults = [defaults] if defaults is not None else []
        ground = made.element.find(f"{W}background")
        self.page = (hexed(ground.get(f"{W}color")) if ground is not None else None) or WHITE

    def chain(self, name: str | None) -> Iterator[Any]:
        seen: set[str] = set()
        while name and name in self.styles and name not in seen:
            seen.add(name)
            yield self.styles[name]
            based = self.styles[name].find(f"{W}basedOn")
            name = based.get(f"{W}val") if based is not None else None

    def block(self, element: Any) -> Block:
        properties = element.find(f"{W}pPr")
        style = _value(properties, "pStyle") or self.usual
        paragraph, ground = self.paragraph(element, self.page)
        level = self.heading(style, properties)
        wide = max(
            (int(e.get("cx", 0)) / EMU for e in element.iter(f"{DRAWING}extent")), default=0.0
        )  # pictures
        kind = "paragraph" if level is None or not paragraph.text.strip() else "heading"
        return Block(kind, paragraph, level or 0, wide=wide, ground=ground)

    def heading(self, style: str, properties: Any) -> int | None:
        """0 for the title, 1 to 9; None for text."""
        own = _value(properties, "outlineLvl")
        if own is not None and own.isdigit() and int(own) < 9:
            return int(own) + 1
        for one in self.chain(style):
            name = (_value(one, "name") or "").lower()
            if name == "title":
                return 0
            if name.startswith("heading ") and name[8:].isdigit():
                return int(name[8:])
        return None

    def paragraph(self, element: Any, under: Rgb | None) -> tuple[Paragraph, Rgb | None]:
        """A paragraph and the ground that it stands on."""
        properties = element.find(f"{W}pPr")
        style = _value(properties, "pStyle") or self.usual
        ground = _shade(properties) or next(
            (s for one in self.chain(style) if (s := _shade(one.find(f"{W}pPr")))), under
        )
        runs = [
            run
            for part in element.iter(f"{W}r")
            if not any(a.tag in SKIPPED for a in _upto(part, element))
            and (run := self.run(part, style)) is not None
        ]
        return Paragraph(runs), ground

    def run(self, element: Any, style: str) -> Run | None:
        """None for what is hidden."""
        own = element.find(f"{W}rPr")
        chain = [own] if own is not None else []
        for name in (_value(own, "rStyle"), style):
            chain += [e for one in self.chain(name) if (e := one.find(f"{W}rPr")) is not None]
        chain += self.defaults
        if _flag(chain, "vanish"):
            return None
        size = next((v for one in chain if (v := _value(one, "sz"))), None)
        ink = next((v for one in chain if (v := _value(one, "color"))), None)
        fonts = [e.get(f"{W}ascii") or "" for one in chain if (e := one.find(f"{W}rFonts")) is not None]
        text = "".join(
            {"t": part.text or "", "tab": "\t", "br": "\v", "cr": "\v", "noBreakHyphen": "-"}.get(
                part.tag.rpartition("}")[2], ""
            )
            for part in element
            if isinstance(part.tag, str)
        )
        return Run(
            text, int(size) / 2 if size else SIZE, _flag(chain, "b"), _flag(chain, "i"), _flag(chain, "u"),
            fonts[0] if fonts else "", BLACK if ink in (None, "auto") else hexed(ink),
        )  # fmt: skip

    def table(self, element: Any) -> Block:
        cells = []
        for row in element.iterchildren(f"{W}tr"):
            line = []
            for cell in row.iterchildren(f"{W}tc"):
                ground = _shade(cell.find(f"{W}tcPr")) or self.page
                paragraphs = [self.paragraph(p, ground)[0] for p in cell.iterchildren(f"{W}p")]
                line.append(Cell(paragraphs, ground))
            cells.append(line)
        grid = element.find(f"{W}tblGrid")
        wide = sum(int(c.get(f"{W}w", 0)) / TWIP for c in grid) if grid is not None else 0.0
        return Block("table", cells=cells, wide=wide)


def _upto(element: Any, top: Any) -> Iterator[Any]:
    for one in element.iterancestors():
        if one is top:
            return
        yield one


def _value(properties: Any, name: str) -> str | None:
    found = properties.find(f"{W}{name}") if properties is not None else None
    return found.get(f"{W}val") if found is not None else None


def _flag(chain: list[Any], name: str) -> bool:
    """A property that is on by being there; the nearest word counts."""
    for one in chain:
        found = one.find(f"{W}{name}")
        if found is not None:
            return found.get(f"{W}val", "1") not in OFF
    return False


def _shade(properties: Any) -> Rgb | None:
    found = properties.find(f"{W}shd") if properties is not None else None
    return hexed(found.get(f"{W}fill")) if found is not None else None
