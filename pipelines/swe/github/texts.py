"""What people wrote about a pull request, best first: its issues, then itself, then its commits.

An issue was written by somebody who saw the fault and not the solution, so it makes the best statement. The
pull request's own text comes next; the leak check (`pipelines.swe.statement`) takes out what gives the patch
away.
"""

from __future__ import annotations

import re

from pipelines.swe.git import described
from pipelines.swe.github.pulls import Detailed
from pipelines.swe.markup import clean
from pipelines.swe.statement import says_something

LONGEST = 40_000  # characters of one text; the statement keeps fewer
# What a pull request's template leaves behind: comments to the author, boxes to tick.
_TEMPLATE = re.compile(r"<!--.*?(?:-->|\Z)|^[ \t]*[-*] \[[ xX]\][^\n]*$", re.S | re.M)


def accounts(pull: Detailed) -> tuple[tuple[str, str], ...]:
    """(source, text) of its issues and of itself."""
    issues = pull.closing_issues_references.present() if pull.closing_issues_references else ()
    told = [("issue", _text(issue.title, issue.body)) for issue in sorted(issues, key=lambda i: i.number)]
    joined = "\n\n".join(text for _, text in told)
    own = ("pull_request", described(_text(pull.title, pull.body)))
    return (("issue", joined), own) if joined else (own,)


def commit_texts(pull: Detailed) -> tuple[str, ...]:
    """What its commits say, oldest first."""
    found = (described(commit.commit.message[:LONGEST]) for commit in pull.commits.present())
    return tuple(text for text in found if text)


def says_anything(pull: Detailed) -> bool:
    """Whether any of it is enough to work from."""
    told = [text for _, text in accounts(pull)]
    return any(says_something(clean(text)) for text in [*told, "\n\n".join(commit_texts(pull))])


def _text(title: str, body: str) -> str:
    return f"{title.strip()}\n\n{_TEMPLATE.sub('', body[:LONGEST].replace(chr(13), '')).strip()}".strip()
