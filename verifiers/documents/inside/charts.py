"""What a chart shows: the values in its own part, which is what is drawn, whatever workbook lies behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"


@dataclass
class Series:
    name: str
    points: list[tuple[str, float]]
    """Category and value, in order."""
    drawn: bool = True


@dataclass
class Chart:
    kind: str
    """bar, line, pie, …; several are joined by +."""
    title: str
    series: list[Series] = field(default_factory=list)


def read(space: Any, dress: Any) -> Chart:
    """The chart of a `c:chartSpace`."""
    plot = space.find(f"{C}chart/{C}plotArea")
    kinds, found = [], []
    for kind in plot if plot is not None else ():
        name = kind.tag.removeprefix(C)
        if name.endswith("Chart"):
            kinds.append(name.removesuffix("Chart").removesuffix("3D"))
            found += [_series(one, dress) for one in kind.iterchildren(f"{C}ser")]
    head = space.find(f"{C}chart/{C}title")
    title = "".join(t.text or "" for t in head.iter(f"{A}t")) if head is not None else ""
    return Chart("+".join(kinds), title, found)


def _series(one: Any, dress: Any) -> Series:
    name = " ".join(v.text or "" for v in one.findall(f"{C}tx//{C}v"))
    categories = _points(one, f"{C}cat") or _points(one, f"{C}xVal")
    values = _points(one, f"{C}val") or _points(one, f"{C}yVal")
    points = []
    for place, text in sorted(values.items()):
        try:
            points.append((categories.get(place, str(place + 1)), float(text)))
        except ValueError:
            continue  # no number is drawn there
    return Series(name, points, dress.series_drawn(one.find(f"{C}spPr")))


def _points(one: Any, tag: str) -> dict[int, str]:
    """Texts by place, of a cache or of literals."""
    part = one.find(tag)
    found = {}
    for point in part.iter(f"{C}pt") if part is not None else ():
        text = point.find(f"{C}v")
        if text is not None and int(point.get("idx", -1)) >= 0:
            found[int(point.get("idx"))] = text.text or ""
    return found
