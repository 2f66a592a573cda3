"""Local edits of a deck: drawn by granularity (words, paragraph, object, slide, deck) and intent (correct,
restyle, restructure); their number is the complexity. Each is data for the specification, a sentence for the
instruction, and a change of the file for the reference.
"""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.dml.color import RGBColor
from pptx.util import Inches, Pt

from pipelines.office.briefs import DUE, Brief, steady
from pipelines.office.references import BULLETS, fill_points, new_deck
from verifiers.documents import spec
from verifiers.documents.spec import Deliverable

KEY, DETAIL, RISKS, DECISION, BACKUP = range(1, 6)
"""Places of slides in the deck, from 0."""
NOTE = (Inches(7.0), Inches(2.2), Inches(2.6), Inches(1.4))


@dataclass(frozen=True)
class Drawn:
    """One edit of one deck."""

    edit: spec.Edit
    told: tuple[str, str]
    """Where it is said by numbers, and by contents."""
    apply: Callable[[Any], None]
    """Makes it in an open deck."""


class Deck:
    """The deck to be edited, open while it is made."""

    def __init__(self, told: Brief, asked: Deliverable, rng: random.Random) -> None:
        self.told, self.rng = told, rng
        self.made = new_deck(asked, told.work.audience)
        decision = self.slide(DECISION).placeholders[1].text_frame.paragraphs[0]
        words, last = told.decision.removesuffix(DUE), decision.runs[0]
        last.text = words
        strong = decision.add_run()
        strong.text, strong.font.bold = DUE, True
        backup = self.made.slides.add_slide(self.made.slide_layouts[BULLETS])
        backup.shapes.title.text = "Backup"
        fill_points(
            backup.placeholders[1], ["Figures are as reported by the sites", "No audit has been made"]
        )
        for place, note in ((KEY, "Start with the good news."), (DECISION, "Ask for questions first.")):
            self.slide(place).notes_slide.notes_text_frame.text = note
        box = self.slide(DETAIL).shapes.add_textbox(*NOTE)
        box.name = "Remark"
        box.text_frame.word_wrap = True
        box.text_frame.text = "Parts add up to the total"
        box.text_frame.paragraphs[0].runs[0].font.size = Pt(16)

    def slide(self, place: int) -> Any:
        return self.made.slides[place]

    def save(self) -> bytes:
        written = io.BytesIO()
        self.made.save(written)
        return steady(written.getvalue())


