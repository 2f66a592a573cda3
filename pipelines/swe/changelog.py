"""What a change added to the project's own account of its changes.

A changelog is told by its path. What counts is what the gold tree's changelog says and the base tree's
does not; when nothing was added (some projects write it beforehand), the section under the new version's
heading counts instead.
"""

from __future__ import annotations

import difflib
import re

from pipelines.swe.trees import Tree, decode

_NAME = r"(change[-_ ]?s?[-_ ]?(log)?|changelogs?|history|news|release[-_ ]?notes?|versions|whats?[-_ ]?new)"
# in order of trust
CHANGELOGS: tuple[re.Pattern[str], ...] = (
    re.compile(rf"^{_NAME}([-_.][^/]*)?(\.(rst|md|txt|adoc))?$", re.I),
    re.compile(
        r"^(changelog\.d|newsfragments|news|changes|changelog|\.changes?)/([^/]+/)?[^/.]+(\.[^/]+)?$", re.I
    ),
    re.compile(rf"^docs?/([^/]+/)*{_NAME}(\.(rst|md|txt|adoc))$", re.I),
    re.compile(r"^docs?/([^/]+/)*(releases?|changelog|whatsnew|release[-_]notes)/[^/]+\.(rst|md|txt)$", re.I),
)
README = re.compile(r"^readme(\.(rst|md|txt))?$", re.I)
_README_SECTION = re.compile(
    r"^\W*(what'?s new|change ?log|changes|history|release notes|news)\b.{0,20}$", re.I
)
_UNDERLINE = re.compile(r"^([=\-~^\"'`#*+_.:])\1{2,}\s*$")
_FILLER = r"[\s_\-\u2013\u2014:,/()\[\]#=*]*"
_DATE = r"(\d{1,4}[-/. ]\w{1,9}[-/. ,]+\d{1,4}|\w+ \d{1,2}(st|nd|rd|th)?,? \d{4}|unreleased|tbd)"
_VERSION_HEADING = re.compile(
    rf"{_FILLER}(version|release|changes in|[\w.-]+)?{_FILLER}(v?\d+\.\d+[\w.+-]*|unreleased)"
    rf"{_FILLER}((released?|on|of|date){_FILLER})*{_DATE}?{_FILLER}"
    rf"|{_FILLER}((released?|on|date){_FILLER})*{_DATE}{_FILLER}",
    re.I,
)
_MAX_BYTES = 2 << 20
_MAX_DIFF_LINES = 3_000


def added(base: Tree, gold: Tree, version: str = "") -> str:
    """Changelog text that came with the change (or is headed by `version`); '' when there is none."""
    for pattern in CHANGELOGS:
        parts = [text for path in _matching(gold, pattern) if (text := _added_to(base, gold, path, version))]
        if parts:
            return "\n\n".join(parts)
    for path in _matching(gold, CHANGELOGS[0]) if version else ():
        if text := section(_lines(gold, path), version):
            return text
    return ""


def readme_news(base: Tree, gold: Tree) -> str:
    """Lines added to the README's own list of changes."""
    for path in _matching(gold, README):
        after = _named_section(_lines(gold, path))
        before = _named_section(_lines(base, path)) if path in base else []
        if after:
            return "\n".join(_new_lines(before, after)).strip()
    return ""


def section(lines: list[str], version: str) -> str:
    """The lines below the heading that names `version`, up to the next heading that names a version."""
    heading = re.compile(rf"^\W*(version|release|v)?\s*\[?v?{re.escape(version)}(?![\d.]*\d)", re.I)
    start = next((i for i, line in enumerate(lines) if len(line) < 100 and heading.match(line)), None)
    if start is None:
        return ""
    body: list[str] = []
    for line in lines[start + 1 :]:
        if is_version_heading(line):
            break
        body.append(line)
    return "\n".join(body).strip()


def is_version_heading(line: str) -> bool:
    """Whether a line does no more than name a version, a date, or that something is unreleased."""
    text = re.sub(r"\]\([^)]*\)", "]", line.strip())
    if not text or len(text) > 90 or re.match(r"[-*+]\s", text):
        return False
    return bool(_VERSION_HEADING.fullmatch(text))


def _matching(tree: Tree, pattern: re.Pattern[str]) -> list[str]:
    return [
        path
        for path in tree
        if pattern.match(path)
        and not path.endswith(".py")
        and not tree.is_link(path)
        and tree.size(path) <= _MAX_BYTES
    ]


def _lines(tree: Tree, path: str) -> list[str]:
    return decode(tree[path]).split("\n")


def _added_to(base: Tree, gold: Tree, path: str, version: str) -> str:
    """What one file gained; of a wholly new one, the section of `version` if it has one."""
    after = _lines(gold, path)
    if path not in base or base.is_link(path):
        return (section(after, version) if version else "") or "\n".join(after).strip()
    if base.blob(path).oid == gold.blob(path).oid:
        return ""
    return "\n".join(_new_lines(_lines(base, path), after)).strip()


def _new_lines(before: list[str], after: list[str]) -> list[str]:
    """Lines of `after` that a diff adds. Changelogs grow in one place, so most of both is cut away first."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not old:
        return new
    if len(old) + len(new) > _MAX_DIFF_LINES:
        known = set(old)
        return [line for line in new if not line.strip() or line not in known]
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [line for tag, _, _, i, j in blocks if tag in ("insert", "replace") for line in new[i:j]]


def _named_section(lines: list[str]) -> list[str]:
    """The README's section about changes, up to the next heading that is not a version's."""
    start = next(
        (i for i, line in enumerate(lines) if _README_SECTION.match(line) and _is_heading(lines, i)), None
    )
    if start is None:
        return []
    stop = next(
        (
            i
            for i in range(start + 2, len(lines))
            if _is_heading(lines, i) and not re.search(r"\d+\.\d+", lines[i])
        ),
        len(lines),
    )
    return lines[start + 1 : stop]


def _is_heading(lines: list[str], at: int) -> bool:
    underlined = at + 1 < len(lines) and bool(lines[at].strip()) and bool(_UNDERLINE.match(lines[at + 1]))
    return underlined or lines[at].startswith("#")
