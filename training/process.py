"""The process reward of a completion: one block of reasoning, well-formed tool calls, one language.

Judged from the text as the model wrote it, after the generation prompt `]~b]ai\\n<think>\\n` of the M2 chat
format. Penalties only: a completion without a fault gets 0. Pure functions; what counts as a fault is data
below.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from training.advantages import RewardConfig

CALL_BLOCK = re.compile(r"<minimax:tool_call>\n(.*?)</minimax:tool_call>", re.DOTALL)
INVOKE = re.compile(
    r'<invoke name="[^"\n]+">\n((?:<parameter name="[^"\n]+">.*?</parameter>\n)*)</invoke>\n', re.DOTALL
)
CALL_MARKS = ("minimax:tool_call>", "<invoke ", "</invoke>", "<parameter ", "</parameter>")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
# Scripts that one language mixes by itself.
TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK"}
# Latin letters are at home in any text: names, identifiers, abbreviations.
NEUTRAL = "LATIN"


@dataclass(frozen=True)
class Process:
    """What was wrong with a completion."""

    tool_format: bool
    reasoning: bool
    foreign_letters: float  # share of letters in another script than the text's own


def inspect(completion: str, prompt_script: str | None = None) -> Process:
    """The faults of a completion. `prompt_script` is that of the user's message (`script_of`)."""
    reasoning, closed, answer = completion.partition("</think>")
    wrong_reasoning = not closed or not reasoning.strip() or "<think>" in completion or "</think>" in answer
    said = CALL_BLOCK.sub(" ", answer)
    blocks = CALL_BLOCK.findall(answer)
    malformed = any(mark in said for mark in CALL_MARKS) or any(
        not block or INVOKE.sub("", block) for block in blocks
    )
    return Process(malformed, wrong_reasoning, foreign_share(reasoning + " " + said, prompt_script))


def process_reward(found: Process, config: RewardConfig) -> float:
    """The penalty of a step, at most 0."""
    return -(
        config.tool_format * found.tool_format
        + config.reasoning * found.reasoning
        + config.language_mixing * found.foreign_letters
    )


def script_of(text: str) -> str | None:
    """The script of most non-Latin letters, if they are a fifth of all; else Latin; None without letters."""
    counts = _scripts(text)
    if not counts:
        return None
    others = Counter({script: count for script, count in counts.items() if script != NEUTRAL})
    if others and 5 * others.total() >= counts.total():
        return others.most_common(1)[0][0]
    return NEUTRAL


def foreign_share(text: str, own: str | None = None) -> float:
    """Share of the letters outside of code that belong neither to the script `own` nor to Latin."""
    counts = _scripts(text)
    own = own or script_of(text)
    foreign = sum(count for script, count in counts.items() if script not in (own, NEUTRAL))
    return foreign / counts.total() if counts else 0.0


def _scripts(text: str) -> Counter[str]:
    letters = (letter for letter in CODE.sub(" ", text) if letter.isalpha())
    names = (unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0] for letter in letters)
    return Counter(TOGETHER.get(name, name) for name in names)
