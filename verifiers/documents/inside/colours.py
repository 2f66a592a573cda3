"""Colours as they are shown: themes, tints, and the contrast of WCAG 2.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
Rgb = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
MAPPED = {"tx1": "dk1", "tx2": "dk2", "bg1": "lt1", "bg2": "lt2"}
PRESETS: dict[str, Rgb] = {
    "white": WHITE,
    "black": BLACK,
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "gray": (128, 128, 128),
}


def hexed(text: str | None) -> Rgb | None:
    """`1F497D` as three numbers; None for what is no colour."""
    try:
        return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)) if text else None
    except ValueError:
        return None


def theme_colours(theme: Any) -> dict[str, Rgb]:
    """`dk1`, `lt1`, `accent1` … of a theme's root element."""
    found = {}
    scheme = theme.find(f".//{A}clrScheme")
    for slot in scheme if scheme is not None else ():
        for colour in slot:
            rgb = hexed(colour.get("lastClr") or colour.get("val"))
            if rgb is not None:
                found[slot.tag.removeprefix(A)] = rgb
    return found


def shown(fill: Any, theme: Mapping[str, Rgb], mapping: Mapping[str, str], under: Rgb) -> Rgb | None:
    """The colour of a `solidFill` (or anything that holds one colour) over `under`; None if unknown."""
    for colour in fill:
        kind = colour.tag.removeprefix(A)
        value = colour.get("val")
        if kind == "srgbClr":
            rgb = hexed(value)
        elif kind == "sysClr":
            rgb = hexed(colour.get("lastClr"))
        elif kind == "schemeClr":
            name = mapping.get(value, MAPPED.get(value, value))
            rgb = theme.get(name)
        elif kind == "prstClr":
            rgb = PRESETS.get(value or "")
        else:
            continue
        return None if rgb is None else _changed(rgb, colour, under)
    return None


def _changed(rgb: Rgb, colour: Any, under: Rgb) -> Rgb:
    """A colour with the changes that its element lists."""
    parts = [part / 255 for part in rgb]
    for change in colour:
        kind, share = change.tag.removeprefix(A), int(change.get("val", "0").rstrip("%") or 0) / 100_000
        if kind in ("lumMod", "shade"):
            parts = [part * share for part in parts]
        elif kind == "lumOff":
            parts = [part + share for part in parts]
        elif kind == "tint":
            parts = [part * share + (1 - share) for part in parts]
        elif kind == "alpha":
            parts = [part * share + low / 255 * (1 - share) for part, low in zip(parts, under, strict=True)]
    red, green, blue = (round(255 * min(1.0, max(0.0, part))) for part in parts)
    return red, green, blue


def contrast(one: Rgb, other: Rgb) -> float:
    """1 (the same) to 21 (black on white)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(rgb: Rgb) -> float:
    red, green, blue = (
        part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in rgb
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
