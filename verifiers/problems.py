"""What is wrong, or may be, with a task: where, what, how bad, and whether a program can mend it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Severity(StrEnum):
    """An `error` keeps a task from being certified; a `warning` is for its owner to weigh."""

    ERROR = "error"
    WARNING = "warning"


class Problem(BaseModel):
    """One finding of `verifactory tasks lint`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(description="Stable name of the rule.")
    where: str = Field(description="File of the bundle, or part of the task.")
    message: str
    severity: Severity
    fixable: bool = Field(False, description="`verifactory tasks lint --fix` mends it.")
