"""Prompt distillation: answers that were given under a long system prompt, learnt under a shorter one.

A section is a heading with what stands under it up to the next heading; in a prompt without headings, a
paragraph. What is dropped is a function of the seed and the example, so a run can be repeated.
"""

from __future__ import annotations

import random
import re

_HEADING = re.compile(r"^(?=#{1,6} )", re.MULTILINE)
_PARAGRAPH = re.compile(r"(?<=\n\n)(?=\S)")


def sections(prompt: str) -> list[str]:
    """The sections of a prompt; joined they are the prompt."""
    parts = _HEADING.split(prompt)
    if len(parts) == 1:
        parts = _PARAGRAPH.split(prompt)
    return [part for part in parts if part]


def distilled(prompt: str, share: float, key: str) -> str:
    """The prompt without `share` of its sections; a remainder of a section decides by lot. Order stays."""
    parts = sections(prompt)
    lot = random.Random(f"distillation/{key}")
    count = int(share * len(parts) + lot.random()) if share else 0
    dropped = set(lot.sample(range(len(parts)), min(count, len(parts))))
    return "".join(part for n, part in enumerate(parts) if n not in dropped).rstrip() if dropped else prompt
