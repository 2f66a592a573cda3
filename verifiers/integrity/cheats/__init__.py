"""The catalogue: every known attack, in the order of its classes."""

from __future__ import annotations

from verifiers.integrity.cheat import Cheat
from verifiers.integrity.cheats import escapes, exits, leaks, native, reports, tests, values

CATALOGUE: tuple[Cheat, ...] = (
    *tests.CHEATS, *exits.CHEATS, *reports.CHEATS, *values.CHEATS, *escapes.CHEATS, *leaks.CHEATS,
    *native.CHEATS,
)  # fmt: skip
