"""How a walk is told: phrases of each operation in two voices, and what every task says besides.

The terse voice names what is wanted; the spoken one says it as a colleague would. Where results have to stand
is told apart, from the same data as the checks, so no phrase can leave it out. Hints name functions; harder
variants go without them and without the order of the steps.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.office.state import Derived, State
from pipelines.office.step import Step

PHRASES: Mapping[str, tuple[str, str]] = {
    "product": (
        "Add a column `{column}` to `{sheet}`: {one} times {other}.",
        "I need `{column}` on every row of `{sheet}`, which is simply {one} multiplied by {other}.",
    ),
    "rated": (
        "Add a column `{column}` to `{sheet}`: {of} times the rate in `{input_cell}` ({input}).",
        "Work out the `{column}` for each {noun} on `{sheet}`. The rate is in `{input_cell}` and we "
        "change it often, so take it from there. It applies to {of}.",
    ),
    "flag": (
        "Add a column `{column}` to `{sheet}`: `{high}` where {of} is at least the value in "
        "`{input_cell}`, else `{low}`.",
        "Mark each {noun} on `{sheet}` in a column `{column}`: `{high}` if {of} reaches the limit in "
        "`{input_cell}` ({input}), otherwise `{low}`.",
    ),
    "lookup": (
        "Add a column `{column}` to `{sheet}`: the {value} of the row's {key}, from `{other}`.",
        "Bring the {value} over from `{other}` to `{sheet}`, matched by {key}, as a column `{column}`.",
    ),
    "band": (
        "Add a column `{column}` to `{sheet}`: the rate on `{other}` of the highest step that {of} reaches.",
        "`{other}` lists steps and rates. Give each {noun} on `{sheet}` its `{column}`: the rate of "
        "the last step that its {of} is not below.",
    ),
    "split": (
        "Add a column `{column}` to `{sheet}`: of {of}, {part}.",
        "{of} on `{sheet}` holds two things in one. Put {part} into a column `{column}`.",
    ),
    "clean": (
        "Add a column `{column}` to `{sheet}`: {of} with single blanks, none outside, and each word "
        "capitalised.",
        "{of} on `{sheet}` was typed in every way there is. Add `{column}` with the names trimmed, "
        "single blanks between words, and each word starting with a capital, the rest in small "
        "letters.",
    ),
    "date_part": (
        "Add a column `{column}` to `{sheet}`: of {of}, {told}.",
        "For grouping I need a column `{column}` on `{sheet}` that takes {told} from {of}.",
    ),
    "due": (
        "Add a column `{column}` to `{sheet}`, shown as dates: {told}, counted from {of}.",
        "When is each {noun} on `{sheet}` due? Add `{column}` (as dates): {told}, counted from {of}.",
    ),
    "running": (
        "Add a column `{column}` to `{sheet}`: the total of {of} from the first row down to the row itself.",
        "Add a running total of {of} to `{sheet}`, called `{column}`.",
    ),
    "share": (
        "Add a column `{column}` to `{sheet}`: the row's {of} as a share of the column's total.",
        "How much of the whole is each {noun}? Add `{column}` to `{sheet}`: {of} over its total.",
    ),
    "rank": (
        "Add a column `{column}` to `{sheet}`: the place of the row by {of}, 1 being the largest; "
        "equal values share the better place.",
        "Rank the rows of `{sheet}` by {of} in a column `{column}`, largest first, ties sharing the "
        "better rank.",
    ),
    "entries": (
        "Add a column `{column}` to `{sheet}`: `yes` where the row's {of} has already occurred above,"
        " else `no`.",
        "Some rows of `{sheet}` were entered twice. Add `{column}`: `yes` for every repeat of a {of} "
        "after its first row, `no` for all others.",
    ),
    "by_group": (
        "On a new sheet `{sheet}`, give the {how} per {group}, from `{source}`.",
        "Please summarise `{source}` on a new sheet `{sheet}`: the {how} for each {group}.",
    ),
    "crosstab": (
        "On a new sheet `{sheet}`, tabulate the total {measure} of `{source}` by {rows} (down) and "
        "{columns} (across), with totals.",
        "Build the cross table we always show: total {measure} from `{source}`, {rows} down the side,"
        " {columns} across the top, totals at both edges, on a new sheet `{sheet}`.",
    ),
    "monthly": (
        "On a new sheet `{sheet}`, list the {count} calendar months from {first}, each as the date of"
        " its first day, with the total {measure} of `{source}` by {date} and its relative change "
        "from the month before (blank in the first row, and after a month of zero).",
        "How did {measure} develop? On a new sheet `{sheet}`, one row for each of the {count} months "
        "from {first} (the first day of the month, as a date), the total by {date} from `{source}`, "
        "and the change on the month before as a fraction, blank where there is none.",
    ),
    "top": (
        "On a new sheet `{sheet}`, list the {count} rows of `{source}` with the largest {measure}, "
        "largest first: {name} and value.",
        "Who are the top {count}? On a new sheet `{sheet}`, the {count} largest {measure} of "
        "`{source}` with their {name}, largest first.",
    ),
    "variance": (
        "On a new sheet `{sheet}`, compare per {group} the plan of sheet `{plan}` with the actual "
        "total {measure} of `{source}`: plan, actual, actual less plan, and that as a share of plan.",
        "Compare actual with plan on a new sheet `{sheet}`. The plan per {group} is on `{plan}`, the "
        "actual is total {measure} on `{source}`; I want both, the difference (actual less plan) and "
        "the difference as a share of plan.",
    ),
    "missing": (
        "On a new sheet `{sheet}`, for {of} of `{source}`: how many cells are empty, the average of "
        "the others, and the share that is filled in.",
        "I do not trust {of} on `{source}`. On a new sheet `{sheet}`, tell me how many cells are "
        "empty, what the others average, and which share is filled in.",
    ),
    "conditions": (
        "On a new sheet `{sheet}`, put `{member}` in B1, {from} in B2 and {to} in B3 (dates), and "
        "below: the total {measure} of that {group} on `{source}` with {date} from B2 to B3; and the "
        "number of its rows with {of} of at least `{input_cell}`, on any date.",
        "Two questions about {group} `{member}` on `{source}`, for a new sheet `{sheet}` with "
        "`{member}`, {from} and {to} in B1 to B3 so that we can change them: what is the total "
        "{measure} with {date} in that period, and how many of its rows (at any time) have {of} of at"
        " least `{input_cell}`?",
    ),
    "what_if": (
        "On a new sheet `{sheet}`, for relative changes of -50%, -25%, 0%, 25% and 50% (A2 to A6) of "
        "`{input_cell}` ({input}): the changed rate, and it times the total {of} of `{source}`.",
        "What if {input} moves? On a new sheet `{sheet}`, with -50%, -25%, 0%, 25% and 50% in A2 to "
        "A6: the rate of `{input_cell}` changed by so much, and that rate times total {of} on "
        "`{source}`.",
    ),
    "waterfall": (
        "On a new sheet `{sheet}`, bridge from the total plan of `{plan}` to the actual total "
        "{measure} of `{source}`: one step per {group} (actual less plan), with the level after each "
        "step.",
        "Make the numbers of a waterfall on a new sheet `{sheet}`: start at the total plan "
        "(`{plan}`), one step for each {group} with actual {measure} (`{source}`) less its plan, end "
        "at the actual total, and the level reached after each.",
    ),
    "unique": (
        "On a new sheet `{sheet}`: how many different {name} there are on `{source}`, and the total "
        "{measure} with each {name} counted once.",
        "`{source}` holds some entries twice. On a new sheet `{sheet}`, tell me how many different "
        "{name} there are, and the total {measure} without the repeats.",
    ),
    "sort": (
        "Sort the {noun} rows of `{sheet}` by {group} from A to Z, within it by {date}, {order}. Move"
        " whole rows.",
        "Put `{sheet}` in order: by {group} alphabetically, inside each by {date} with the {order}. "
        "Keep rows together.",
    ),
    "filter": (
        "Filter `{sheet}` so that only rows with {group} `{member}` are shown.",
        "I want to see {group} `{member}` alone on `{sheet}`: set a filter, and hide the other rows with it.",
    ),
    "highlight": (
        "Give {of} on `{sheet}` ({range}) a conditional format that fills cells of at least the value"
        " in `{input_cell}`.",
        "Make it visible where {of} on `{sheet}` ({range}) is at least what `{input_cell}` says: a "
        "fill that follows if either changes.",
    ),
    "validation_list": (
        "Restrict {of} on `{sheet}` ({range}) to a list: {values}.",
        "People mistype {of}. Give {range} on `{sheet}` a drop-down with exactly: {values}.",
    ),
    "validation_bounds": (
        "Restrict {of} on `{sheet}` ({range}) to decimals between 0 and {high}.",
        "Nobody should be able to type anything but a number from 0 to {high} (decimals allowed) into"
        " {of}, `{sheet}` {range}.",
    ),
    "chart": (
        "Add a {kind} chart of {of}, `{sheet}` {range}.",
        "Draw {of} (`{sheet}` {range}) as a {kind} chart; where it stands does not matter.",
    ),
    "named": (
        "Give `{input_cell}` the name `{name}` and, on a new sheet `{sheet}`, multiply the total {of}"
        " of `{source}` by it.",
        "Call the cell `{input_cell}` `{name}` from now on, and show on a new sheet `{sheet}` what it"
        " comes to on the total {of} of `{source}`.",
    ),
    "table": (
        "Make `{sheet}` {range} a table.",
        "Turn {range} on `{sheet}` into a proper table (header included).",
    ),
    "freeze": (
        "Freeze {what} of `{sheet}`.",
        "Keep {what} of `{sheet}` in view when scrolling, and nothing else.",
    ),
    "format": (
        "Show {of} on `{sheet}` ({range}) {told}.",
        "The numbers in {of} are hard to read: show `{sheet}` {range} {told}.",
    ),
    "loan_schedule": (
        "On a new sheet `{sheet}`, lay out the repayment of the loan of `{inputs}` in {months} equal "
        "monthly payments at the end of each month, interest being a twelfth of the annual rate: "
        "{heads}.",
        "I need the amortisation schedule of the loan on `{inputs}`: {months} equal payments, each at"
        " the end of a month, a twelfth of the annual rate as monthly interest. On a new sheet "
        "`{sheet}`, one row a month: {heads}.",
    ),
    "loan_totals": (
        "On a new sheet `{sheet}`, from `{inputs}` (equal payments at the end of each month, a "
        "twelfth of the annual rate a month; the fee is its rate times the loan): {texts}.",
        "What does the loan on `{inputs}` really cost? On a new sheet `{sheet}`: {texts}. Payments "
        "are equal and fall at month ends, interest is a twelfth of the annual rate a month, the fee "
        "is charged on the loan, and total cost is interest and fee.",
    ),
    "investment": (
        "On a new sheet `{sheet}`, appraise the cash flows of `{source}` (year 0 is today) at the "
        "discount rate in `{input_cell}`: net present value; internal rate of return; present value "
        "of the later flows over the investment; sum of all flows over the investment.",
        "Is the project on `{source}` worth it? On a new sheet `{sheet}`, with the rate in "
        "`{input_cell}`: NPV with year 0 undiscounted, IRR, the profitability index (present value of"
        " years 1 on over the amount invested), and the sum of all flows over the amount invested.",
    ),
    "dated": (
        "On a new sheet `{sheet}`, net present value and internal rate of return of the flows of "
        "`{source}` on their dates (365 days a year), the rate being in `{input_cell}`.",
        "The flows of `{source}` do not fall on year ends. On a new sheet `{sheet}`, give XNPV at the"
        " rate in `{input_cell}`, and XIRR, by their dates.",
    ),
    "breakeven": (
        "On a new sheet `{sheet}`, from `{inputs}`: contribution per unit, break-even units (not "
        "rounded) and revenue; and the profit at {volumes} units.",
        "How many units until `{inputs}` pays off? On a new sheet `{sheet}`: contribution per unit, "
        "the break-even in units (unrounded) and in revenue, and the profit at {volumes} units (in A6"
        " to A10).",
    ),
    "depreciation": (
        "On a new sheet `{sheet}`, straight-line depreciation of the equipment of `{inputs}` over "
        "{years} years: each year's amount and the book value at its end.",
        "Write the equipment on `{inputs}` off in equal parts over its {years} years, down to the "
        "residual value, on a new sheet `{sheet}`: amount and closing book value of each year.",
    ),
    "ownership": (
        "On a new sheet `{sheet}`, from `{source}` and `{inputs}`: price per share (pre-money over "
        "present shares), new shares, pool shares (so that the pool is its share of all shares after "
        "the round), all shares, and everybody's ownership after the round.",
        "Model the round on a new sheet `{sheet}`. The price per share is the pre-money valuation "
        "over the shares on `{source}`; the new money on `{inputs}` buys at that price; on top, "
        "options are created until the pool has its share of all shares. Show price, new shares, pool"
        " shares, all shares, then who owns what.",
    ),
    "three_statements": (
        "On a new sheet `{sheet}`, plan three years from `{inputs}`, linked: {lines}. Operating costs"
        " exclude depreciation; interest is on the debt, depreciation on the fixed assets at the "
        "start of the year; tax is not negative; debt stays; opening working capital is its share of "
        "last year's revenue; opening equity balances the opening sheet; free cash flow (net profit "
        "and depreciation, less the increase in working capital, less capital expenditure) goes to "
        "cash.",
        "Build the three-statement plan for three years on a new sheet `{sheet}`, everything driven "
        "by `{inputs}`: {lines}. Conventions: operating costs come without depreciation; interest on "
        "opening debt, depreciation on opening fixed assets, no negative tax, debt unchanged, working"
        " capital a share of the year's revenue (opening: of last year's), opening equity is what "
        "balances, and cash grows by free cash flow (net profit plus depreciation, less the increase "
        "in working capital, less capital expenditure). The check must be zero.",
    ),
    "ratios": (
        "On a new sheet `{sheet}`, from the plan, for each year: {texts}.",
        "The bank wants covenants: on a new sheet `{sheet}`, for each year of the plan, {texts}.",
    ),
}

HINTS: Mapping[str, str] = {
    "lookup": "INDEX with MATCH, or XLOOKUP, finds the row.",
    "band": "LOOKUP finds the last step that is not above.",
    "by_group": "SUMIFS, COUNTIF, AVERAGEIF or MAXIFS follow the data.",
    "crosstab": "SUMIFS takes several conditions.",
    "monthly": 'SUMIFS with ">=" and "<=" on dates; EOMONTH ends a month.',
    "top": "LARGE, then INDEX and MATCH.",
    "unique": "1/COUNTIF gives each repeat its part of one.",
    "loan_schedule": "PMT gives the payment.",
    "investment": "NPV discounts its first value too.",
    "due": "EOMONTH and WORKDAY move dates.",
    "clean": "PROPER and TRIM.",
    "split": "FIND tells where the hyphen is.",
    "entries": "COUNTIF over a growing range.",
    "rank": "RANK shares places.",
    "dated": "XNPV and XIRR take dates.",
    "depreciation": "SLN.",
}

OPENINGS = (
    "You work on `{path}`: {title}.",
    "The workbook `{path}` holds {title}. It needs some work before it goes out.",
    "Attached is `{path}` ({title}).",
)
RULES = """\
## Rules

