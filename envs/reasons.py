"""Why there is no environment: the codes, and how a log is given one."""

from __future__ import annotations

import re

from envs.languages import Broken

# Why an environment could not be had. Codes are stored; the text is for people.
REASONS: dict[str, str] = {
    "unsupported_language": "no toolchain claims the tree",
    "no_tests": "no file of the source looks like a test",
    "interpreter_unavailable": "no interpreter at hand is one the source allows",
    "resolution_failed": "what the project needs to run does not resolve as of its date",
    "disk_full": "the disk was full",
    "out_of_memory": "a step went over the memory limit",
    "timeout": "a step went over the time limit",
    "network_failed": "a registry did not answer",
    "compiler_failed": "a compiled part did not build",
    "install_failed": "the project's own backend could not install it in place",
    "build_failed": "the image did not build",
    "import_failed": "the project does not import",
    "collection_failed": "the runner could not collect the tests",
    "nothing_collected": "the runner found no test",
    "agent_gave_up": "the model says that the environment cannot be had",
    "agent_budget": "the model's budget was spent",
    "agent_invalid_recipe": "no recipe of the model's works",
    "agent_invalid_answer": "the model's answers were no use of its tools",
    "model_unavailable": "the model did not answer",
}

# Reasons that no other recipe mends.
INFRASTRUCTURE = frozenset({"disk_full", "network_failed"})

NETWORK = (
    r"Temporary failure resolving|error sending request|Connection (?:refused|reset)|dns error"
    r"|npm (?:ERR!|error) code (?:ETIMEDOUT|ETIMEOUT|ECONNRESET|ECONNREFUSED|ENOTFOUND|EAI_AGAIN)"
)
COMPILER = r"(?:gcc|g\+\+|cc)\S* failed|fatal error: \S+\.h|error: command '\S*(?:gcc|g\+\+|cc)'"

# What a log says, by stage ('' is any): matched in order, infrastructure before the recipe's own faults.
CLASSES: tuple[tuple[str, str, str], ...] = (
    ("disk_full", "", r"No space left on device|ENOSPC"),
    ("out_of_memory", "", r"Cannot allocate memory|MemoryError|Killed process|returned a non-zero code: 137"),
    ("timeout", "", r"returned a non-zero code: 124"),
    ("network_failed", "", NETWORK),
    ("compiler_failed", "build", COMPILER),
    ("install_failed", "build", r"Failed to (?:build|prepare)[^\n]*file:///app|-e /app' returned"),
    ("build_failed", "build", r""),
    ("import_failed", "import", r""),
    ("nothing_collected", "collect", r"no tests ran|collected 0 items"),
    ("collection_failed", "collect", r""),
    ("resolution_failed", "resolve", r""),
)  # fmt: skip

RAISED = re.compile(r"(E\s+)?(\w*Error|error|cause)\b")
COMPLAINT = re.compile(
    r"^\[ERROR\] (?!COMPILATION)\S*[/:]|^npm ERR!|\b(?:fatal )?error:|^not ok\b|^E: ", re.I
)
BUILDERS = re.compile(r"The command '|Removing intermediate container|--->|Step \d+/\d+ :")


def classify(broken: Broken) -> str:
    """The reason code of what broke: infrastructure seen in the log, else what the step said, else by
    stage.
    """
    for reason, stage, pattern in CLASSES:
        if stage == "" and re.search(pattern, broken.log):
            return reason
    if broken.reason:
        return broken.reason
    return next(
        reason
        for reason, stage, pattern in CLASSES
        if stage == broken.stage and re.search(pattern, broken.log)
    )


def last_word(log: str) -> str:
    """The line that says what went wrong: the last of an interpreter, else the first of a compiler or build
    tool, else the last line that is not the image builder's.
    """
    plain = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", log).splitlines()]
    said = [line for line in plain if line and not BUILDERS.match(line)]
    raised = [line for line in said if RAISED.match(line)]
    complained = [line for line in said if COMPLAINT.search(line)]
    return (raised[-1:] or complained[:1] or said[-1:] or [""])[0][:300]
