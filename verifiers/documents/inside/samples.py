"""A deck and a text of our own, read once before any other.

That loads what the libraries load late, so that the limited children find all of it in memory.
"""

from __future__ import annotations

import io
from typing import Any

import document_judge
from docx import Document
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

SPEC: dict[str, Any] = {
    "title": "Sample",
    "sections": [{"heading": "Sample", "facts": [{"label": "Orders", "value": 1200.0, "as": "1,200"}]}],
    "length": [1, 2000], "rules": {"font": 9, "contrast": 4.5}, "figures": [1200.0, 3400.0],
}  # fmt: skip


def deck() -> bytes:
    """A deck with one of everything that is read."""
    made = Presentation()
    slide = made.slides.add_slide(made.slide_layouts[5])
    assert slide.shapes.title is not None
    slide.shapes.title.text = "Sample"
    data = CategoryChartData()
    data.categories = ["Orders", "Calls"]
    data.add_series("Now", (1200, 3400))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(5), Inches(2), Inches(4), Inches(4), data)
    table = slide.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(3), Inches(1)).table
    for place, text in enumerate(("Name", "Count", "Orders", "1,200")):
        table.cell(place // 2, place % 2).text = text
    slide.notes_slide.notes_text_frame.text = "Notes"
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


def text() -> bytes:
    """A text document with a heading, a paragraph and a table."""
    made = Document()
    made.add_heading("Sample", 0)
    made.add_paragraph("Orders: 1,200")
    made.add_table(1, 1).cell(0, 0).text = "Orders"
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


def rehearse() -> None:
    """Judge both. Raises RuntimeError where they do not hold: then something is missing here."""
    for name, data, original in (
        ("sample.pptx", deck(), None), ("sample.docx", text(), None), ("sample.pptx", deck(), deck()),
    ):  # fmt: skip
        spec = SPEC if original is None else SPEC | {"edits": []}
        found = document_judge.judge(spec, name, data, original)
        if found["reward"] != 1.0:
            raise RuntimeError(f"the rehearsal with {name} failed: {found}")
