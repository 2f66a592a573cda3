"""`tests/deliverable.json`: what a deck or a text must be, as data; one specification for everybody.

The generator builds its reference from it, the instruction is told from it, and the grader accepts by it. A
new document is given by its sections; an edited one by its edits, and then everything else must stay.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Fact(Part):
    """A figure and what it is a figure of."""

    label: str = Field(description="Its name, as the source has it.")
    value: float
    written: str = Field(alias="as", description="As the source writes it, e.g. 4,213 or 12.5%.")
    unit: str = Field("", description="'%' for a share; else a word for people.")
    period: str = Field("", description="Of what time, where a table or chart has several.")


class Section(Part):
    """A slide, or a section of a text."""

    heading: str
    facts: tuple[Fact, ...] = ()
    texts: tuple[str, ...] = Field((), description="Sentences that must be there, word for word.")
    show: Literal["", "text", "table", "chart"] = Field("", description="The form that its figures have.")


class Rules(Part):
    """Limits of the layout."""

    font: float = Field(12, gt=0, description="The smallest text, in points.")
    contrast: float = Field(4.5, ge=1, le=21, description="WCAG 2.2; large text needs 3 at most.")


class Change(Part):
    """An edit of objects of a deck, by their ids; `name` is the check's name."""

    name: str
    slide: int = Field(description="The slide's id.")


class Replace(Change):
    """Words inside runs, whose look stays."""

    do: Literal["replace"] = "replace"
    shape: int
    old: str
    new: str


class Paragraphs(Change):
    """All paragraphs of a shape, as they become."""

    do: Literal["paragraphs"] = "paragraphs"
    shape: int
    texts: tuple[str, ...] = Field(min_length=1)


class Cells(Change):
    """Cells of a table: row and column from 0, and the text."""

    do: Literal["cells"] = "cells"
    shape: int
    cells: tuple[tuple[int, int, str], ...] = Field(min_length=1)


class AddRow(Change):
    """A row of a table at a place from 1, in the look of the one above."""

    do: Literal["add_row"] = "add_row"
    shape: int
    row: int = Field(ge=1)
    texts: tuple[str, ...]


class ChartValues(Change):
    """Values of a chart's series by category."""

    do: Literal["chart"] = "chart"
    shape: int
    series: str
    values: dict[str, float] = Field(min_length=1)


class ChartTitle(Change):
    do: Literal["chart_title"] = "chart_title"
    shape: int
    text: str


class Lay(Change):
    """A shape is moved to where the layout rules hold."""

    do: Literal["lay"] = "lay"
    shape: int


class Align(Change):
    """A shape's left or top edge, in points."""

    do: Literal["align"] = "align"
    shape: int
    left: float | None = None
    top: float | None = None


class Look(Change):
    """Size, weight or colour of all of a shape's text."""

    do: Literal["look"] = "look"
    shape: int
    size: float | None = None
    bold: bool | None = None
    colour: str | None = Field(None, pattern="^[0-9A-F]{6}$")


class Legible(Change):
    """A shape's text comes to obey the rules on size and contrast."""

    do: Literal["legible"] = "legible"
    shape: int


class DeleteShape(Change):
    do: Literal["delete_shape"] = "delete_shape"
    shape: int


class DeleteSlide(Change):
    do: Literal["delete_slide"] = "delete_slide"


class MoveSlide(Change):
    do: Literal["move_slide"] = "move_slide"
    to: int = Field(ge=1, description="Its number in the deck as it becomes.")


class AddSlide(Change):
    """A slide with a title and points; `slide` is 0."""

    do: Literal["add_slide"] = "add_slide"
    at: int = Field(ge=1)
    like: int = Field(description="Id of the slide whose layout it has.")
    title: str
    points: tuple[str, ...] = Field(min_length=1)


class Notes(Change):
    do: Literal["notes"] = "notes"
    text: str


Edit = Annotated[
    Replace
    | Paragraphs
    | Cells
    | AddRow
    | ChartValues
    | ChartTitle
    | Lay
    | Align
    | Look
    | Legible
    | DeleteShape
    | DeleteSlide
    | MoveSlide
    | AddSlide
    | Notes,
    Field(discriminator="do"),
]


class Deliverable(Part):
    """How one deck or text is judged: it earns 1 if everything holds, else 0."""

    schema_version: int = Field(1, alias="schema")
    answer: str = Field(pattern=r"\.(pptx|docx)$", description="The file in the project, e.g. review.pptx.")
    title: str = Field("", description="Of the whole; on the first slide, or above the first section.")
    sections: tuple[Section, ...] = ()
    placed: bool = Field(True, description="Whether headings, places and forms are asked for.")
    length: tuple[int, int] = Field((0, 0), description="Slides, or words, at least and at most.")
    figures: tuple[float, ...] = Field((), description="All figures that may be told.")
    forbidden: tuple[str, ...] = Field((), description="Words that must not be anywhere.")
    rules: Rules = Rules()
    edits: tuple[Edit, ...] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Deliverable:
        if bool(self.sections) == bool(self.edits):
            raise ValueError("a deliverable has either sections (something new) or edits")
        if self.sections and not any(section.facts or section.texts for section in self.sections):
            raise ValueError("no section asks for a figure or a text: anything would be paid")
        names = [edit.name for edit in self.edits]
        if len(set(names)) != len(names):
            raise ValueError("two edits have the same name; give each its own")
        return self

    def document(self) -> dict[str, Any]:
        """As JSON, without what is left at its default, except what the grader always reads."""
        told = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {key: value for key, value in told.items() if value not in ("", [])} | {"placed": self.placed}

    def to_json(self) -> bytes:
        return (json.dumps(self.document(), ensure_ascii=True, separators=(",", ":")) + "\n").encode()
