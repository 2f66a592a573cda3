"""Forged decks and texts: what holds the right words and does not show them, or shows others.

Each turns a task's reference into a file that must earn nothing; they are tried for a task's certificate
(`Trial`s of its family). They read only files of our own making.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from docx import Document
from docx.shared import Pt as DocxPt
from docx.shared import RGBColor as DocxRgb
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.shapes import MSO_SHAPE
from pptx.util import Inches, Pt


class NoHold(Exception):
    """The task gives this forgery nothing to take hold of."""


Forge = Callable[[bytes], bytes]


def _saved(made: Any) -> bytes:
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


def _content(made: Any) -> Iterator[tuple[Any, Any]]:
    """Slides and what they show besides their titles."""
    for slide in made.slides:
        for shape in slide.shapes:
            if shape != slide.shapes.title:
                yield slide, shape


def _frames(shape: Any) -> Iterator[Any]:
    if shape.has_text_frame:
        yield shape.text_frame
    if getattr(shape, "has_table", False):
        yield from (cell.text_frame for cell in shape.table.iter_cells())


def _runs(made: Any) -> Iterator[Any]:
    for slide in made.slides:
        for shape in slide.shapes:
            for frame in _frames(shape):
                for paragraph in frame.paragraphs:
                    yield from paragraph.runs


def off_slide(data: bytes) -> bytes:
    """Everything but titles, beside the slide."""
    made = Presentation(io.BytesIO(data))
    for _, shape in _content(made):
        shape.left, shape.top = Inches(20), Inches(1)
        shape.width, shape.height = Inches(8), Inches(4)
    return _saved(made)


def notes_only(data: bytes) -> bytes:
    """Everything but titles, in the speaker notes."""
    made = Presentation(io.BytesIO(data))
    for slide, shape in list(_content(made)):
        told = "\n".join(frame.text for frame in _frames(shape))
        notes = slide.notes_slide.notes_text_frame
        notes.text = f"{notes.text}\n{told}"
        shape._element.getparent().remove(shape._element)
    return _saved(made)


def white_on_white(data: bytes) -> bytes:
    """All text in the colour of the ground."""
    made = Presentation(io.BytesIO(data))
    for run in _runs(made):
        run.font.color.rgb = RGBColor(255, 255, 255)
    return _saved(made)


def hidden_shapes(data: bytes) -> bytes:
    """Everything but titles, marked as hidden."""
    made = Presentation(io.BytesIO(data))
    for _, shape in _content(made):
        shape._element.xpath(".//p:cNvPr")[0].set("hidden", "1")
    return _saved(made)


def unfilled_text(data: bytes) -> bytes:
    """All text without a fill."""
    made = Presentation(io.BytesIO(data))
    for run in _runs(made):
        run.font.fill.background()
    return _saved(made)


def tiny(data: bytes) -> bytes:
    """All text in one point."""
    made = Presentation(io.BytesIO(data))
    for run in _runs(made):
        run.font.size = Pt(1)
    return _saved(made)


def covered(data: bytes) -> bytes:
    """A white sheet over every slide."""
    made = Presentation(io.BytesIO(data))
    for slide in made.slides:
        sheet = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, 0, 0, made.slide_width, made.slide_height)
        sheet.fill.solid()
        sheet.fill.fore_color.rgb = RGBColor(255, 255, 255)
    return _saved(made)


def hidden_slides(data: bytes) -> bytes:
    """Every slide hidden."""
    made = Presentation(io.BytesIO(data))
    for slide in made.slides:
        slide._element.set("show", "0")
    return _saved(made)


def heaped(data: bytes) -> bytes:
    """One slide with all words first and all figures after them."""
    made = Presentation(io.BytesIO(data))
    told = " ".join(run.text for run in _runs(made))
    for _, shape in list(_content(made)):
        shape._element.getparent().remove(shape._element)
    slide = made.slides.add_slide(made.slide_layouts[6])
    box = slide.shapes.add_textbox(Inches(0.5), Inches(0.5), Inches(9), Inches(6.5))
    box.text_frame.word_wrap = True
    figures = re.findall(r"\d[\d,.]*%?", told)
    box.text_frame.text = f"{re.sub(r'[0-9][0-9,.]*%?', '', told)} {' '.join(figures)}"
    return _saved(made)


def rebuilt(data: bytes) -> bytes:
    """Every text in a plain box on an empty slide of a new deck."""
    source, made = Presentation(io.BytesIO(data)), Presentation()
    for slide in source.slides:
        other = made.slides.add_slide(made.slide_layouts[6])
        for shape in slide.shapes:
            if shape.has_text_frame:
                box = other.shapes.add_textbox(shape.left, shape.top, shape.width, shape.height)
                box.text_frame.text = shape.text_frame.text
    return _saved(made)


def other_slide(data: bytes) -> bytes:
    """One more word on the first slide."""
    made = Presentation(io.BytesIO(data))
    made.slides[0].shapes.title.text_frame.paragraphs[0].runs[0].text += " (draft TBD)"
    return _saved(made)


def other_figures_on_slides(data: bytes) -> bytes:
    """Figures with one digit changed."""
    made = Presentation(io.BytesIO(data))
    found = False
    for _, shape in _content(made):
        for frame in _frames(shape):
            for run in (run for paragraph in frame.paragraphs for run in paragraph.runs):
                changed = _misread(run.text)
                found, run.text = found or changed != run.text, changed
    if not found:
        raise NoHold("no slide holds a figure in its text")
    return _saved(made)


def _misread(text: str) -> str:
    return re.sub(r"\d(?=[\d,.]{2})", lambda m: str((int(m[0]) + 3) % 9 + 1), text, count=1)


def _text_runs(made: Any) -> Iterator[Any]:
    for paragraph in made.paragraphs:
        yield from paragraph.runs
    for table in made.tables:
        for row in table.rows:
            for cell in row.cells:
                for paragraph in cell.paragraphs:
                    yield from paragraph.runs


def _each_run(change: Callable[[Any], None]) -> Forge:
    def forge(data: bytes) -> bytes:
        made = Document(io.BytesIO(data))
        for run in _text_runs(made):
            change(run)
        return _saved(made)

    return forge


def _vanish(run: Any) -> None:
    run.font.hidden = True


def _white(run: Any) -> None:
    run.font.color.rgb = DocxRgb(255, 255, 255)


def _tiny(run: Any) -> None:
    run.font.size = DocxPt(1)


def _misreport(run: Any) -> None:
    run.text = _misread(run.text)


def in_header(data: bytes) -> bytes:
    """All of the text in the page header."""
    made = Document(io.BytesIO(data))
    told = "\n".join(run.text for run in _text_runs(made))
    made.sections[0].header.paragraphs[0].text = told
    body = made.element.body
    for element in list(body)[:-1]:
        body.remove(element)
    return _saved(made)


def without_headings(data: bytes) -> bytes:
    """Everything in one style, so that nothing is a section; figures are gone, too."""
    made = Document(io.BytesIO(data))
    for paragraph in made.paragraphs:
        paragraph.style = made.styles["Normal"]
    for table in list(made.tables):
        table._element.getparent().remove(table._element)
    return _saved(made)


DECKS: Mapping[str, Forge] = {
    one.__name__: one
    for one in (
        off_slide, notes_only, white_on_white, hidden_shapes, unfilled_text, tiny, covered, hidden_slides,
        heaped, rebuilt, other_slide, other_figures_on_slides,
    )
}  # fmt: skip
TEXTS: Mapping[str, Forge] = {
    "hidden_text": _each_run(_vanish),
    "white_text": _each_run(_white),
    "tiny_text": _each_run(_tiny),
    "other_figures": _each_run(_misreport),
    "in_header": in_header,
    "without_headings": without_headings,
}


def forgeries(answer: str) -> Mapping[str, Forge]:
    """Those of a file's kind."""
    return DECKS if answer.endswith(".pptx") else TEXTS
