"""The taxonomy of occupations that documents are made for: a file, shipped or the user's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from warehouse.errors import FactoryError

SHIPPED = Path(__file__).resolve().parent / "occupations.toml"


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measure(Entry):
    """A figure that such people report."""

    name: str = Field(min_length=3)
    unit: str = ""
    low: float = Field(gt=0, description="Above 31, unless in %: smaller numbers are found by chance.")
    high: float
    digits: int = Field(0, ge=0, le=2)
    better: Literal["up", "down"] = "up"

    @model_validator(mode="after")
    def _ordered(self) -> Measure:
        if self.unit != "%" and self.low <= 31:
            raise ValueError(f"the measure {self.name!r} has a low of {self.low:g}; take more than 31")
        if self.high <= self.low:
            raise ValueError(f"the measure {self.name!r} has a high that is not above its low")
        return self


class Work(Entry):
    """A field of work in an occupation."""

    name: str
    report: str
    audience: str
    parts: tuple[str, ...] = Field(min_length=3, max_length=5)
    measures: tuple[Measure, ...] = Field(min_length=3, max_length=6)
    decisions: tuple[str, ...] = Field(min_length=1)
    risks: tuple[str, ...] = Field(min_length=2)
    private: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_apart(self) -> Work:
        if not any(measure.unit != "%" and measure.digits == 0 for measure in self.measures):
            raise ValueError(
                f"{self.name!r} has no measure that is counted (no %, digits = 0), to be split by part"
            )
        names = [*(measure.name for measure in self.measures), *self.parts]
        for one in names:
            if any(one.casefold() in other.casefold() for other in names if other is not one):
                raise ValueError(f"{one!r} is part of another name: a figure could belong to both")
        return self


class Occupation(Entry):
    name: str
    field: tuple[Work, ...] = Field(min_length=1)


class Taxonomy(Entry):
    occupation: tuple[Occupation, ...] = Field(min_length=1)

    @property
    def works(self) -> list[tuple[str, Work]]:
        """(occupation, field of work), in the file's order."""
        return [(one.name, work) for one in self.occupation for work in one.field]


def taxonomy(path: Path | None) -> Taxonomy:
    """The taxonomy in a file, the shipped one by default. Raises FactoryError."""
    source = path or SHIPPED
    try:
        return Taxonomy.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FactoryError(f"{source} cannot be read as a taxonomy of occupations: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FactoryError(f"{source} is no taxonomy of occupations: {where}: {first['msg']}.") from error
