"""`tests/spreadsheet.json`: what one workbook must be, as data.

Every answer in it was computed when the task was made, by the generator's own model and never by a
spreadsheet engine: the values as the workbook stands, and those under each change of inputs.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Cell = float | int | bool | str | None | dict[str, Any]
"""1.5, "text", true, null (blank), {"date": "2025-03-31"}, {"error": "#N/A"}, {"any": true}."""
Rows = tuple[tuple[Cell, ...], ...]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(Part):
    """Cells and what must stand in them."""

    sheet: str
    range: str = Field(description="A1 notation, one rectangle.")
    values: Rows
    highlight: bool = Field(False, description="`values` says which cells conditional formats light up.")


class Cells(Part):
    """Values after recalculation."""

    kind: Literal["cells"] = "cells"
    name: str
    sheet: str
    range: str
    expect: Rows
    abs: float = Field(1e-6, ge=0)
    rel: float = Field(1e-6, ge=0)
    case: bool = Field(False, description="Whether case counts in text.")
    visible: bool = Field(True, description="Whether a person must be able to see the cells.")


class Formula(Part):
    """Cells that are calculated, not typed."""

    kind: Literal["formula"] = "formula"
    name: str
    sheet: str
    range: str
    references: tuple[str, ...] = Field((), description="Ranges of which some cell must be read, each.")
    forbid: tuple[float, ...] = Field((), description="Numbers that must not be written into formulas.")


class Structure(Part):
    """Anything about the file that is no value; `what` says which further keys there are."""

    kind: Literal["structure"] = "structure"
    name: str
    what: Literal[
        "sheets",
        "frozen",
        "number_format",
        "validation",
        "chart",
        "defined_name",
        "table",
        "filtered",
        "kept",
    ]
    sheet: str = ""
    range: str = ""
    names: tuple[str, ...] = ()
    rows: int | tuple[int, ...] = 0
    columns: int = 0
    like: str = ""
    type: str = "any"
    values: Any = None
    low: float = 0
    high: float = 0
    refers: str = ""
    expect: Rows = ()


class Highlight(Part):
    """Which cells conditional formats light up."""

    kind: Literal["highlight"] = "highlight"
    name: str
    sheet: str
    range: str
    expect: tuple[tuple[bool, ...], ...]


class Edit(Part):
    """An input that is changed."""

    sheet: str
    cell: str
    was: Cell
    value: Cell


class Perturbation(Part):
    """Other inputs, and what the outputs must become."""

    kind: Literal["perturbation"] = "perturbation"
    name: str
    edits: tuple[Edit, ...] = Field(min_length=1)
    expect: tuple[Block, ...] = Field(min_length=1)
    abs: float = Field(1e-6, ge=0)
    rel: float = Field(1e-6, ge=0)
    case: bool = False


Check = Annotated[Cells | Formula | Structure | Highlight | Perturbation, Field(discriminator="kind")]


class SpreadsheetSpec(BaseModel):
    """How one workbook is judged: it earns 1 if every check holds, else 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(1, alias="schema")
    answer: str = Field(description="The workbook's file in the project, e.g. sales.xlsx.")
    sheet_of_csv: str = Field("", description="What the only sheet of a .csv submission counts as.")
    checks: tuple[Check, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> SpreadsheetSpec:
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError("two checks have the same name; give each its own")
        return self

    def document(self) -> dict[str, Any]:
        """As JSON, without what is left at its default; `kind` always."""
        told = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        told["checks"] = [
            {"kind": check.kind, **check.model_dump(mode="json", exclude_defaults=True)}
            for check in self.checks
        ]
        return {"schema": self.schema_version, **told}

    def to_json(self) -> bytes:
        return (json.dumps(self.document(), ensure_ascii=True, separators=(",", ":")) + "\n").encode()
