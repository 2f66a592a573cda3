"""Figures in texts, and what they are figures of.

A number belongs to the name in its own clause or, where there is none, to the last one before. So a sentence
may be put in any words, and a heap of names beside a heap of numbers says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from charts import Chart, Series

NUMBER = re.compile(
    r"(?<![\w.,/])(?P<sign>[-−+(]?)\s?(?:[$€£]|EUR|USD|GBP)?\s?"
    r"(?P<digits>\d{1,3}(?:[,'\u2019\u00a0\u202f]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:\s?(?P<unit>%|per ?cent(?:age points)?\b|pp\b|k\b|m\b|mn\b|bn\b|thousand\b|million\b|billion\b))?"
    r"(?![\w]|[.,]\d)",
    re.I,
)
SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "mn": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9}
CLAUSE = re.compile(r"[;\n\v\t|:]|[.,]\s|\s(?:and|while|with|but|against|\u2013|\u2014)\s")
FALLS = re.compile(r"\b(?:fell|fall|down|drop|dropp|declin|decreas|lower|less|minus|reduc|shr[aiu]nk)", re.I)
NEAR = 0.005
"""How far, relatively, a rounded figure may be off."""
SMALL, YEARS = 31, (1990, 2099)


@dataclass(frozen=True)
class Number:
    value: float
    percent: bool
    start: int

    def is_(self, wanted: float, percent: bool) -> bool:
        close = abs(self.value - wanted) <= max(NEAR * abs(wanted), 1e-9) if not percent else False
        return (close and not self.percent) or (
            percent and self.percent and abs(self.value - wanted) <= 0.05 + 1e-9
        )


@dataclass
class Part:
    """A slide, or a section of a text: what is read together."""

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)

    @property
    def words(self) -> str:
        """All of it, charts too."""
        lines = [self.title, *self.texts]
        lines += ["\t".join(row) for table in self.tables for row in table]
        for chart in self.charts:
            lines.append(chart.title)
            lines += [f"{s.name}\t{name}\t{value!r}" for s in chart.series for name, value in s.points]
        return "\n".join(lines)


def plain(text: str) -> str:
    """For comparing words: case, punctuation at the seams and blanks do not count."""
    return " ".join(re.sub(r"[^\w%.,'\u2019/-]+", " ", text).casefold().replace("\u2019", "'").split()).strip(
        " .,"
    )


def numbers(text: str) -> Iterator[Number]:
    for match in NUMBER.finditer(text):
        unit = (match["unit"] or "").lower()
        value = float(re.sub(r"[,'\u2019\u00a0\u202f]", "", match["digits"])) * SCALES.get(unit, 1.0)
        negative = match["sign"] in ("-", "−") or (match["sign"] == "(" and text[match.end() :][:1] == ")")
        yield Number(-value if negative else value, unit.startswith(("%", "per", "pp")), match.start())


def _named(text: str, labels: Sequence[str]) -> list[tuple[int, str]]:
    """Where which name stands; the longer name where two begin together."""
    found: dict[int, str] = {}
    for label in sorted(labels, key=len):
        words = r"[\s\W]+".join(re.escape(word) for word in label.split())
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", text, re.I):
            found[match.start()] = label
    return sorted(found.items())


def bound(text: str, labels: Sequence[str]) -> Iterator[tuple[str, Number, str]]:
    """Each number with the name that it belongs to, and its clause."""
    names, ends = _named(text, labels), [0, *(m.end() for m in CLAUSE.finditer(text)), len(text) + 1]
    for number in numbers(text):
        place = max(n for n, end in enumerate(ends) if end <= number.start)
        start, stop = ends[place], ends[place + 1]
        here = [(at, label) for at, label in names if start <= at < stop]
        before = [label for at, label in here if at < number.start]
        earlier = [label for at, label in names if at < start]
        later = [label for at, label in names if at >= stop]
        owner = [*before[-1:], *(label for _, label in here[:1]), *earlier[-1:], *later[:1]]
        if owner:
            yield owner[0], number, text[start:stop]


def states(part: Part, fact: Mapping[str, Any], labels: Sequence[str], show: str = "") -> bool:
    """Whether a part says a fact; `show` is the form it must have: table, chart or any."""
    percent, value = fact.get("unit") == "%", float(fact["value"])
    if show in ("", "text"):
        for text in part.texts:
            for label, number, clause in bound(text, labels):
                mirrored = value < 0 and FALLS.search(clause) and number.is_(-value, percent)
                if label == fact["label"] and (number.is_(value, percent) or mirrored):
                    return True
    if show in ("", "table") and any(_in_table(table, fact, percent) for table in part.tables):
        return True
    return show in ("", "chart") and any(_in_chart(chart, fact) for chart in part.charts)


def _in_table(table: list[list[str]], fact: Mapping[str, Any], percent: bool) -> bool:
    """A cell with the figure whose row and column have the fact's name and, if any has one, its period."""
    label, period = plain(fact["label"]), plain(fact.get("period", ""))
    if not table:
        return False
    for number, row in enumerate(table):
        for place, cell in enumerate(row):
            heads = [plain(row[0])] * (place > 0) + [plain(table[0][place])] * (
                number > 0 and place < len(table[0])
            )
            told = heads or [plain(cell)]
            if not any(label == head or _holds(head, label) for head in told):
                continue
            of_period = [h for h in heads if _period(h)]
            if period and of_period and not any(_holds(head, period) for head in of_period):
                continue
            unit = percent and any("%" in text for text in (*heads, label))
            for found in numbers(cell):
                one = replace(found, percent=True) if unit and not found.percent else found
                if one.is_(float(fact["value"]), percent):
                    return True
    return False


