"""Operations that fill a column: one formula a row, beside a table of records."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

from openpyxl.utils import quote_sheetname

from pipelines.office.domains import Domain
from pipelines.office.seeds import LOOKUP, MAIN, TIERS
from pipelines.office.state import NUMBER, TEXT, Ambiguous, State
from pipelines.office.step import Operation, Step, live_column, shown


def domain_of(state: State) -> Domain | None:
    return state.facts.get("domain")


def has_column(state: State, column: str) -> bool:
    return any(one.name == column for one in state.tables[MAIN].columns)


def product(state: State, rng: random.Random) -> Step | None:
    """Two columns multiplied."""
    domain = domain_of(state)
    if domain is None or has_column(state, domain.product[2]):
        return None
    one, other, name = domain.product
    table = state.tables[MAIN]
    a, b = table.letter(one), table.letter(other)
    return live_column(
        state,
        "product",
        MAIN,
        name,
        NUMBER,
        lambda row: f"={a}{row}*{b}{row}",
        lambda s: [
            x * y for x, y in zip(s.tables[MAIN].values(one), s.tables[MAIN].values(other), strict=True)
        ],
        reads=(table.reference(one), table.reference(other)),
        form="#,##0.00",
        say={"one": shown(table, one), "other": shown(table, other)},
    )


def rated(state: State, rng: random.Random) -> Step | None:
    """A column times an assumption, which is a cell and not a number in the formula."""
    domain = domain_of(state)
    if (
        domain is None
        or not has_column(state, domain.product[2])
        or has_column(state, domain.rate[0] + " amount")
    ):
        return None
    of, rate = domain.product[2], state.inputs["rate"]
    table = state.tables[MAIN]
    letter = table.letter(of)
    return live_column(
        state,
        "rated",
        MAIN,
        domain.rate[0] + " amount",
        NUMBER,
        lambda row: f"={letter}{row}*{rate.fixed}",
        lambda s: [value * s.inputs["rate"].value for value in s.tables[MAIN].values(of)],
        reads=(table.reference(of), f"{quote_sheetname(rate.sheet)}!{rate.cell}"),
        form="#,##0.00",
        forbid=(rate.value,),
        say={"of": of, "input": rate.label, "input_cell": f"{rate.sheet}!{rate.cell}"},
    )


def flag(state: State, rng: random.Random) -> Step | None:
    """A word by a threshold that stands in a cell."""
    domain = domain_of(state)
    if domain is None or has_column(state, "Class"):
        return None
    least, table = state.inputs["threshold"], state.tables[MAIN]
    letter = table.letter(domain.measure)
    high, low = rng.choice((("large", "small"), ("review", "ok"), ("A", "B"), ("high", "normal")))
    return live_column(
        state,
        "flag",
        MAIN,
        "Class",
        TEXT,
        lambda row: f'=IF({letter}{row}>={least.fixed},"{high}","{low}")',
        lambda s: [
            high if value >= s.inputs["threshold"].value else low
            for value in s.tables[MAIN].values(domain.measure)
        ],
        reads=(table.reference(domain.measure), f"{quote_sheetname(least.sheet)}!{least.cell}"),
        say={
            "of": shown(table, domain.measure),
            "input": least.label,
            "input_cell": f"{least.sheet}!{least.cell}",
            "high": high,
            "low": low,
        },
    )


def lookup(state: State, rng: random.Random) -> Step | None:
    """An attribute of the key, from the reference sheet."""
    domain = domain_of(state)
    if domain is None:
        return None
    table, other = state.tables[MAIN], state.tables[LOOKUP]
    left = [name for name in other.named(NUMBER) if not has_column(state, name)]
    if not left:
        return None
    name = rng.choice(left)
    key = table.letter(domain.key)
    keys, values = other.fixed(domain.key), other.fixed(name)

    def compute(s: State) -> list[Any]:
        known = dict(zip(s.tables[LOOKUP].values(domain.key), s.tables[LOOKUP].values(name), strict=True))
        return [known[value] for value in s.tables[MAIN].values(domain.key)]

    return live_column(
        state,
        "lookup",
        MAIN,
        name,
        NUMBER,
        lambda row: f"=INDEX({values},MATCH({key}{row},{keys},0))",
        compute,
        reads=(table.reference(domain.key), other.reference(name)),
        form=other.column(name).number_format,
        say={"key": domain.key, "other": other.sheet, "value": shown(other, name)},
    )


def band(state: State, rng: random.Random) -> Step | None:
    """The rate of the highest tier that the measure reaches."""
    domain = domain_of(state)
    if domain is None or has_column(state, domain.tier[0]):
        return None
    name, table, tiers = domain.tier[0], state.tables[MAIN], state.tables[TIERS]
    letter, steps, rates = table.letter(domain.measure), tiers.fixed("From"), tiers.fixed(domain.tier[0])

    def compute(s: State) -> list[Any]:
        ladder = list(zip(s.tables[TIERS].values("From"), s.tables[TIERS].values(name), strict=True))
        return [
            [rate for step, rate in ladder if value >= step][-1]
            for value in s.tables[MAIN].values(domain.measure)
        ]

    return live_column(
        state,
        "band",
        MAIN,
        name,
        NUMBER,
        lambda row: f"=LOOKUP({letter}{row},{steps},{rates})",
        compute,
        reads=(table.reference(domain.measure), tiers.reference(name)),
        form="0.0%",
        say={"of": shown(table, domain.measure), "other": tiers.sheet},
    )


def running(state: State, rng: random.Random) -> Step | None:
    """A total that grows down the rows."""
    domain = domain_of(state)
    if domain is None or has_column(state, f"Cumulative {domain.measure}"):
        return None
    table = state.tables[MAIN]
    letter, first = table.letter(domain.measure), table.first

    def compute(s: State) -> list[Any]:
        values = s.tables[MAIN].values(domain.measure)
        return [sum(values[: n + 1]) for n in range(len(values))]

    return live_column(
        state,
        "running",
        MAIN,
        f"Cumulative {domain.measure}",
        NUMBER,
        lambda row: f"=SUM(${letter}${first}:{letter}{row})",
        compute,
        reads=(table.reference(domain.measure),),
        form="#,##0.00",
        say={"of": shown(table, domain.measure)},
    )


def share(state: State, rng: random.Random) -> Step | None:
    """Each row's part of the whole."""
    domain = domain_of(state)
    if domain is None or has_column(state, f"Share of {domain.measure}"):
        return None
    table = state.tables[MAIN]
    letter, whole = table.letter(domain.measure), table.fixed(domain.measure, here=True)

    def compute(s: State) -> list[Any]:
        values = s.tables[MAIN].values(domain.measure)
        return [value / sum(values) for value in values]

    return live_column(
        state,
        "share",
        MAIN,
        f"Share of {domain.measure}",
        NUMBER,
        lambda row: f"={letter}{row}/SUM({whole})",
        compute,
        reads=(table.reference(domain.measure),),
        form="0.0%",
        say={"of": shown(table, domain.measure)},
    )


