"""Whether licences that somebody allows meet an SPDX expression (SPDX 2.3, annex D)."""

from __future__ import annotations

import re
from collections.abc import Collection


def permits(expression: str, allowed: Collection[str]) -> bool:
    """Whether allowed licences meet an SPDX expression: all of an AND, one of an OR, never a WITH."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    names = {name.lower() for name in allowed}

    def either() -> bool:
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both() -> bool:
        result = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = single() and result
        return result

    def single() -> bool:
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            del tokens[:2]
            return False
        return token.lower() in names

    return either()