def _period(text: str) -> bool:
    """Whether a head names a time, or another measure of change."""
    return bool(re.search(r"\b(?:q[1-4]|19\d\d|20\d\d|previous|prior|last|change|target|plan)\b", text))


def _holds(text: str, words: str) -> bool:
    return bool(words) and bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text))


def _in_chart(chart: Chart, fact: Mapping[str, Any]) -> bool:
    label, period = plain(fact["label"]), plain(fact.get("period", ""))
    for series in chart.series:
        if not series.drawn:
            continue
        for category, value in series.points:
            names = [plain(series.name), plain(category)]
            other = [name for name in names if _period(name)]
            if period and other and not any(_holds(name, period) for name in other):
                continue
            if label in names and abs(value - fact["value"]) <= max(NEAR * abs(fact["value"]), 1e-9):
                return True
    return False


def says(part: Part, text: str) -> bool:
    """Whether one text of a part has these words, in this order."""
    wanted = plain(text)
    cells = [cell for table in part.tables for row in table for cell in row]
    return any(wanted in plain(one) for one in (*part.texts, *cells))


def unfounded(part: Part, allowed: Sequence[float]) -> list[float]:
    """Figures of a part that no source has: no year, no small whole number, not among `allowed`."""
    found = []
    for number in numbers(part.words):
        value = abs(number.value)
        whole = value == int(value) and not number.percent
        if whole and (value <= SMALL or YEARS[0] <= value <= YEARS[1]):
            continue
        tolerance = 0.05 + 1e-9 if number.percent else 0.0
        if not any(abs(value - abs(one)) <= max(tolerance, NEAR * abs(one)) for one in allowed):
            found.append(number.value)
    return found


def altered(part: Part) -> Part:
    """The same part with other figures and words: no fact and no text of it may still hold."""

    def other(text: str) -> str:
        changed = NUMBER.sub(
            lambda m: m[0].replace(m["digits"], "7" + re.sub(r"\D", "", m["digits"]) + "3"), text
        )
        return re.sub(r"[^\W\d_]+", "word", changed)

    charts = [
        Chart(c.kind, c.title, [Series(s.name, [(k, v * 7 + 3) for k, v in s.points]) for s in c.series])
        for c in part.charts
    ]
    tables = [[[other(cell) for cell in row] for row in table] for table in part.tables]
    return Part(part.title, [other(text) for text in part.texts], tables, charts)
