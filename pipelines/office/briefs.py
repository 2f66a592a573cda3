"""What a document is about: figures of a field of work in one quarter, drawn from its taxonomy entry, and the
deliverable that is asked for. Sources, instructions and references are all told from these two.
"""

from __future__ import annotations

import io
import random
import re
import zipfile
from dataclasses import dataclass

from pipelines.office.occupations import Measure, Work
from verifiers.documents.spec import Deliverable, Fact, Rules, Section

SPECIFICITY = ("full", "outline", "brief")
"""How much the question says: every slide and its form, every slide, or only what has to be told."""
DUE = "30 September"


@dataclass(frozen=True)
class Figure:
    measure: Measure
    previous: float
    current: float

    def written(self, value: float) -> str:
        return f"{value:,.{self.measure.digits}f}{'%' if self.measure.unit == '%' else ''}"

    @property
    def name(self) -> str:
        """With its unit: `Cash balance (EUR thousand)`."""
        unit = self.measure.unit
        return self.measure.name if unit in ("", "%") else f"{self.measure.name} ({unit})"


@dataclass(frozen=True)
class Brief:
    """One quarter of one field of work."""

    occupation: str
    work: Work
    number: int
    period: str
    before: str
    figures: tuple[Figure, ...]
    parts: tuple[tuple[str, int], ...]
    """Of the first figure, which they add up to."""
    decision: str
    risks: tuple[str, ...]
    private: str

    @property
    def title(self) -> str:
        return f"{self.work.report.capitalize()} {self.period}"

    @property
    def stem(self) -> str:
        return re.sub(r"\W+", "_", f"{self.work.report}_{self.period}".lower())

    @property
    def detail(self) -> str:
        return f"{self.figures[0].measure.name} in detail"


def brief(occupation: str, work: Work, number: int) -> Brief:
    """The same for the same number."""
    rng = random.Random(f"brief {occupation} {work.name} {number}")
    year, quarter = rng.randint(2022, 2025), rng.randint(2, 4)
    first = next(m for m in work.measures if m.unit != "%" and m.digits == 0)
    others = [m for m in work.measures if m is not first]
    chosen = [first, *rng.sample(others, min(len(others), rng.randint(2, 3)))]
    figures = tuple(_figure(measure, rng) for measure in chosen)
    shares = [rng.uniform(0.6, 1.6) for _ in work.parts]
    values = [round(figures[0].current * share / sum(shares)) for share in shares]
    values[-1] = round(figures[0].current) - sum(values[:-1])
    total = Figure(first, figures[0].previous, float(sum(values)))
    decision = rng.choice(work.decisions).format(part=rng.choice(work.parts))
    return Brief(
        occupation, work, number, f"Q{quarter} {year}", f"Q{quarter - 1} {year}", (total, *figures[1:]),
        tuple(zip(work.parts, values, strict=True)), f"{decision} by {DUE}",
        tuple(rng.sample(work.risks, 2)), rng.choice(work.private),
    )  # fmt: skip


def _figure(measure: Measure, rng: random.Random) -> Figure:
    """Two values that no rounding makes the same."""
    current = round(rng.uniform(measure.low, measure.high), measure.digits)
    factor = rng.choice((rng.uniform(0.8, 0.95), rng.uniform(1.05, 1.25)))
    return Figure(measure, round(current * factor, measure.digits), current)


def deliverable(
    told: Brief, answer: str, specificity: str, *, length: tuple[int, int], font: float
) -> Deliverable:
    """What has to be delivered, for every reader."""
    full, placed = specificity == "full", specificity != "brief"
    facts = [
        Fact.model_validate(
            {"label": f.measure.name, "value": value, "as": f.written(value), "unit": f.measure.unit,
             "period": period}
        )
        for f in told.figures
        for period, value in ((told.before, f.previous), (told.period, f.current))
    ]  # fmt: skip
    parts = [
        Fact.model_validate({"label": name, "value": float(value), "as": f"{value:,}"})
        for name, value in told.parts
    ]
    figures = {fact.value for fact in (*facts, *parts)}
    chart = "chart" if answer.endswith(".pptx") else "table"
    return Deliverable(
        answer=answer,
        title=told.title,
        sections=(
            Section(heading="Key figures", facts=tuple(facts), show="table" if full else ""),
            Section(heading=told.detail, facts=tuple(parts), show=chart if full else ""),
            Section(heading="Risks", texts=told.risks),
            Section(heading="Decision", texts=(told.decision,)),
        ),
        placed=placed,
        length=length,
        figures=tuple(sorted(figures)),
        forbidden=(told.private,),
        rules=Rules(font=font, contrast=4.5 if chart == "chart" else 3.0),
    )


def steady(raw: bytes) -> bytes:
    """An office file with no time of saving in it or in the workbooks that it holds."""
    found = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(raw)) as source,
        zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith(".xlsx"):
                data = steady(data)
            if name == "docProps/core.xml":
                data = re.sub(rb"(<dcterms:\w+[^>]*>)[^<]*", rb"\g<1>2025-01-01T00:00:00Z", data)
            made = zipfile.ZipInfo(name, (2025, 1, 1, 0, 0, 0))
            made.compress_type, made.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            target.writestr(made, data)
    return found.getvalue()