def _on(place: int, change: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda made: change(made.slides[place])


def _by_id(slide: Any, shape_id: int) -> Any:
    return next(shape for shape in slide.shapes if shape.shape_id == shape_id)


def due(deck: Deck) -> Drawn:
    """Words: correct."""
    slide = deck.slide(DECISION)
    new = deck.rng.choice(("15 October", "31 October", "15 November"))
    shape = slide.placeholders[1].shape_id

    def change(other: Any) -> None:
        _by_id(other, shape).text_frame.paragraphs[0].runs[1].text = new

    edit = spec.Replace(name="the date", slide=slide.slide_id, shape=shape, old=DUE, new=new)
    told = f"{DUE} becomes {new}."
    return Drawn(
        edit, (f"On slide {DECISION + 1}, {told}", f"The date of the decision: {told}"), _on(DECISION, change)
    )


def more_risk(deck: Deck) -> Drawn:
    """Paragraph: restructure."""
    slide = deck.slide(RISKS)
    shape = slide.placeholders[1].shape_id
    left = [risk for risk in deck.told.work.risks if risk not in deck.told.risks]
    new = deck.rng.choice(left or ["One supplier has given notice"])

    def change(other: Any) -> None:
        _by_id(other, shape).text_frame.add_paragraph().text = new

    edit = spec.Paragraphs(
        name="a new risk", slide=slide.slide_id, shape=shape, texts=(*deck.told.risks, new)
    )
    return Drawn(
        edit,
        (
            f"On slide {RISKS + 1}, add “{new}” as the last point.",
            f"The risks lack one, at their end: “{new}”.",
        ),
        _on(RISKS, change),
    )


def corrected_cell(deck: Deck) -> Drawn:
    """Object: correct."""
    slide = deck.slide(KEY)
    frame = next(shape for shape in slide.shapes if shape.has_table)
    row = deck.rng.randrange(1, len(deck.told.figures))
    figure = deck.told.figures[row]
    new = figure.written(round(figure.current * 1.04 + 1, figure.measure.digits))
    shape = frame.shape_id

    def change(other: Any) -> None:
        _by_id(other, shape).table.cell(row + 1, 2).text_frame.paragraphs[0].runs[0].text = new

    edit = spec.Cells(
        name="a corrected figure", slide=slide.slide_id, shape=shape, cells=((row + 1, 2, new),)
    )
    name = figure.measure.name
    return Drawn(
        edit,
        (f"In the table of slide {KEY + 1}, row “{figure.name}”, {deck.told.period} is {new}.",
         f"{name} of {deck.told.period} was reported wrongly; the right figure is {new}."),
        _on(KEY, change),
    )  # fmt: skip


def chart_value(deck: Deck) -> Drawn:
    """Object: correct."""
    slide = deck.slide(DETAIL)
    frame = next(shape for shape in slide.shapes if shape.has_chart)
    name, was = deck.rng.choice(deck.told.parts)
    new, shape = round(was * 1.1) + 3, frame.shape_id

    def change(other: Any) -> None:
        data = CategoryChartData()
        data.categories = [part for part, _ in deck.told.parts]
        data.add_series("Value", [new if part == name else value for part, value in deck.told.parts])
        _by_id(other, shape).chart.replace_data(data)

    edit = spec.ChartValues(
        name="a corrected bar", slide=slide.slide_id, shape=shape, series="Value", values={name: float(new)}
    )
    return Drawn(
        edit,
        (
            f"In the chart of slide {DETAIL + 1}, {name} is {new:,}.",
            f"In the chart, {name} should show {new:,}.",
        ),
        _on(DETAIL, change),
    )


def off_the_chart(deck: Deck) -> Drawn:
    """Object: restyle. The remark lies on the chart at first."""
    slide = deck.slide(DETAIL)
    box = next(shape for shape in slide.shapes if shape.name == "Remark")
    box.left, box.top = Inches(4.2), Inches(3.2)
    shape = box.shape_id

    def change(other: Any) -> None:
        found = _by_id(other, shape)
        found.left, found.top = NOTE[0], NOTE[1]

    edit = spec.Lay(name="the remark beside the chart", slide=slide.slide_id, shape=shape)
    told = "so that it lies on nothing and is whole on the slide; its size stays."
    return Drawn(
        edit,
        (f"On slide {DETAIL + 1}, move the text box “Remark” {told}",
         f"“Parts add up to the total” lies on the chart. Move it {told}"),
        _on(DETAIL, change),
    )  # fmt: skip


def legible_remark(deck: Deck) -> Drawn:
    """Object: restyle. The remark is pale and small at first."""
    slide = deck.slide(DETAIL)
    box = next(shape for shape in slide.shapes if shape.name == "Remark")
    font = box.text_frame.paragraphs[0].runs[0].font
    font.size, font.color.rgb = Pt(8), RGBColor(0xD9, 0xD9, 0xD9)
    shape = box.shape_id

    def change(other: Any) -> None:
        found = _by_id(other, shape).text_frame.paragraphs[0].runs[0].font
        found.size, found.color.rgb = Pt(14), RGBColor(0x33, 0x33, 0x33)

    edit = spec.Legible(name="a legible remark", slide=slide.slide_id, shape=shape)
    told = "at least 12 pt, and a contrast of at least 4.5 to 1; place and words stay."
    return Drawn(
        edit,
        (f"On slide {DETAIL + 1}, make the text box “Remark” legible: {told}",
         f"Nobody can read “Parts add up to the total”: {told}"),
        _on(DETAIL, change),
    )  # fmt: skip


def bold_remark(deck: Deck) -> Drawn:
    """Object: restyle."""
    slide = deck.slide(DETAIL)
    shape = next(one for one in slide.shapes if one.name == "Remark").shape_id

    def change(other: Any) -> None:
        font = _by_id(other, shape).text_frame.paragraphs[0].runs[0].font
        font.bold, font.color.rgb = True, RGBColor(0xC0, 0x00, 0x00)

    edit = spec.Look(name="a strong remark", slide=slide.slide_id, shape=shape, bold=True, colour="C00000")
    return Drawn(
        edit,
        (f"On slide {DETAIL + 1}, set the text box “Remark” in bold and in the colour C00000.",
         "Set “Parts add up to the total” in bold and in the colour C00000."),
        _on(DETAIL, change),
    )  # fmt: skip


def spoken(deck: Deck) -> Drawn:
    """Slide: correct."""
    slide, new = deck.slide(RISKS), "Name who owns each risk."

    def change(other: Any) -> None:
        other.notes_slide.notes_text_frame.text = new

    edit = spec.Notes(name="speaker notes", slide=slide.slide_id, text=new)
    return Drawn(
        edit,
        (f"Give slide {RISKS + 1} the speaker notes “{new}”.", f"The risks need speaker notes: “{new}”."),
        _on(RISKS, change),
    )


def without_backup(deck: Deck) -> Drawn:
    """Deck: restructure."""
    slide = deck.slide(BACKUP)

    def change(made: Any) -> None:
        gone = _ids(made)[BACKUP]
        made.part.drop_rel(gone.rId)
        _ids(made).remove(gone)

    edit = spec.DeleteSlide(name="no backup", slide=slide.slide_id)
    return Drawn(edit, (f"Delete slide {BACKUP + 1}.", "Delete the backup slide."), change)


def decision_first(deck: Deck) -> Drawn:
    """Deck: restructure."""
    slide = deck.slide(DECISION)

    def change(made: Any) -> None:
        ids = _ids(made)
        moved = next(one for one in ids if one.id == slide.slide_id)
        ids.remove(moved)
        ids.insert(1, moved)

    edit = spec.MoveSlide(name="the decision first", slide=slide.slide_id, to=2)
    return Drawn(
        edit,
        (f"Move slide {DECISION + 1} so that it becomes slide 2.", "Put the decision right after the title."),
        change,
    )


def next_steps(deck: Deck) -> Drawn:
    """Deck: restructure. At the front of the deck's end, so that no other edit moves it."""
    points = ("Inform the teams", f"Report again after {deck.told.period}")
    like = deck.slide(RISKS)

    def change(made: Any) -> None:
        slide = made.slides.add_slide(made.slide_layouts[BULLETS])
        slide.shapes.title.text = "Next steps"
        fill_points(slide.placeholders[1], points)

    edit = spec.AddSlide(
        name="next steps",
        slide=0,
        at=len(deck.made.slides) + 1,
        like=like.slide_id,
        title="Next steps",
        points=points,
    )
    told = (
        f"“Next steps” with the points “{points[0]}” and “{points[1]}”, in the layout of the slide on risks."
    )
    return Drawn(edit, (f"Add a last slide, {told}", f"The deck needs an end: a slide {told}"), change)


def _ids(made: Any) -> Any:
    return made.slides._sldIdLst


KINDS: tuple[tuple[Callable[[Deck], Drawn], str, str, str], ...] = (
    (due, "words", "correct", "due"),
    (more_risk, "paragraph", "restructure", "risks"),
    (corrected_cell, "object", "correct", "table"),
    (chart_value, "object", "correct", "chart"),
    (off_the_chart, "object", "restyle", "remark"),
    (legible_remark, "object", "restyle", "remark"),
    (bold_remark, "object", "restyle", "remark"),
    (spoken, "slide", "correct", "notes"),
    (without_backup, "deck", "restructure", "slides"),
    (decision_first, "deck", "restructure", "slides"),
    (next_steps, "deck", "restructure", "slides"),
)
"""Edit, granularity, intent, and what it takes hold of: no two of a task take the same."""


def drawn_edits(deck: Deck, count: int) -> list[tuple[Drawn, str, str]]:
    """Edits that do not meet, with granularity and intent. What they need in the deck is put there."""
    taken: set[str] = set()
    found = []
    for make, granularity, intent, hold in deck.rng.sample(KINDS, len(KINDS)):
        if len(found) < count and hold not in taken:
            taken.add(hold)
            found.append((make(deck), granularity, intent))
    return found


def applied(original: bytes, edits: list[Drawn]) -> bytes:
    """The original with edits made; those of the order of slides come last, when places no longer matter."""
    made = Presentation(io.BytesIO(copy.copy(original)))
    whole = ("delete_slide", "move_slide", "add_slide")
    for one in sorted(edits, key=lambda drawn: drawn.edit.do in whole):
        one.apply(made)
    written = io.BytesIO()
    made.save(written)
    return steady(written.getvalue())
