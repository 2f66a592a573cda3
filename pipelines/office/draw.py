"""What generators draw from: names, dates and amounts that look like somebody's data, by a seeded source."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence

FIRST = (
    "Amara", "Bruno", "Chen", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ines", "Jonas", "Kavya", "Liam",
    "Mei", "Nadia", "Omar", "Petra", "Quentin", "Rosa", "Sami", "Tuva", "Uma", "Viktor", "Wanda", "Yara",
)  # fmt: skip
LAST = (
    "Abe", "Bauer", "Costa", "Diaz", "Ekman", "Fofana", "Garcia", "Haddad", "Ivanov", "Jensen", "Kim",
    "Lopez", "Moreau", "Novak", "Okafor", "Patel", "Rossi", "Silva", "Tanaka", "Ueda", "Vega", "Weber",
)  # fmt: skip
COMPANIES = (
    "Alder Foods", "Birch & Sons", "Cobalt Labs", "Delta Mills", "Ember Energy", "Fjord Shipping",
    "Granite Works", "Harbor Health", "Iris Media", "Juniper Retail", "Keystone Parts", "Lumen Optics",
    "Maple Transport", "Nimbus Cloud", "Orchard Farms", "Pioneer Tools",
)  # fmt: skip


def person(rng: random.Random) -> str:
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def dirty(rng: random.Random, text: str) -> str:
    """As people paste it: odd case, blanks around and between."""
    text = rng.choice((str.upper, str.lower, str.title))(text)
    return rng.choice(("", " ", "  ")) + text.replace(" ", rng.choice((" ", "  "))) + rng.choice(("", " "))


def amount(rng: random.Random, low: float, high: float, digits: int = 2) -> float:
    return round(rng.uniform(low, high), digits)


def days(rng: random.Random, count: int, first: dt.date, span: int) -> list[dt.date]:
    """Distinct days in order, not more than there are."""
    return [first + dt.timedelta(n) for n in sorted(rng.sample(range(span), min(count, span)))]


def codes(rng: random.Random, count: int, prefixes: Sequence[str], digits: int = 4) -> list[str]:
    """Distinct codes such as `NW-1042`."""
    numbers = rng.sample(range(10 ** (digits - 1), 10**digits), count)
    return [f"{rng.choice(prefixes)}-{number}" for number in numbers]
