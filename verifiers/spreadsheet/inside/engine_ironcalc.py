"""Recalculation by ironcalc, in this process: milliseconds, and a second opinion beside the authority."""

from __future__ import annotations

import importlib.metadata
import os
from typing import Any

from references import Area
from values import BLANK, Value

NAME = "ironcalc"


class Unreadable(Exception):
    """The engine cannot take this workbook."""


def version() -> str:
    return importlib.metadata.version("ironcalc")


class Session:
    """One workbook in the engine."""

    name = NAME

    def __init__(self, copy: bytes, sheets: list[str]) -> None:
        import ironcalc  # where it is not installed, the authority works alone

        self.version = str(ironcalc.__version__)
        file = os.memfd_create("workbook")
        try:
            with os.fdopen(file, "wb", closefd=False) as stream:
                stream.write(copy)
            self.model = ironcalc.load_from_xlsx(f"/proc/self/fd/{file}")
        except ironcalc.WorkbookError as error:
            raise Unreadable(f"ironcalc cannot take it: {str(error)[:200]}") from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of the Rust side; no subclass of Exception
                raise
            raise Unreadable(f"ironcalc cannot take it: {str(error)[:200]}") from None
        finally:
            os.close(file)
        self.error_type = ironcalc.CellType.ErrorValue
        properties = self.model.get_worksheets_properties()
        self.places = {sheet["name"].casefold(): n for n, sheet in enumerate(properties)}

    def edit(self, sheet: str, row: int, column: int, content: Value) -> None:
        where = (self.places[sheet.casefold()], row, column)
        kind, value = content
        if kind == "number":
            self.model.update_cell_with_number(*where, value)
        elif kind == "boolean":
            self.model.update_cell_with_bool(*where, value)
        elif kind == "blank":
            self.model.clear_cell_contents(*where)
        else:
            self.model.update_cell_with_text(*where, str(value))

    def calculate(self) -> None:
        try:
            self.model.evaluate()
        except BaseException as error:
            if type(error).__name__ != "PanicException":
                raise
            raise Unreadable(f"ironcalc cannot calculate it: {str(error)[:200]}") from None

    def read(self, wanted: Area) -> dict[tuple[int, int], Value]:
        sheet = self.places[wanted.sheet.casefold()]
        return {(row, column): self._value(sheet, row, column) for _, row, column in wanted.cells()}

    def _value(self, sheet: int, row: int, column: int) -> Value:
        content: Any = self.model.get_cell_value(sheet, row, column)
        match content:
            case None | "":
                return BLANK
            case bool():
                return ("boolean", content)
            case int() | float():
                return ("number", float(content))
        if self.model.get_cell_type(sheet, row, column) == self.error_type:
            return ("error", "#CIRC!" if content == "#CIRC!" else str(content))
        return ("text", str(content))

    def close(self) -> None:
        del self.model
