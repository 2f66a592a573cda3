"""What a command said, as a model is shown it."""

from __future__ import annotations

import re

from envs.sandbox import ExecResult, Outcome

HEAD, TAIL = 2_500, 5_000  # characters of an output that are shown


def told(ended: ExecResult) -> str:
    """How a command ended, and what it printed."""
    return f"[{ending(ended)} after {ended.seconds:.0f} s]\n{shortened(printed(ended))}"


def printed(ended: ExecResult) -> str:
    return (ended.stdout + b"\n" + ended.stderr).decode("utf-8", "replace").strip()


def shortened(text: str, head: int = HEAD, tail: int = TAIL) -> str:
    """Beginning and end of an output, without what colours a terminal."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)|\x00", "", text).strip()
    if len(plain) <= head + tail:
        return plain
    return f"{plain[:head]}\n[… {len(plain) - head - tail} characters left out …]\n{plain[-tail:]}"


def ending(ended: ExecResult) -> str:
    match ended.outcome:
        case Outcome.TIMEOUT:
            return "killed at the time limit"
        case Outcome.OOM:
            return "killed at the memory limit"
        case _:
            return f"exit status {ended.exit_code}"
