"""The formulas of the recalculation corpus, each beside the Python that answers it.

No spreadsheet engine had a part in an answer: it is computed here, from the same data, by code written for
it. `python benchmarks/recalculation_answers.py` writes `recalculation_corpus.json`, which is what is
committed and measured; a test holds the file to this module.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
import math
import statistics as st
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).with_name("recalculation_corpus.json")
Day = dt.date

# Sheet "Data", row 1 is the header.
HEADER = ["Region", "Product", "Qty", "Price", "Date", "Paid"]
ROWS: list[tuple[str, str, int, float, Day, bool]] = [
    ("North", "Desk", 4, 250.0, Day(2024, 1, 15), True),
    ("South", "Chair", 10, 79.5, Day(2024, 1, 31), False),
    ("East", "Lamp", 7, 35.25, Day(2024, 2, 29), True),
    ("West", "Desk", 3, 260.0, Day(2024, 3, 10), True),
    ("North", "Chair", 12, 75.0, Day(2024, 4, 5), False),
    ("South", "Lamp", 20, 33.1, Day(2024, 5, 20), True),
    ("East", "Desk", 5, 245.0, Day(2024, 6, 30), False),
    ("West", "Chair", 8, 80.0, Day(2024, 7, 4), True),
    ("North", "Lamp", 15, 34.0, Day(2024, 8, 8), True),
    ("South", "Desk", 2, 255.0, Day(2024, 9, 17), False),
    ("East", "Chair", 9, 78.0, Day(2024, 10, 11), True),
    ("West", "Lamp", 11, 36.0, Day(2024, 12, 31), True),
]
# Sheet "Num": A2:A11, B2:B11, and column C with a text, a blank and a truth value among numbers.
A = [3.0, 7.5, 1.25, 9.0, 4.0, 6.75, 2.0, 8.5, 5.0, 10.0]
B = [2.1, 6.9, 0.8, 8.7, 4.4, 6.1, 2.6, 7.9, 5.3, 9.6]
C: list[Any] = [5, "x", None, True, 12, -3, 0, "7", 4.5, 100]
FLOWS = [-10000.0, 2500.0, 3000.0, 3500.0, 4000.0]  # Num!D2:D6
FLOW_DAYS = [Day(2024, 1, 1), Day(2024, 7, 1), Day(2025, 1, 1), Day(2025, 9, 15), Day(2026, 3, 1)]  # E2:E6
WORDS = ["  alpha  beta ", "Gamma", "delta-77", "Épsilon", "a,b,c"]  # Num!F2:F6
SORTED = [10, 20, 30, 40, 50]  # Num!G2:G6, with grades in H2:H6
GRADES = ["E", "D", "C", "B", "A"]

QTY, PRICE = [r[2] for r in ROWS], [r[3] for r in ROWS]
AMOUNT = [q * p for q, p in zip(QTY, PRICE, strict=True)]
EPOCH = Day(1899, 12, 30)
ERROR = dict[str, str]


def serial(day: Day) -> int:
    return (day - EPOCH).days


def error(text: str) -> ERROR:
    return {"error": text}


def half_up(value: float, digits: int) -> float:
    """Rounding as a worksheet does it: halves away from zero."""
    unit = Decimal(1).scaleb(-digits)
    return float(Decimal(repr(value)).quantize(unit, rounding=ROUND_HALF_UP))


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Bisection to the last digit; f(low) and f(high) differ in sign."""
    for _ in range(200):
        middle = (low + high) / 2
        if (f(low) < 0) == (f(middle) < 0):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def npv(rate: float, flows: list[float]) -> float:
    return sum(flow / (1 + rate) ** n for n, flow in enumerate(flows, 1))


def xnpv(rate: float) -> float:
    return sum(
        flow / (1 + rate) ** ((day - FLOW_DAYS[0]).days / 365)
        for flow, day in zip(FLOWS, FLOW_DAYS, strict=True)
    )


def pmt(rate: float, periods: int, present: float, future: float = 0.0, begin: int = 0) -> float:
    growth = (1 + rate) ** periods
    return -(present * growth + future) * rate / ((growth - 1) * (1 + rate * begin))


def schedule(rate: float, periods: int, present: float) -> list[tuple[float, float]]:
    """(interest, principal) of each payment, by walking down the loan."""
    payment, left, found = -pmt(rate, periods, present), present, []
    for _ in range(periods):
        interest = left * rate
        found.append((interest, payment - interest))
        left -= payment - interest
    return found