- Save the workbook in place, as `{path}`. An `.xlsm` or `.ods` beside it counts too, if the `.xlsx` stays
  as it is.
- Calculated cells must be formulas: inputs will be changed, and every result has to follow them.
- Do not move, overwrite or retype data and assumptions that are there{but}. Do not write their numbers into
  formulas.
- Results must be visible. No macros, no links to other files.
- The tools here are Python with openpyxl, and LibreOffice (`soffice --headless`). There is no network.
"""


def instruction(
    state: State, steps: Sequence[Step], path: str, *, voice: int, hints: bool, rng: random.Random
) -> str:
    """The text of a task. `voice` 0 is terse, 1 spoken; `state` is the one after the steps."""
    lines = [
        f"# {state.title}",
        "",
        rng.choice(OPENINGS).format(path=path, title=state.title),
        "",
        "## What to do",
        "",
    ]
    for number, step in enumerate(steps, 1):
        text = PHRASES[step.operation][voice].format_map(_plain(step.say))
        if hints and step.operation in HINTS:
            text += f" Hint: {HINTS[step.operation]}"
        lines.append(f"{number}. {text}" if len(steps) > 1 else text)
    if places := list(_places(state, steps)):
        lines += ["", "## Where results stand", "", *places]
    moved = any(step.moves for step in steps)
    lines += ["", RULES.format(path=path, but=", except for the order that is asked for" if moved else "")]
    return "\n".join(lines)


def _plain(say: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in say.items()}


def _places(state: State, steps: Sequence[Step]) -> list[str]:
    """For each block asked for: its sheet and range, and the texts around it."""
    found = []
    blocks: dict[str, Derived] = {block.key: block for block in state.derived}
    for step in steps:
        ranges = [f"`{blocks[key].range}`" for key in step.blocks if not blocks[key].highlight]
        for sheet, texts in step.labels.items():
            told = "; ".join(f"{address} `{text}`" for address, text in texts.items())
            found.append(f"- Sheet `{sheet}`: results in {', '.join(ranges)}. Text: {told}.")
    return found