def rank(state: State, rng: random.Random) -> Step | None:
    """The place of each row, the largest being 1; equal values share a place."""
    domain = domain_of(state)
    if domain is None or has_column(state, "Rank"):
        return None
    table = state.tables[MAIN]
    of = domain.product[2] if has_column(state, domain.product[2]) else domain.measure
    letter, whole = table.letter(of), table.fixed(of, here=True)

    def compute(s: State) -> list[Any]:
        values = s.tables[MAIN].values(of)
        ordered = sorted(values)
        if any(0 < b - a < 1e-6 for a, b in pairwise(ordered)):
            raise Ambiguous("values that differ by rounding alone")
        return [1 + sum(other > value for other in values) for value in values]

    return live_column(
        state,
        "rank",
        MAIN,
        "Rank",
        NUMBER,
        lambda row: f"=RANK({letter}{row},{whole})",
        compute,
        reads=(table.reference(of),),
        form="0",
        say={"of": shown(table, of)},
    )


OPERATIONS = (
    Operation("product", 1, product),
    Operation("rated", 1, rated),
    Operation("flag", 1, flag),
    Operation("lookup", 2, lookup),
    Operation("band", 2, band),
    Operation("running", 1, running),
    Operation("share", 1, share),
    Operation("rank", 1, rank),
)
