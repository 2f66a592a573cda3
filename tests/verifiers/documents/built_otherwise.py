"""Right decks and texts that are built in another way than the reference, and files that must not be read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

from docx import Document
from docx.shared import Pt as DocxPt
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.dml.color import RGBColor
from pptx.enum.chart import XL_CHART_TYPE
from pptx.enum.shapes import MSO_SHAPE
from pptx.util import Inches, Pt

from pipelines.office.briefs import Brief
from verifiers.documents.spec import Deliverable

WHITE, DARK = RGBColor(255, 255, 255), RGBColor(0x1B, 0x26, 0x3B)


def saved(made: Any) -> bytes:
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


def _box(
    slide: Any, at: tuple[float, float, float, float], text: str, size: float, colour: Any = None
) -> Any:
    box = slide.shapes.add_textbox(*(Inches(side) for side in at))
    box.text_frame.word_wrap = True
    for number, line in enumerate(text.split("\n")):
        paragraph = box.text_frame.paragraphs[0] if number == 0 else box.text_frame.add_paragraph()
        paragraph.text = line
        paragraph.runs[0].font.size = Pt(size)
        if colour is not None:
            paragraph.runs[0].font.color.rgb = colour
    return box


def _start(asked: Deliverable, *, dark: bool) -> tuple[Any, Callable[[str], Any]]:
    made = Presentation()
    made.slide_width, made.slide_height = Inches(13.333), Inches(7.5)

    def slide(title: str) -> Any:
        one = made.slides.add_slide(made.slide_layouts[6])
        if dark:
            one.background.fill.solid()
            one.background.fill.fore_color.rgb = DARK
        _box(one, (0.6, 0.4, 12, 1), title, 32, WHITE if dark else None)
        return one

    slide(asked.title)
    return made, slide


def in_sentences(told: Brief, asked: Deliverable) -> bytes:
    """Dark ground, text boxes alone, figures in sentences of their own."""
    made, slide = _start(asked, dark=True)
    figures = [
        f"{f.measure.name} went from {f.written(f.previous)} in {told.before} to {f.written(f.current)}"
        for f in told.figures
    ]
    _box(slide("Key figures"), (0.6, 1.6, 12, 4), "\n".join(figures), 20, WHITE)
    parts = [f"{name} had {value:,}" for name, value in told.parts]
    _box(slide(told.detail), (0.6, 1.6, 12, 4), "\n".join(parts), 20, WHITE)
    _box(slide("Risks"), (0.6, 1.6, 12, 3), "\n".join(told.risks), 20, WHITE)
    _box(slide("Decision"), (0.6, 1.6, 12, 2), f"We ask the board: {told.decision}.", 24, WHITE)
    return saved(made)


def in_cards(told: Brief, asked: Deliverable) -> bytes:
    """Cards: a filled rectangle each, the figure large, its name below; a bar chart; numbered titles."""
    made, slide = _start(asked, dark=False)
    first = slide("1. Key figures")
    for number, figure in enumerate(told.figures):
        left = 0.6 + 3.1 * number
        card = first.shapes.add_shape(
            MSO_SHAPE.ROUNDED_RECTANGLE, Inches(left), Inches(2), Inches(2.8), Inches(3)
        )
        card.fill.solid()
        card.fill.fore_color.rgb = RGBColor(0xEE, 0xF2, 0xF7)
        was = f"{told.before}: {figure.written(figure.previous)}"
        now = f"{figure.written(figure.current)}\n{figure.measure.name}\n{was}"
        _box(first, (left + 0.1, 2.2, 2.6, 2.5), now, 16)
    second = slide(f"2. {told.detail}")
    data = CategoryChartData()
    data.categories = ["Value"]
    for name, value in told.parts:
        data.add_series(name, (value,))
    second.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, Inches(0.6), Inches(1.7), Inches(9), Inches(5), data)
    _box(slide("3. Risks"), (0.6, 1.6, 12, 3), "\n".join(f"- {risk}" for risk in told.risks), 20)
    _box(slide("4. Decision"), (0.6, 1.6, 12, 2), told.decision, 24)
    return saved(made)


def in_tables(told: Brief, asked: Deliverable) -> bytes:
    """Tables with measures across and periods down, and parts in a table too."""
    made, slide = _start(asked, dark=False)
    rows = [
        ["Quarter", *(f.measure.name for f in told.figures)],
        [told.before, *(f.written(f.previous) for f in told.figures)],
        [told.period, *(f.written(f.current) for f in told.figures)],
    ]
    for title, table in (
        ("Key figures", rows), (told.detail, [["Part", "Value"], *([n, f"{v:,}"] for n, v in told.parts)]),
        ("Risks", [["Risk"], *([risk] for risk in told.risks)]),
        ("Decision", [["Decision"], [told.decision]]),
    ):  # fmt: skip
        frame = slide(title).shapes.add_table(
            len(table), len(table[0]), Inches(0.6), Inches(1.8), Inches(12), Inches(0.5 * len(table))
        )
        for number, row in enumerate(table):
            for place, text in enumerate(row):
                frame.table.cell(number, place).text = text
    return saved(made)


def memo_in_sentences(told: Brief, asked: Deliverable) -> bytes:
    """A text without a table, in another typeface, with numbered headings."""
    made = Document()
    made.styles["Normal"].font.name, made.styles["Normal"].font.size = "Georgia", DocxPt(12)
    made.add_paragraph(asked.title, style="Title")
    made.add_paragraph(
        f"To {told.work.audience}. This memo sums up the quarter and ends with what we ask for."
    )
    for number, section in enumerate(asked.sections, 1):
        made.add_heading(f"{number}. {section.heading}", 2)
        if section.heading == "Key figures":
            for f in told.figures:
                made.add_paragraph(
                    f"{f.measure.name} stood at {f.written(f.current)} in {told.period}, after "
                    f"{f.written(f.previous)} in {told.before}."
                )
        for fact in section.facts if section.heading == told.detail else ():
            paragraph = made.add_paragraph(f"{fact.label}: ")
            paragraph.add_run(fact.written).bold = True
        for text in section.texts:
            made.add_paragraph(f"{text}.")
    return saved(made)


def repacked(data: bytes, change: Callable[[str, bytes], bytes] = lambda n, d: d, **more: bytes) -> bytes:
    """The same file with parts changed and added (`__` stands for `/`)."""
    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
        for name, content in more.items():
            target.writestr(name.replace("__", "/"), content)
    return found.getvalue()


def _bomb() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for number in range(4):
            target.writestr(f"ppt/slides/slide{number}.xml", b" " * (60 << 20))
    return found.getvalue()


ENTITY = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


def _entity(name: str, data: bytes) -> bytes:
    return data.replace(b"?>", b"?>" + ENTITY, 1) if name == "ppt/slides/slide1.xml" else data


def _halved(name: str, data: bytes) -> bytes:
    return data[: len(data) // 2] if name == "ppt/slides/slide1.xml" else data


LINK = (
    b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="rId1" '
    b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image" '
    b'Target="http://192.0.2.1/x.png" TargetMode="External"/></Relationships>'
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zip bomb": (lambda data: _bomb(), "unpacks to"),
    "entity": (lambda data: repacked(data, _entity), "entities"),
    "password": (lambda data: OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
    "binary": (lambda data: OLE + bytes(600), "before 2007"),
    "cut off": (lambda data: data[:900], "corrupt"),
    "no archive": (lambda data: b"hello", "corrupt"),
    "half a slide": (lambda data: repacked(data, _halved), "corrupt"),
    "a text": (lambda data: saved(Document()), "holds no presentation"),
    "macros": (lambda data: repacked(data, **{"ppt__vbaProject.bin": b"x"}), "macros"),
    "linked picture": (
        lambda data: repacked(data, **{"ppt__slides___rels__extra.rels": LINK}), "outside itself",
    ),
    "too many elements": (lambda data: repacked(data, **{"ppt__x.xml": b"<b/>" * 700_000}), "elements"),
}  # fmt: skip
