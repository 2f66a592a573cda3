"""References: decks and texts built from a deliverable, and the sources that they are made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from docx import Document
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches, Pt

from pipelines.office.briefs import Brief, steady
from verifiers.documents.spec import Deliverable, Fact, Section

TITLE, BULLETS, TITLE_ONLY = 0, 1, 5
Grid = list[list[str]]


def grid(section: Section) -> Grid:
    """A section's figures as a table: a row a name, a column a period."""
    periods = list(dict.fromkeys(fact.period for fact in section.facts))
    names = list(dict.fromkeys(fact.label for fact in section.facts))
    known = {(fact.label, fact.period): fact for fact in section.facts}
    return [
        ["Figure", *(period or "Value" for period in periods)],
        *([_named(known[name, periods[0]]), *(known[name, p].written for p in periods)] for name in names),
    ]


def _named(fact: Fact) -> str:
    return fact.label if fact.unit in ("", "%") else f"{fact.label} ({fact.unit})"


def deck(asked: Deliverable, audience: str) -> bytes:
    """A deck that is what was asked for."""
    made = new_deck(asked, audience)
    written = io.BytesIO()
    made.save(written)
    return steady(written.getvalue())


def new_deck(asked: Deliverable, audience: str) -> Any:
    """The same, open."""
    made = Presentation()
    first = made.slides.add_slide(made.slide_layouts[TITLE])
    first.shapes.title.text = asked.title
    first.placeholders[1].text = f"For {audience}"
    for section in asked.sections:
        slide = made.slides.add_slide(made.slide_layouts[BULLETS if section.texts else TITLE_ONLY])
        slide.shapes.title.text = section.heading
        if section.texts:
            fill_points(slide.placeholders[1], section.texts)
        elif any(fact.period for fact in section.facts):
            add_table(slide, grid(section))
        else:
            add_chart(slide, section)
    return made


def fill_points(shape: Any, texts: Sequence[str]) -> None:
    frame = shape.text_frame
    frame.text = texts[0]
    for text in texts[1:]:
        frame.add_paragraph().text = text


def add_table(slide: Any, rows: Grid) -> None:
    frame = slide.shapes.add_table(
        len(rows), len(rows[0]), Inches(0.75), Inches(1.8), Inches(8.5), Inches(0.5 * len(rows))
    )
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            frame.table.cell(number, place).text = text
            frame.table.cell(number, place).text_frame.paragraphs[0].runs[0].font.size = Pt(16)


def add_chart(slide: Any, section: Section) -> None:
    data = CategoryChartData()
    data.categories = [fact.label for fact in section.facts]
    data.add_series("Value", [fact.value for fact in section.facts])
    frame = slide.shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(0.75), Inches(1.8), Inches(6), Inches(4.8), data
    )
    frame.chart.has_legend = False
    frame.chart.has_title = True
    frame.chart.chart_title.text_frame.text = section.heading
    frame.chart.plots[0].has_data_labels = True


def text(asked: Deliverable, author: str, audience: str) -> bytes:
    """A text that is what was asked for."""
    made = Document()
    made.add_heading(asked.title, 0)
    made.add_paragraph(f"To: {audience}")
    made.add_paragraph(f"From: {author}")
    for section in asked.sections:
        made.add_heading(section.heading, 1)
        if section.facts:
            made.add_paragraph("The table shows the figures as they were reported.")
            _text_table(made, grid(section))
        for line in section.texts:
            made.add_paragraph(line, style="List Bullet")
    written = io.BytesIO()
    made.save(written)
    return steady(written.getvalue())


def _text_table(made: Any, rows: Grid) -> None:
    table = made.add_table(len(rows), len(rows[0]))
    table.style = "Table Grid"
    for number, row in enumerate(rows):
        for place, content in enumerate(row):
            table.cell(number, place).text = content


def source_memo(told: Brief) -> bytes:
    """The memo that a deck is made from. The first figure's value is only in its parts, to be added up."""
    made = Document()
    made.add_heading(f"Notes for the {told.work.report}, {told.period}", 0)
    made.add_paragraph(f"{told.occupation}, {told.work.name}. These notes are raw; not all of them go out.")
    made.add_heading("Figures", 1)
    _text_table(made, _figures(told))
    made.add_heading(f"{told.figures[0].measure.name} in {told.period}", 1)
    for name, value in told.parts:
        made.add_paragraph(f"{name}: {value:,}")
    made.add_heading("What worries us", 1)
    for risk in told.risks:
        made.add_paragraph(risk, style="List Bullet")
    made.add_heading("What we ask for", 1)
    made.add_paragraph(told.decision)
    made.add_heading("Confidential, not for circulation", 1)
    made.add_paragraph(told.private)
    written = io.BytesIO()
    made.save(written)
    return steady(written.getvalue())


def _figures(told: Brief) -> Grid:
    rows = [["Figure", told.before, told.period]]
    for place, figure in enumerate(told.figures):
        now = "sum of the parts below" if place == 0 else figure.written(figure.current)
        rows.append([figure.name, figure.written(figure.previous), now])
    return rows


def source_files(told: Brief) -> dict[str, bytes]:
    """The files that a text is made from."""

    def table(rows: Sequence[Sequence[object]]) -> bytes:
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows(rows)
        return written.getvalue().encode()

    figures = _figures(told)
    figures[1][2] = "see parts.csv"
    notes = [
        f"Notes for the {told.work.report}, {told.period}", "", "What worries us:",
        *(f"- {risk}" for risk in told.risks), "", f"What we ask for: {told.decision}", "",
        f"Confidential, not for circulation: {told.private}", "",
    ]  # fmt: skip
    return {
        "figures.csv": table(figures),
        "parts.csv": table([["Part", told.figures[0].name], *told.parts]),
        "notes.txt": "\n".join(notes).encode(),
    }
