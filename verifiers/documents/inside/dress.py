"""How a slide dresses what is on it: sizes, colours and frames, looked up the way PowerPoint does: the run,
the shape's own list style, the placeholder of its layout, that of the master, the master's text styles, the
presentation's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from colours import BLACK, WHITE, A, Rgb, shown, theme_colours
from lxml import etree  # ty: ignore[missing-module-member]

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
SIZE = 18.0
THEME = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/theme"
STYLES = {"title": "titleStyle", "ctrTitle": "titleStyle"}
FILLS = ("noFill", "solidFill", "gradFill", "blipFill", "pattFill", "grpFill")
MEDIUM_2 = "{5C22544A-7EE6-4342-B048-85BDC9FD1C3A}"
"""Medium Style 2, Accent 1: what tables are given by default."""


@dataclass(frozen=True)
class CellStyle:
    fill: Rgb | None
    """None for a style that is not known here, or for no fill: then the slide shows through."""
    ink: Rgb | None
    bold: bool = False


@dataclass(frozen=True)
class CellOf:
    """Where a cell's text takes what it does not say: its table, and the table's style."""

    shape: Any
    ink: Rgb | None
    bold: bool


@dataclass(frozen=True)
class TableStyle:
    theme: dict[str, Rgb]
    known: bool
    header: bool
    first: bool

    def cell(self, row: int, column: int) -> CellStyle:
        if not self.known:
            return CellStyle(None, None)
        accent = self.theme.get("accent1", (79, 129, 189))
        if (self.header and row == 0) or (self.first and column == 0):
            return CellStyle(accent, self.theme.get("lt1", WHITE), bold=True)
        light = tuple(round(part * 0.2 + 255 * 0.8) for part in accent)
        return CellStyle((light[0], light[1], light[2]), self.theme.get("dk1", BLACK))


class Dress:
    """Of one slide."""

    def __init__(self, made: Any, slide: Any) -> None:
        self.slide, self.layout = slide, slide.slide_layout
        self.master = self.layout.slide_master
        theme = etree.fromstring(
            self.master.part.part_related_by(THEME).blob, etree.XMLParser(resolve_entities=False)
        )
        self.theme = theme_colours(theme)
        mapping = self.master._element.find(f"{P}clrMap")
        self.mapping = dict(mapping.attrib) if mapping is not None else {}
        for part in (self.layout, slide):
            other = part._element.find(f"{P}clrMapOvr/{A}overrideClrMapping")
            self.mapping |= dict(other.attrib) if other is not None else {}
        self.styles = self.master._element.find(f"{P}txStyles")
        self.defaults = made.part._element.find(f"{P}defaultTextStyle")
        self._background: tuple[Rgb, ...] | None = None

    def colour(self, fill: Any, under: Rgb = WHITE) -> Rgb | None:
        return shown(fill, self.theme, self.mapping, under)

    def background(self) -> tuple[Rgb, ...]:
        """Colours of the slide's ground; empty for a picture."""
        if self._background is None:
            self._background = self._ground()
        return self._background

    def _ground(self) -> tuple[Rgb, ...]:
        for part in (self.slide, self.layout, self.master):
            ground = part._element.find(f"{P}cSld/{P}bg")
            if ground is None:
                continue
            reference = ground.find(f"{P}bgRef")
            if reference is not None:
                rgb = self.colour(reference)
                return (rgb,) if rgb else ()
            fill = next((e for e in ground.iter() if _tag(e) in FILLS), None)
            if fill is None or _tag(fill) == "noFill":
                return (WHITE,)
            if _tag(fill) == "solidFill":
                rgb = self.colour(fill)
                return (rgb,) if rgb else ()
            stops = [self.colour(stop) for stop in fill.iter(f"{A}gs")]
            return tuple(stop for stop in stops if stop) if stops and None not in stops else ()
        return (WHITE,)

    def _ancestors(self, shape: Any) -> Iterator[Any]:
        """The shape and the placeholders that it inherits from."""
        while shape is not None:
            yield shape
            shape = getattr(shape, "_base_placeholder", None)

    def fill(self, shape: Any) -> tuple[Rgb | None, bool]:
        """Its colour, and whether it is filled with something else."""
        ground = self.background()[0] if self.background() else WHITE
        for one in self._ancestors(shape):
            properties = one._element.find(f"{P}spPr")
            fill = next((e for e in properties if _tag(e) in FILLS), None) if properties is not None else None
            if fill is not None:
                kind = _tag(fill)
                if kind == "noFill":
                    return None, False
                rgb = self.colour(fill, ground) if kind == "solidFill" else None
                return rgb, rgb is None
        reference = shape._element.find(f"{P}style/{A}fillRef")
        if reference is not None and reference.get("idx") != "0":
            return self.colour(reference, ground), False
        return None, False

    def series_drawn(self, properties: Any) -> bool:
        """Whether a series of a chart can be seen on this slide."""
        fill = next((e for e in properties if _tag(e) in FILLS), None) if properties is not None else None
        line = properties.find(f"{A}ln") if properties is not None else None
        lined = line is not None and line.find(f"{A}noFill") is None and len(line)
        if fill is None or lined:
            return True
        rgb = self.colour(fill) if _tag(fill) == "solidFill" else None
        return _tag(fill) != "noFill" and (rgb is None or rgb not in self.background())

    def _bodies(self, shape: Any) -> Iterator[Any]:
        for one in self._ancestors(shape):
            body = one._element.find(f"{P}txBody")
            if body is not None:
                yield body

    def frame(self, shape: Any, key: str) -> str | None:
        """An attribute of its text's frame."""
        for body in self._bodies(shape):
            properties = body.find(f"{A}bodyPr")
            if properties is not None and properties.get(key) is not None:
                return properties.get(key)
        return None

    def fit(self, shape: Any) -> tuple[str, float]:
        """'shrink', 'grow' or '', and the scale that is already applied."""
        for body in self._bodies(shape):
            for choice in body.find(f"{A}bodyPr") if body.find(f"{A}bodyPr") is not None else ():
                kind = _tag(choice)
                if kind == "normAutofit":
                    return "shrink", int(choice.get("fontScale", "100000").rstrip("%")) / 100_000
                if kind in ("spAutoFit", "noAutofit"):
                    return ("grow" if kind == "spAutoFit" else ""), 1.0
        return "", 1.0

    def _levels(self, shape: Any, level: int) -> Iterator[Any]:
        """`lvlNpPr` elements, nearest first."""
        tag = f"{A}lvl{level + 1}pPr"
        cell = isinstance(shape, CellOf)
        placeholder = None
        if not cell:
            for body in self._bodies(shape):
                found = body.find(f"{A}lstStyle/{tag}")
                if found is not None:
                    yield found
            placeholder = shape._element.find(f".//{P}nvPr/{P}ph")
        if placeholder is not None and self.styles is not None:
            style = self.styles.find(f"{P}{STYLES.get(placeholder.get('type', 'obj'), 'bodyStyle')}/{tag}")
            if style is not None:
                yield style
        if placeholder is None and self.defaults is not None:
            found = self.defaults.find(tag)
            if found is not None:
                yield found

    def paragraph(self, properties: Any, shape: Any, level: int, key: str) -> str | None:
        for one in (properties, *self._levels(shape, level)):
            if one is not None and one.get(key) is not None:
                return one.get(key)
        return None

    def letters(self, own: Any, shape: Any, level: int) -> dict[str, Any]:
        """What a run looks like, as keywords of `deck.Run`."""
        chain = [own] if own is not None else []
        chain += [e for e in (one.find(f"{A}defRPr") for one in self._levels(shape, level)) if e is not None]
        told = {key: _first(chain, key) for key in ("sz", "b", "i", "u")}
        fonts = [e.get("typeface") for one in chain if (e := one.find(f"{A}latin")) is not None]
        colour, drawn = self._ink(own, chain, shape)
        return {
            "size": int(told["sz"]) / 100 if told["sz"] else SIZE,
            "bold": told["b"] in ("1", "true")
            or (told["b"] is None and isinstance(shape, CellOf) and shape.bold),
            "italic": told["i"] in ("1", "true"),
            "underline": told["u"] not in (None, "none"),
            "font": fonts[0] if fonts and not fonts[0].startswith("+") else "",
            "colour": colour,
            "drawn": drawn,
        }

    def _ink(self, own: Any, chain: list[Any], shape: Any) -> tuple[Rgb | None, bool]:
        ground = self.background()[0] if self.background() else WHITE
        cell = isinstance(shape, CellOf)
        reference = None if cell else shape._element.find(f"{P}style/{A}fontRef")
        for one in chain:
            if one is not own and (cell or (reference is not None and len(reference))):
                break  # a style's own colour comes before the defaults'
            fill = next((e for e in one if _tag(e) in FILLS), None)
            if fill is not None:
                if _tag(fill) == "noFill":
                    return None, False
                return (self.colour(fill, ground) if _tag(fill) == "solidFill" else None), True
        if cell:
            return shape.ink or self.theme.get("dk1", BLACK), True
        if reference is not None and len(reference):
            return self.colour(reference, ground), True
        return self.theme.get(self.mapping.get("tx1", "dk1"), BLACK), True

    def table(self, shape: Any) -> TableStyle:
        properties = shape._element.find(f".//{A}tblPr")
        style = properties.find(f"{A}tableStyleId") if properties is not None else None
        known = style is not None and style.text == MEDIUM_2
        told = properties.attrib if properties is not None else {}
        return TableStyle(self.theme, known, told.get("firstRow") == "1", told.get("firstCol") == "1")

    def of_cell(self, shape: Any, style: CellStyle) -> CellOf:
        return CellOf(shape, style.ink, style.bold)

    def cell_fill(self, cell: Any, style: Rgb | None) -> Rgb | None:
        """The ground of a cell's text: its own, that of its style, or the slide's."""
        ground = self.background()[0] if self.background() else None
        properties = cell.find(f"{A}tcPr")
        fill = next((e for e in properties if _tag(e) in FILLS), None) if properties is not None else None
        if fill is None:
            return style or ground
        if _tag(fill) == "noFill":
            return ground
        return self.colour(fill, ground or WHITE) if _tag(fill) == "solidFill" else None


def _tag(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _first(chain: list[Any], key: str) -> str | None:
    return next((value for one in chain if (value := one.get(key)) is not None), None)
