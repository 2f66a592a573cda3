"""How much room a text takes, told from the widths of Helvetica: no font and no renderer is needed.

What is told is an estimate. Rules that use it leave a margin, so that a text is called too long only where
any usual typeface would run over.
"""

from __future__ import annotations

from collections.abc import Sequence

WIDTHS = {
    278: " !,./:;I[\\]t", 556: "#$0123456789?_abdeghnopquLö", 889: "%", 667: "&ABEKPSVXY", 191: "'",
    333: "()-`r", 389: "*", 584: "+<=>~−", 1015: "@", 722: "CDHNRUw", 611: "FTZ", 778: "GOQ", 500: "Jckvxyzs",
    833: "Mm", 944: "W", 222: "ijl", 469: "^", 355: '"', 260: "|",
}  # fmt: skip
ADVANCE = {letter: width / 1000 for width, letters in WIDTHS.items() for letter in letters}
UNKNOWN, WIDE = 0.6, 1.0
BOLD = 1.06
LINE = 1.2
"""Height of a line over its size."""


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Of one line, in the unit of `size`."""
    drawn = sum(ADVANCE.get(letter, WIDE if ord(letter) > 0x2E80 else UNKNOWN) for letter in text)
    return drawn * size * (BOLD if bold else 1.0)


def lines(text: str, size: float, room: float, *, bold: bool = False) -> int:
    """How many lines a paragraph fills when words go to the next; a word longer than a line is broken."""
    count, used = 1, 0.0
    blank = width(" ", size)
    for word in text.split():
        long = width(word, size, bold=bold)
        if used and used + blank + long > room:
            count, used = count + 1, 0.0
        used += long + (blank if used else 0.0)
        while used > room > 0:
            count, used = count + 1, used - room
    return count


Line = tuple[str, float, bool, float]
"""Text, size, bold, and the room to its left."""


def extent(paragraphs: Sequence[Line], room: float | None) -> tuple[float, float]:
    """Width and height of paragraphs set in `room`; None is room without an end."""
    wide = high = 0.0
    for text, size, bold, indent in paragraphs:
        parts = text.split("\v")
        for part in parts:
            drawn = width(part, size, bold=bold) + indent
            count = 1 if room is None else lines(part, size, max(room - indent, size), bold=bold)
            wide = max(wide, drawn if room is None else min(drawn, room))
            high += count * size * LINE
    return wide, high