def edate(day: Day, months: int) -> Day:
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return Day(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def workdays(first: Day, last: Day, holidays: tuple[Day, ...] = ()) -> int:
    days = (first + dt.timedelta(n) for n in range((last - first).days + 1))
    return sum(day.weekday() < 5 and day not in holidays for day in days)


def workday(first: Day, count: int) -> Day:
    day = first
    while count:
        day += dt.timedelta(1)
        count -= day.weekday() < 5
    return day


def where(test: Callable[[Any], bool], values: Sequence[float]) -> list[float]:
    return [value for row, value in zip(ROWS, values, strict=True) if test(row)]


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def kurtosis(values: list[float]) -> float:
    n, mean, deviation = len(values), st.fmean(values), st.stdev(values)
    over = sum(((v - mean) / deviation) ** 4 for v in values)
    return n * (n + 1) / ((n - 1) * (n - 2) * (n - 3)) * over - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def slope() -> float:
    mean_a, mean_b = st.fmean(A), st.fmean(B)
    over = sum((a - mean_a) * (b - mean_b) for a, b in zip(A, B, strict=True))
    return over / sum((a - mean_a) ** 2 for a in A)


def roman(number: int) -> str:
    signs = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
             (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]  # fmt: skip
    text = ""
    for value, sign in signs:
        text += sign * (number // value)
        number %= value
    return text


def declining(cost: float, factor: float, life: int, period: int) -> float:
    left = cost
    for n in range(1, period + 1):
        fall = left * factor / life
        if n == period:
            return fall
        left -= fall
    raise ValueError(period)


def north(row: Any) -> bool:
    return row[0] == "North"


def desk(row: Any) -> bool:
    return row[1] == "Desk"


D = Day(2024, 2, 29)
SCHEDULE = schedule(0.06 / 12, 36, 20000)
INTERCEPT = st.fmean(B) - slope() * st.fmean(A)
CORREL = slope() * st.pstdev(A) / st.pstdev(B)

MATH: list[tuple[str, Any]] = [
    ("=SUM(Num!A2:A11)", sum(A)),
    ("=PRODUCT(Num!A2:A4)", A[0] * A[1] * A[2]),
    ("=1+2*3^2", 19),
    ("=-2^2", 4),
    ("=2^-1", 0.5),
    ("=10/4", 2.5),
    ("=7%", 0.07),
    ("=200*15%", 30),
    ("=5-3-1", 1),
    ("=2^3^2", 64),
    ("=ABS(-3.5)", 3.5),
    ("=SIGN(-2)", -1),
    ("=INT(-3.2)", -4),
    ("=TRUNC(-3.7)", -3),
    ("=TRUNC(3.14159,3)", 3.141),
    ("=ROUND(2.5,0)", half_up(2.5, 0)),
    ("=ROUND(-2.5,0)", -3),
    ("=ROUND(1234.567,-2)", half_up(1234.567, -2)),
    ("=ROUND(1.005,2)", 1.01),
    ("=ROUNDUP(2.121,2)", 2.13),
    ("=ROUNDDOWN(-2.129,2)", -2.12),
    ("=MROUND(17,5)", 15),
    ("=CEILING(2.1,0.5)", 2.5),
    ("=FLOOR(2.9,0.5)", 2.5),
    ("=CEILING.MATH(-5.5,2)", -4),
    ("=FLOOR.MATH(-5.5,2)", -6),
    ("=EVEN(3)", 4),
    ("=ODD(4)", 5),
    ("=MOD(-7,3)", -7 % 3),
    ("=MOD(7,-3)", 7 % -3),
    ("=MOD(5.5,2)", 1.5),
    ("=QUOTIENT(17,5)", 3),
    ("=GCD(84,36)", math.gcd(84, 36)),
    ("=LCM(12,18)", math.lcm(12, 18)),
    ("=FACT(7)", math.factorial(7)),
    ("=FACTDOUBLE(7)", 7 * 5 * 3),
    ("=COMBIN(10,3)", math.comb(10, 3)),
    ("=COMBINA(4,3)", math.comb(6, 3)),
    ("=PERMUT(6,2)", math.perm(6, 2)),
    ("=SQRT(2)", math.sqrt(2)),
    ("=SQRTPI(2)", math.sqrt(2 * math.pi)),
    ("=EXP(1.5)", math.exp(1.5)),
    ("=LN(10)", math.log(10)),
    ("=LOG(8,2)", 3),
    ("=LOG10(1000)", 3),
    ("=POWER(2,0.5)", 2**0.5),
    ("=PI()", math.pi),
    ("=SIN(1)", math.sin(1)),
    ("=COS(1)", math.cos(1)),
    ("=TAN(1)", math.tan(1)),
    ("=ASIN(0.5)", math.asin(0.5)),
    ("=ACOS(0.5)", math.acos(0.5)),
    ("=ATAN(2)", math.atan(2)),
    ("=ATAN2(1,2)", math.atan2(2, 1)),
    ("=SINH(1)", math.sinh(1)),
    ("=COSH(1)", math.cosh(1)),
    ("=TANH(1)", math.tanh(1)),
    ("=ASINH(1)", math.asinh(1)),
    ("=ACOSH(2)", math.acosh(2)),
    ("=DEGREES(PI())", 180),
    ("=RADIANS(90)", math.pi / 2),
    ("=SUMSQ(3,4)", 25),
    ("=SUMX2MY2(Num!A2:A4,Num!B2:B4)", sum(a * a - b * b for a, b in zip(A[:3], B[:3], strict=True))),
    ("=SUMXMY2(Num!A2:A4,Num!B2:B4)", sum((a - b) ** 2 for a, b in zip(A[:3], B[:3], strict=True))),
    ("=SUMPRODUCT(Data!C2:C13,Data!D2:D13)", sum(AMOUNT)),
    ('=SUMPRODUCT((Data!A2:A13="North")*(Data!C2:C13))', sum(where(north, QTY))),
    ("=ROMAN(1994)", roman(1994)),
    ('=ARABIC("MCMXCIV")', 1994),
    ("=BASE(255,16)", "FF"),
    ('=DECIMAL("FF",16)', 255),
    ("=BITAND(12,10)", 12 & 10),
    ("=BITOR(12,10)", 12 | 10),
    ("=BITXOR(12,10)", 12 ^ 10),
    ("=BITLSHIFT(3,2)", 12),
    ("=SUBTOTAL(9,Num!A2:A11)", sum(A)),
    ("=SUBTOTAL(1,Num!A2:A11)", st.fmean(A)),
    ("=AGGREGATE(9,6,Num!A2:A11)", sum(A)),
    ("=AGGREGATE(14,6,Num!A2:A11,2)", sorted(A)[-2]),
    ("=MDETERM({2,1;1,3})", 5),
    ("=SUM(MMULT({1,2},{3;4}))", 11),
    ("=SUM(TRANSPOSE({1,2,3}))", 6),
    ("=SERIESSUM(2,0,1,{1,1,1})", 7),
    ("=MULTINOMIAL(2,3)", 10),
    ("=SUM({1,2;3,4}*{10;100})", 730),
]
STATISTICS: list[tuple[str, Any]] = [
    ("=AVERAGE(Num!A2:A11)", st.fmean(A)),
    ("=MEDIAN(Num!A2:A11)", st.median(A)),
    ("=MIN(Num!A2:A11)", min(A)),
    ("=MAX(Num!A2:A11)", max(A)),
    ("=LARGE(Num!A2:A11,3)", sorted(A)[-3]),
    ("=SMALL(Num!A2:A11,2)", sorted(A)[1]),
    ("=COUNT(Num!C2:C11)", 6),
    ("=COUNTA(Num!C2:C11)", 9),
    ("=COUNTBLANK(Num!C2:C11)", 1),
    ("=SUM(Num!C2:C11)", 5 + 12 - 3 + 0 + 4.5 + 100),
    ("=AVERAGEA(Num!C2:C11)", (5 + 1 + 12 - 3 + 4.5 + 100) / 9),
    ("=MAXA(Num!C5:C8)", 12),
    ("=VAR(Num!A2:A11)", st.variance(A)),
    ("=VARP(Num!A2:A11)", st.pvariance(A)),
    ("=VAR.S(Num!A2:A11)", st.variance(A)),
    ("=VAR.P(Num!A2:A11)", st.pvariance(A)),
    ("=STDEV(Num!A2:A11)", st.stdev(A)),
    ("=STDEVP(Num!A2:A11)", st.pstdev(A)),
    ("=STDEV.S(Num!A2:A11)", st.stdev(A)),
    ("=STDEV.P(Num!A2:A11)", st.pstdev(A)),
    ("=CORREL(Num!A2:A11,Num!B2:B11)", CORREL),
    ("=PEARSON(Num!A2:A11,Num!B2:B11)", CORREL),
    ("=RSQ(Num!B2:B11,Num!A2:A11)", CORREL**2),
    ("=SLOPE(Num!B2:B11,Num!A2:A11)", slope()),
    ("=INTERCEPT(Num!B2:B11,Num!A2:A11)", INTERCEPT),
    ("=FORECAST(12,Num!B2:B11,Num!A2:A11)", INTERCEPT + 12 * slope()),
    ("=FORECAST.LINEAR(12,Num!B2:B11,Num!A2:A11)", INTERCEPT + 12 * slope()),
    ("=COVAR(Num!A2:A11,Num!B2:B11)", slope() * st.pvariance(A)),
    ("=COVARIANCE.S(Num!A2:A11,Num!B2:B11)", slope() * st.variance(A)),
    ("=PERCENTILE(Num!A2:A11,0.3)", percentile(A, 0.3)),
    ("=PERCENTILE.INC(Num!A2:A11,0.9)", percentile(A, 0.9)),
    ("=QUARTILE(Num!A2:A11,1)", percentile(A, 0.25)),
    ("=QUARTILE.INC(Num!A2:A11,3)", percentile(A, 0.75)),
    ("=RANK(7.5,Num!A2:A11)", 1 + sum(a > 7.5 for a in A)),
    ("=RANK(7.5,Num!A2:A11,1)", 1 + sum(a < 7.5 for a in A)),
    ("=RANK.EQ(2,Num!A2:A11)", 1 + sum(a > 2 for a in A)),
    ("=GEOMEAN(Num!A2:A11)", st.geometric_mean(A)),
    ("=HARMEAN(Num!A2:A11)", st.harmonic_mean(A)),
    ("=AVEDEV(Num!A2:A11)", st.fmean(abs(a - st.fmean(A)) for a in A)),
    ("=DEVSQ(Num!A2:A11)", st.pvariance(A) * 10),
    ("=TRIMMEAN(Num!A2:A11,0.2)", st.fmean(sorted(A)[1:-1])),
    ("=MODE({1,2,2,3,3,3})", 3),
    ("=MODE.SNGL({4,4,1})", 4),
    ("=STANDARDIZE(8,5,2)", 1.5),
    ("=NORMSDIST(1.2)", normal(1.2)),
    ("=NORM.S.DIST(1.2,TRUE)", normal(1.2)),
    ("=NORM.DIST(12,10,2,TRUE)", normal(1)),
    ("=NORM.DIST(12,10,2,FALSE)", math.exp(-0.5) / (2 * math.sqrt(2 * math.pi))),
    ("=NORM.S.INV(0.975)", st.NormalDist().inv_cdf(0.975)),
    ("=NORM.INV(0.9,10,2)", st.NormalDist(10, 2).inv_cdf(0.9)),
    ("=BINOM.DIST(3,10,0.4,FALSE)", math.comb(10, 3) * 0.4**3 * 0.6**7),
    ("=BINOM.DIST(3,10,0.4,TRUE)", sum(math.comb(10, k) * 0.4**k * 0.6 ** (10 - k) for k in range(4))),
    ("=POISSON.DIST(2,3,FALSE)", math.exp(-3) * 9 / 2),
    ("=EXPON.DIST(2,0.5,TRUE)", 1 - math.exp(-1)),
    ("=CONFIDENCE.NORM(0.05,2,25)", st.NormalDist().inv_cdf(0.975) * 2 / 5),
    ("=GAMMALN(5)", math.lgamma(5)),
    ("=FISHER(0.5)", math.atanh(0.5)),
    ("=KURT({1,2,3,4,10})", kurtosis([1, 2, 3, 4, 10])),
    ("=SKEW({1,2,3})", 0),
    (
        "=STEYX(Num!B2:B11,Num!A2:A11)",
        math.sqrt(sum((b - INTERCEPT - slope() * a) ** 2 for a, b in zip(A, B, strict=True)) / 8),
    ),
]
CONDITIONAL: list[tuple[str, Any]] = [
    ('=SUMIF(Data!A2:A13,"North",Data!C2:C13)', sum(where(north, QTY))),
    ('=SUMIF(Data!C2:C13,">8")', sum(q for q in QTY if q > 8)),
    ('=SUMIF(Data!B2:B13,"*a*",Data!C2:C13)', sum(where(lambda r: "a" in r[1].lower(), QTY))),
    ('=SUMIFS(Data!C2:C13,Data!A2:A13,"North",Data!B2:B13,"Lamp")', 15),
    (
        '=SUMIFS(Data!C2:C13,Data!D2:D13,">=75",Data!D2:D13,"<100")',
        sum(where(lambda r: 75 <= r[3] < 100, QTY)),
    ),
    (
        '=SUMIFS(Data!C2:C13,Data!E2:E13,">="&DATE(2024,6,1))',
        sum(where(lambda r: r[4] >= Day(2024, 6, 1), QTY)),
    ),
    ('=COUNTIF(Data!B2:B13,"Desk")', 4),
    ('=COUNTIF(Data!B2:B13,"<>Desk")', 8),
    ('=COUNTIF(Data!C2:C13,"<5")', sum(q < 5 for q in QTY)),
    ('=COUNTIF(Data!A2:A13,"?ast")', 3),
    ("=COUNTIF(Data!F2:F13,TRUE)", sum(r[5] for r in ROWS)),
    ('=COUNTIFS(Data!A2:A13,"South",Data!F2:F13,FALSE)', 2),
    ('=AVERAGEIF(Data!B2:B13,"Chair",Data!D2:D13)', st.fmean(where(lambda r: r[1] == "Chair", PRICE))),
    (
        '=AVERAGEIFS(Data!D2:D13,Data!B2:B13,"Desk",Data!A2:A13,"<>North")',
        st.fmean(where(lambda r: desk(r) and not north(r), PRICE)),
    ),
    ('=MAXIFS(Data!D2:D13,Data!B2:B13,"Lamp")', 36),
    ('=MINIFS(Data!D2:D13,Data!B2:B13,"Desk")', 245),
    (
        '=SUMPRODUCT((Data!B2:B13="Desk")*(Data!F2:F13)*Data!C2:C13*Data!D2:D13)',
        sum(where(lambda r: desk(r) and r[5], AMOUNT)),
    ),
    ("=SUMPRODUCT(--(MONTH(Data!E2:E13)<=3))", 4),
    ('=IF(3>2,"yes","no")', "yes"),
    ("=IF(FALSE,1)", False),
    ('=IF(1=1,IF(2>3,"a","b"),"c")', "b"),
    ('=IFS(Num!A2>5,"high",Num!A2>2,"mid",TRUE,"low")', "mid"),
    ('=SWITCH(3,1,"a",3,"c","z")', "c"),
    ("=AND(TRUE,1<2)", True),
    ("=OR(FALSE,1>2)", False),
    ("=XOR(TRUE,TRUE,TRUE)", True),
    ("=NOT(1=2)", True),
    ('=IFERROR(1/0,"none")', "none"),
    ('=IFNA(MATCH("q",Data!A2:A13,0),-1)', -1),
    ("=ISBLANK(Num!C4)", True),
    ("=ISNUMBER(Num!C3)", False),
    ("=ISTEXT(Num!C9)", True),
    ("=ISLOGICAL(Num!C5)", True),
    ("=ISERROR(1/0)", True),
    ("=ISNA(NA())", True),
    ("=ISERR(NA())", False),
    ("=ISEVEN(4)", True),
    ("=ISODD(4)", False),
    ("=N(TRUE)", 1),
    ('=TYPE("a")', 2),
    ("=ISFORMULA(Num!A2)", False),
    ("=1=1", True),
    ('="a"="A"', True),
    ('="abc"<"abd"', True),
    ("=TRUE+1", 2),
    ('="3"*2', 6),
    ('=CHOOSE(2,"x","y","z")', "y"),
]
LOOKUP: list[tuple[str, Any]] = [
    ('=VLOOKUP("West",Data!A2:D13,4,FALSE)', 260),
    ("=VLOOKUP(35,Num!G2:H6,2,TRUE)", "C"),
    ("=VLOOKUP(35,Num!G2:H6,2)", "C"),
    ('=HLOOKUP("Price",Data!A1:F13,3,FALSE)', 79.5),
    ('=INDEX(Data!D2:D13,MATCH("Lamp",Data!B2:B13,0))', 35.25),
    ("=INDEX(Data!A2:F13,5,2)", "Chair"),
    ("=SUM(INDEX(Data!A2:F13,0,3))", sum(QTY)),
    ("=MATCH(30,Num!G2:G6,0)", 3),
    ("=MATCH(35,Num!G2:G6,1)", 3),
    ("=MATCH(35,Num!G2:G6)", 3),
    ("=LOOKUP(45,Num!G2:G6,Num!H2:H6)", "B"),
    ('=XLOOKUP("Lamp",Data!B2:B13,Data!D2:D13)', 35.25),
    ('=XLOOKUP("none",Data!B2:B13,Data!D2:D13,"n/a")', "n/a"),
    ("=XLOOKUP(35,Num!G2:G6,Num!H2:H6,,-1)", "C"),
    ("=XLOOKUP(35,Num!G2:G6,Num!H2:H6,,1)", "B"),
    ('=XLOOKUP("Lamp",Data!B2:B13,Data!D2:D13,,0,-1)', 36),
    ('=XMATCH("Desk",Data!B2:B13)', 1),
    ('=XMATCH("Desk",Data!B2:B13,0,-1)', 10),
    ("=OFFSET(Data!A1,3,2)", 7),
    ("=SUM(OFFSET(Data!C1,1,0,3,1))", 21),
    ('=INDIRECT("Data!C3")', 10),
    ('=SUM(INDIRECT("Data!C2:C4"))', 21),
    ("=ROW(Data!A7)", 7),
    ("=COLUMN(Data!D1)", 4),
    ("=ROWS(Data!A2:F13)", 12),
    ("=COLUMNS(Data!A2:F13)", 6),
    ("=ADDRESS(3,2)", "$B$3"),
    ("=ADDRESS(3,2,4)", "B3"),
    ("=SUMIF(Data!A2:A13,INDEX(Data!A2:A13,1),Data!C2:C13)", sum(where(north, QTY))),
    ("=SUM(Data!C2:INDEX(Data!C2:C13,3))", 21),
    ('=INDEX(Data!D2:D13,MATCH(1,INDEX((Data!A2:A13="East")*(Data!B2:B13="Chair"),0),0))', 78),
    ("=AREAS(Data!A1:B2)", 1),
    ('=SUM(FILTER(Data!C2:C13,Data!A2:A13="North"))', sum(where(north, QTY))),
    ("=COUNTA(UNIQUE(Data!B2:B13))", 3),
    ("=INDEX(SORT(Num!A2:A11),2)", sorted(A)[1]),
    ("=INDEX(SORT(Num!A2:A11,1,-1),1)", max(A)),
    ("=INDEX(SORTBY(Data!B2:B13,Data!D2:D13,-1),1)", "Desk"),
    ("=SUM(SEQUENCE(5))", 15),
    ("=SUM(SEQUENCE(2,3,10,5))", sum(range(10, 40, 5))),
    ("=LET(x,Num!A2,y,Num!A3,x*y)", A[0] * A[1]),
    ("=SUM(Sales[Qty])", sum(QTY)),
    ("=SUM(Rate*100)", 12.5),
]
TEXT: list[tuple[str, Any]] = [
    ('="a"&"b"&1', "ab1"),
    ('=CONCATENATE("x",2,"y")', "x2y"),
    ('=CONCAT("a","b")', "ab"),
    ('=TEXTJOIN("-",TRUE,"a","","b")', "a-b"),
    ('=TEXTJOIN(", ",TRUE,Num!H2:H6)', ", ".join(GRADES)),
    ("=LEN(Num!F3)", 5),
    ("=LEFT(Num!F3,3)", "Gam"),
    ("=RIGHT(Num!F4,2)", "77"),
    ("=MID(Num!F4,2,3)", "elt"),
    ("=UPPER(Num!F3)", "GAMMA"),
    ("=LOWER(Num!F3)", "gamma"),
    ('=PROPER("two words")', "Two Words"),
    ("=TRIM(Num!F2)", "alpha beta"),
    ('=SUBSTITUTE("a-b-c","-","+")', "a+b+c"),
    ('=SUBSTITUTE("a-b-c","-","+",2)', "a-b+c"),
    ('=REPLACE("abcdef",2,3,"XY")', "aXYef"),
    ('=FIND("l",Num!F4)', 3),
    ('=SEARCH("L",Num!F4)', 3),
    ('=ISNUMBER(SEARCH("77",Num!F4))', True),
    ('=REPT("ab",3)', "ababab"),
    ('=EXACT("a","A")', False),
    ('=VALUE("12.5")', 12.5),
    ('=VALUE("1e3")', 1000),
    ('=TEXT(1234.5,"#,##0.00")', "1,234.50"),
    ('=TEXT(0.256,"0.0%")', "25.6%"),
    ('=TEXT(DATE(2024,3,5),"yyyy-mm-dd")', "2024-03-05"),
    ('=TEXT(7,"000")', "007"),
    ('=TEXT(DATE(2024,3,5),"mmm")', "Mar"),
    ('=TEXT(-3.14159,"0.00")', "-3.14"),
    ("=CHAR(65)", "A"),
    ('=CODE("A")', 65),
    ('=UNICODE("É")', 0xC9),
    ("=UNICHAR(937)", "\u03a9"),
    ('=CLEAN("ab")', "ab"),
    ('=T("x")', "x"),
    ('=NUMBERVALUE("1.234,5",",",".")', 1234.5),
    ("=FIXED(1234.567,1)", "1,234.6"),
    ("=FIXED(1234.567,1,TRUE)", "1234.6"),
    ("=DOLLAR(1234.5)", "$1,234.50"),
    ('=LEN(Num!F6)-LEN(SUBSTITUTE(Num!F6,",",""))', 2),
    ('=LEFT("user@host",FIND("@","user@host")-1)', "user"),
    ('=MID("user@host",FIND("@","user@host")+1,99)', "host"),
    ("=VALUE(RIGHT(Num!F4,2))+1", 78),
    ('=LEN("")', 0),
    ('=""', None),
    ('=LOWER("ÉA")', "éa"),
]
DATES: list[tuple[str, Any]] = [
    ("=DATE(2024,2,29)", serial(D)),
    ("=DATE(2024,14,1)", serial(Day(2025, 2, 1))),
    ("=DATE(2024,3,0)", serial(D)),
    ("=YEAR(Data!E4)", 2024),
    ("=MONTH(Data!E4)", 2),
    ("=DAY(Data!E4)", 29),
    ("=WEEKDAY(Data!E4)", (D.weekday() + 1) % 7 + 1),
    ("=WEEKDAY(Data!E4,2)", D.weekday() + 1),
    ("=WEEKNUM(DATE(2024,1,7))", 2),
    ("=ISOWEEKNUM(DATE(2024,12,30))", Day(2024, 12, 30).isocalendar()[1]),
    ("=EDATE(DATE(2024,1,31),1)", serial(edate(Day(2024, 1, 31), 1))),
    ("=EDATE(DATE(2024,3,31),-1)", serial(D)),
    ("=EOMONTH(DATE(2024,1,15),1)", serial(D)),
    ("=EOMONTH(DATE(2024,1,15),0)", serial(Day(2024, 1, 31))),
    ('=DATEDIF(DATE(2023,2,28),DATE(2024,2,29),"Y")', 1),
    ('=DATEDIF(DATE(2024,1,15),DATE(2024,4,14),"M")', 2),
    ('=DATEDIF(DATE(2024,1,1),DATE(2024,3,1),"D")', 60),
    ("=DAYS(DATE(2024,3,1),DATE(2024,2,1))", 29),
    ("=DAYS360(DATE(2024,1,31),DATE(2024,7,31))", 180),
    ("=NETWORKDAYS(DATE(2024,1,1),DATE(2024,1,31))", workdays(Day(2024, 1, 1), Day(2024, 1, 31))),
    (
        "=NETWORKDAYS(DATE(2024,1,1),DATE(2024,1,31),DATE(2024,1,1))",
        workdays(Day(2024, 1, 1), Day(2024, 1, 31), (Day(2024, 1, 1),)),
    ),
    ("=WORKDAY(DATE(2024,1,1),10)", serial(workday(Day(2024, 1, 1), 10))),
    ("=NETWORKDAYS.INTL(DATE(2024,1,1),DATE(2024,1,31),7)", 23),
    ("=YEARFRAC(DATE(2024,1,1),DATE(2024,7,1))", 0.5),
    ("=YEARFRAC(DATE(2024,1,1),DATE(2024,7,1),3)", 182 / 365),
    ("=YEARFRAC(DATE(2024,1,1),DATE(2024,7,1),2)", 182 / 360),
    ("=TIME(6,30,0)", 6.5 / 24),
    ("=HOUR(0.75)", 18),
    ("=MINUTE(TIME(6,45,10))", 45),
    ("=SECOND(TIME(6,45,10))", 10),
    ('=DATEVALUE("2024-02-29")', serial(D)),
    ('=TIMEVALUE("12:00")', 0.5),
    ("=Data!E4-Data!E3", 29),
    ("=INT((MONTH(Data!E9)+2)/3)", 3),
    ("=MAX(Data!E2:E13)", serial(Day(2024, 12, 31))),
    ("=SUMPRODUCT((YEAR(Data!E2:E13)=2024)*(MONTH(Data!E2:E13)=2))", 1),
]
FINANCE: list[tuple[str, Any]] = [
    ("=PMT(0.06/12,36,20000)", pmt(0.06 / 12, 36, 20000)),
    ("=PMT(0.05,10,1000,500,1)", pmt(0.05, 10, 1000, 500, 1)),
    ("=IPMT(0.06/12,5,36,20000)", -SCHEDULE[4][0]),
    ("=PPMT(0.06/12,5,36,20000)", -SCHEDULE[4][1]),
    ("=CUMIPMT(0.06/12,36,20000,1,12,0)", -sum(i for i, _ in SCHEDULE[:12])),
    ("=CUMPRINC(0.06/12,36,20000,1,12,0)", -sum(p for _, p in SCHEDULE[:12])),
    ("=FV(0.05,10,-100)", 100 * (1.05**10 - 1) / 0.05),
    ("=PV(0.05,10,-100)", 100 * (1 - 1.05**-10) / 0.05),
    ("=NPER(0.01,-200,5000)", -math.log(1 - 5000 * 0.01 / 200) / math.log(1.01)),
    ("=RATE(36,-608.44,20000)", root(lambda r: 20000 - 608.44 * (1 - (1 + r) ** -36) / r, 1e-6, 0.1)),
    ("=NPV(0.08,Num!D3:D6)", npv(0.08, FLOWS[1:])),
    ("=NPV(0.08,Num!D3:D6)+Num!D2", npv(0.08, FLOWS[1:]) + FLOWS[0]),
    ("=IRR(Num!D2:D6)", root(lambda r: npv(r, FLOWS), 1e-6, 1.0)),
    ("=XNPV(0.1,Num!D2:D6,Num!E2:E6)", xnpv(0.1)),
    ("=XIRR(Num!D2:D6,Num!E2:E6)", root(xnpv, 1e-6, 1.0)),
    (
        "=MIRR(Num!D2:D6,0.1,0.12)",
        (sum(f * 1.12 ** (4 - n) for n, f in enumerate(FLOWS) if f > 0) / 10000) ** (1 / 4) - 1,
    ),
    ("=SLN(10000,1000,5)", 1800),
    ("=SYD(10000,1000,5,2)", 9000 * 4 / 15),
    ("=DDB(10000,1000,5,2)", declining(10000, 2, 5, 2)),
    ("=EFFECT(0.12,12)", 1.01**12 - 1),
    ("=NOMINAL(0.1268,12)", 12 * (1.1268 ** (1 / 12) - 1)),
    ("=PDURATION(0.05,1000,2000)", math.log(2) / math.log(1.05)),
    ("=RRI(10,1000,2000)", 2**0.1 - 1),
    ("=DOLLARDE(1.02,16)", 1.125),
    ("=ISPMT(0.1,1,3,8000)", -8000 * 0.1 * (1 - 1 / 3)),
    ("=FVSCHEDULE(1000,{0.05,0.1})", 1000 * 1.05 * 1.1),
    ("=SUM(Num!D2:D6)/ABS(Num!D2)", sum(FLOWS) / 10000),
    ("=DB(10000,1000,5,1)", 10000 * half_up(1 - 0.1 ** (1 / 5), 3)),
]
ERRORS: list[tuple[str, Any]] = [
    ("=1/0", error("#DIV/0!")),
    ("=NA()", error("#N/A")),
    ("=SQRT(-1)", error("#NUM!")),
    ('="a"+1', error("#VALUE!")),
    ("=NOSUCHFUNCTION(1)", error("#NAME?")),
    ('=VLOOKUP("none",Data!A2:D13,2,FALSE)', error("#N/A")),
    ("=INDEX(Num!A2:A11,99)", error("#REF!")),
    ('=VALUE("abc")', error("#VALUE!")),
    ("=LOG(0)", error("#NUM!")),
    ("=SUM(Num!A2,1/0)", error("#DIV/0!")),
    ('=FIND("z","abc")', error("#VALUE!")),
    ("=AVERAGE(Num!C4)", error("#DIV/0!")),
    ("=MATCH(5,Num!G2:G6,1)", error("#N/A")),
    ('=INDIRECT("nowhere")', error("#REF!")),
]
NEWEST: list[tuple[str, Any]] = [
    ("=LAMBDA(x,x*2)(4)", 8),
    ("=REDUCE(0,Num!A2:A4,LAMBDA(a,b,a+b))", sum(A[:3])),
    ("=SUM(TAKE(Num!A2:A11,3))", sum(A[:3])),
    ("=SUM(DROP(Num!A2:A11,8))", sum(A[8:])),
    ('=TEXTBEFORE("a-b","-")', "a"),
    ('=TEXTAFTER("a-b","-")', "b"),
    ("=SUM(VSTACK(Num!A2:A3,Num!B2:B3))", sum(A[:2] + B[:2])),
    ("=SUM(MAP(Num!A2:A4,LAMBDA(x,x^2)))", sum(a * a for a in A[:3])),
    ('=COUNTA(TEXTSPLIT("a,b,c",","))', 3),
    ("=SUM(CHOOSECOLS(Num!A2:B3,2))", sum(B[:2])),
    ("=SUM(BYROW(Num!A2:B4,LAMBDA(r,MAX(r))))", sum(max(pair) for pair in zip(A[:3], B[:3], strict=True))),
    ("=SUM(TOCOL(Num!A2:B3))", sum(A[:2] + B[:2])),
]
REGIONS, PRODUCTS = ("North", "South", "East", "West"), ("Desk", "Chair", "Lamp")
DECIMALS = (2.345, 2.355, -7.125, 1234.5678, 0.05, 99.995)
FIRSTS = (Day(2023, 12, 31), Day(2024, 1, 30), Day(2024, 2, 29), Day(2025, 5, 31))


def grids() -> list[tuple[str, Any]]:
    """One formula over a grid of arguments: where rounding, month ends and schedules go wrong is at the
    edges.
    """
    found: list[tuple[str, Any]] = []
    for value in DECIMALS:
        for digits in (-1, 0, 1, 2):
            found.append((f"=ROUND({value},{digits})", half_up(value, digits)))
    for region in REGIONS:
        for product in PRODUCTS:
            chosen = where(lambda r, one=region, two=product: r[:2] == (one, two), AMOUNT)
            test = f'(Data!A2:A13="{region}")*(Data!B2:B13="{product}")'
            found.append((f"=SUMPRODUCT({test}*Data!C2:C13*Data!D2:D13)", sum(chosen)))
            quantities = where(lambda r, one=region, two=product: r[:2] == (one, two), QTY)
            conditions = f'Data!A2:A13,"{region}",Data!B2:B13,"{product}"'
            found.append((f"=SUMIFS(Data!C2:C13,{conditions})", sum(quantities)))
    for first in FIRSTS:
        text = f"DATE({first.year},{first.month},{first.day})"
        for months in (-13, -1, 1, 12):
            found.append((f"=EDATE({text},{months})", serial(edate(first, months))))
            moved = edate(first, months)
            last = moved.replace(day=calendar.monthrange(moved.year, moved.month)[1])
            found.append((f"=EOMONTH({text},{months})", serial(last)))
        found.append((f"=NETWORKDAYS({text},{text}+45)", workdays(first, first + dt.timedelta(45))))
        found.append((f"=WORKDAY({text},25)", serial(workday(first, 25))))
        found.append((f"=WEEKDAY({text},2)", first.weekday() + 1))
    for period in (1, 2, 12, 18, 24, 35, 36):
        interest, principal = SCHEDULE[period - 1]
        found.append((f"=IPMT(0.5%,{period},36,20000)", -interest))
        found.append((f"=PPMT(0.5%,{period},36,20000)", -principal))
    for share in (0.05, 0.1, 0.25, 0.4, 0.6, 0.75, 0.95):
        found.append((f"=PERCENTILE(Num!B2:B11,{share})", percentile(B, share)))
    for rate in (0.01, 0.05, 0.1, 0.25):
        found.append((f"=NPV({rate},Num!D3:D6)+Num!D2", npv(rate, FLOWS[1:]) + FLOWS[0]))
        found.append((f"=XNPV({rate},Num!D2:D6,Num!E2:E6)", xnpv(rate)))
        found.append((f"=PMT({rate},12,5000)", pmt(rate, 12, 5000)))
    for value in (10, 19, 20, 49.5, 50):
        grade = [g for g, least in zip(GRADES, SORTED, strict=True) if value >= least][-1]
        found.append((f"=VLOOKUP({value},Num!G2:H6,2,TRUE)", grade))
        found.append((f"=INDEX(Num!H2:H6,MATCH({value},Num!G2:G6,1))", grade))
    for n in range(1, 11):
        found.append((f"=SUM(Num!$A$2:A{n + 1})", sum(A[:n])))
        found.append((f"=RANK(Num!B{n + 1},Num!$B$2:$B$11)", 1 + sum(b > B[n - 1] for b in B)))
        found.append((f"=LARGE(Num!A2:A11,{n})", sorted(A)[-n]))
    return found


def columns() -> list[tuple[str, Any]]:
    """Columns as analysts fill them down beside a table, row by row."""
    found: list[tuple[str, Any]] = []
    for n, (region, product, quantity, price, day, paid) in enumerate(ROWS):
        row, amount = n + 2, AMOUNT[n]
        found += [
            (f"=Data!C{row}*Data!D{row}", amount),
            (f"=ROUND(Data!C{row}*Data!D{row}*(1-Rate),2)", half_up(amount * 0.875, 2)),
            (f'=IF(Data!C{row}>=10,"bulk",IF(Data!F{row},"paid","open"))',
             "bulk" if quantity >= 10 else "paid" if paid else "open"),
            (f"=SUM(Data!$C$2:C{row})/SUM(Data!$C$2:$C$13)", sum(QTY[: n + 1]) / sum(QTY)),
            (f'="Q"&ROUNDUP(MONTH(Data!E{row})/3,0)&" "&YEAR(Data!E{row})',
             f"Q{-(-day.month // 3)} {day.year}"),
            (f'=UPPER(LEFT(Data!A{row},2))&"-"&TEXT(ROW(Data!A{row})-1,"000")',
             f"{region[:2].upper()}-{n + 1:03d}"),
            (f"=COUNTIF(Data!$B$2:B{row},Data!B{row})", [r[1] for r in ROWS[: n + 1]].count(product)),
            (f"=IFERROR(Data!D{row}/AVERAGEIF(Data!$B$2:$B$13,Data!B{row},Data!$D$2:$D$13)-1,0)",
             price / st.fmean(where(lambda r, one=product: r[1] == one, PRICE)) - 1),
            (f"=DATE(2025,1,31)-Data!E{row}", (Day(2025, 1, 31) - day).days),
        ]  # fmt: skip
    return found


GROUPS: dict[str, list[tuple[str, Any]]] = {
    "math": MATH, "statistics": STATISTICS, "conditional and logic": CONDITIONAL, "lookup": LOOKUP,
    "text": TEXT, "dates": DATES, "finance": FINANCE, "errors": ERRORS, "newest functions": NEWEST,
    "grids": grids(),
    "columns": columns(),
}  # fmt: skip


def corpus() -> list[dict[str, Any]]:
    """Every formula with its answer, as it is committed."""
    found = []
    for group, entries in GROUPS.items():
        for formula, answer in entries:
            if isinstance(answer, float) and answer.is_integer():
                answer = int(answer)
            found.append({"group": group, "formula": formula, "answer": answer})
    assert all(one["formula"] != other["formula"] for one, other in pairwise(found))
    return found


def main() -> None:
    lines = ",\n".join(json.dumps(entry, ensure_ascii=True) for entry in corpus())
    CORPUS.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
