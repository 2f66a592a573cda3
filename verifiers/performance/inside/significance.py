"""Is it faster, and can this machine tell? Pure: numbers in, a finding out.

Samples come in blocks: the base twice, gold once and the submission once, in an order that cancels drift.
What the two base samples of a block differ by is the noise floor, measured in the same run. Gains are shares
of the block's own base, so a machine that gets slower between blocks moves both sides.

A machine that cannot tell gold from the base, clearly and well above its noise, cannot grade a submission:
`unstable`, whatever the submission's samples look like. Only when it can is the submission compared.

Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

ROBUST = 1.4826  # median absolute deviation → standard deviation
CLEAR = 2.0  # gold's gain must be this many times the noise

Block = dict[str, Any]
"""{"base": [first, second], "gold": x, "submission": x or missing}"""


def sign_flip(differences: Sequence[float]) -> float:
    """One-sided p of the exact paired permutation test: how often signs drawn by lot give a sum as large.

    Fisher's: all it assumes is that, without an effect, each difference could as well have the other sign.
    """
    observed = sum(differences)
    slack = 1e-12 * sum(map(abs, differences))  # sums in another order are the same sum
    flips = itertools.product((1, -1), repeat=len(differences))
    hits = [sum(s * d for s, d in zip(signs, differences)) >= observed - slack for signs in flips]  # noqa: B905
    return sum(hits) / len(hits)


def noise(blocks: Sequence[Block]) -> float:
    """By how much two runs of the same code differ here, as a share."""
    apart = [abs(b["base"][0] - b["base"][1]) / statistics.fmean(b["base"]) for b in blocks]
    return ROBUST * statistics.median(apart)


def gains(blocks: Sequence[Block], arm: str) -> list[float]:
    """What an arm saves of the base, block by block."""
    return [1.0 - b[arm] / statistics.fmean(b["base"]) for b in blocks]


def finding(blocks: Sequence[Block], spec: dict[str, Any]) -> dict[str, Any]:
    """`verdict`: unstable | earned | missed | near (missed by less than the noise), and the numbers.

    Of blocks without a submission, `earned` says that gold is measurably faster.
    """
    floor = noise(blocks)
    gold = gains(blocks, "gold")
    found: dict[str, Any] = {
        "noise": floor, "gold": statistics.median(gold), "gold_p": sign_flip(gold), "blocks": len(blocks),
    }  # fmt: skip
    told = found["gold"] >= max(spec["least_gain"], CLEAR * floor) and found["gold_p"] <= spec["alpha"]
    if not told:
        return {**found, "verdict": "unstable"}
    if "submission" not in blocks[0]:
        return {**found, "verdict": "earned"}
    theirs = gains(blocks, "submission")
    found.update(submission=statistics.median(theirs), submission_p=sign_flip(theirs))
    wanted = spec["share"] * found["gold"]
    if found["submission"] >= wanted and found["submission_p"] <= spec["alpha"]:
        return {**found, "verdict": "earned"}
    return {**found, "verdict": "near" if found["submission"] + floor >= wanted else "missed"}
