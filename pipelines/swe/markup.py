"""Upstream's text as plain Markdown for people; HTML, reStructuredText and tracker numbers are reduced or go.

What was mined may be hostile, so terminal escapes, control characters, invisible and direction-changing
characters and HTML never get through. Code, in spans and blocks, is left as it is otherwise.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

_ELEMENTS = (
    "a|abbr|address|article|aside|audio|b|base|big|blockquote|body|br|button|canvas|center|cite|code|col|dd|del|details|"
    "div|dl|dt|em|embed|figure|font|footer|form|frame|frameset|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|"
    "label|li|link|main|map|marquee|math|meta|nav|object|ol|option|p|param|picture|pre|q|s|samp|script|section|select|"
    "small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template|textarea|tfoot|th|thead|title|"
    "tr|tt|u|ul|var|video"
)
_TRACKERS = "issue|issues|pr|pull|gh|ghpull|ghissue|user|bug|bpo|cve|commit|sha|author|contrib|ticket|jira"
_TRACKER_URL = r"https?://\S+/(?:issues?|pulls?|pull-requests?|merge_requests|commits?|compare|tickets?|browse)/[^\s)>\]]*"

# Pattern → replacement, in order, outside code. A repeated group is atomic, `(?>…)`: text made for it would
# otherwise keep the matcher busy for ever.
RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # HTML
    (re.compile(r"<!--.*?(-->|\Z)", re.S), ""),
    (re.compile(r"<(script|style|svg|iframe|template)\b.*?(</\1\s*>|\Z)", re.S | re.I), ""),
    (re.compile(r"<br\s*/?>", re.I), "\n"),
    (re.compile(rf"</?({_ELEMENTS})(\s[^<>]*)?/?>", re.I), ""),
    (re.compile(rf"<({_TRACKER_URL})>"), ""),
    # reStructuredText
    (re.compile(rf":({_TRACKERS}):`[^`]*`", re.I), ""),
    (re.compile(r":[\w:+.-]+:`~?!?([^`<]+?)\s*(<[^`>]*>)?`"), r"`\1`"),
    (re.compile(r"``([^`\n]+)``"), r"`\1`"),
    (re.compile(r"`#?\d+\s*<[^`>]*>`__?"), ""),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"`([^`\n]+)`__?(?=\W|$)"), r"\1"),
    (re.compile(r"^\.\. _[^\n]*$", re.M), ""),
    (re.compile(r"^([ \t]*)\.\. (?:code-block|code|sourcecode)::\s*\S*[ \t]*$", re.M), r"\1"),
    (re.compile(r"^([ \t]*)\.\. (note|warning|important|deprecated|version\w+|tip)::[ \t]*", re.M), r"\1"),
    (re.compile(r"^[ \t]*\.\. [^\n]*$", re.M), ""),
    (re.compile(r"^[ \t]*:(?:release|released|date|tags?|pr|issue)s?:[^\n]*$", re.M | re.I), ""),
    (re.compile(r"::[ \t]*$", re.M), ":"),
    (re.compile(r"^([^\s#\-*+>][^\n]{2,80})\n([=\-~^\"'`*+.:_])\2{2,}[ \t]*$", re.M), r"### \1"),
    (re.compile(r"^([=\-~^\"'`*+.:_])\1{2,}[ \t]*$", re.M), ""),
    # Markdown
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[(?:#\d+|@[\w-]+|[0-9a-f]{7,40}|PR ?#?\d+)\](?:\([^)]*\)|\[[^\]]*\])?"), ""),
    (re.compile(r"\[([^\]\n]+)\](?:\((?!#)[^)\n]*\)|\[[^\]\n]*\])"), r"\1"),
    (re.compile(r"^\[[^\]]+\]:\s*\S+[^\n]*$", re.M), ""),
    # trackers and people
    (re.compile(r"^[^\w\n]*full changelog\W.*$", re.M | re.I), ""),
    (re.compile(r"[(\[]\s*(many )?thanks?( you)?,?( to)? @[^)\]\n]*[)\]]", re.I), ""),
    (re.compile(r"\b(many )?thanks?( you)?,?( to)? @[^.!\n]*[.!]?", re.I), ""),
    (re.compile(_TRACKER_URL), ""),
    (re.compile(r"\bby @[\w-]+(\[bot\])?( in)?", re.I), ""),
    (re.compile(r"[(\[]?\b(closes|fixes|resolves|refs?|see|thanks(?: to)?|via|issue|pr|pull request)\b"
                r":?\s+((#|gh-|@)[\w-]+(,| and|&)?\s*)+[)\].]?", re.I), ""),
    (re.compile(r"[(\[]\s*(?>(#|gh-|@|pr ?#?|issue ?#?)(?=[\w-]*\d)[\w-]+[,;/&]?\s*(and )?)+[)\]]",
                re.I), ""),
    (re.compile(r"(?<![\w/])(gh-|#)\d+\b", re.I), ""),
    (re.compile(r"[(\[]\s*([,;&]|and)?\s*[)\]]"), ""),
    (re.compile(r"\([\w .-]{0,40},\s*(merged as)?\s*\)"), ""),
    (re.compile(r",[ \t]*(?=[.;)])"), ""),
    (re.compile(r"[ \t]+([,.;:)])(?=\s|$)"), r"\1"),
    (re.compile(r"(?<=\S)[ \t]{2,}"), " "),
    (re.compile(r"[ \t]*[(\[]?[ \t]*$", re.M), ""),
)  # fmt: skip

_MAX_TEXT, _MAX_LINE = 40_000, 1_500
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_CODE = re.compile(
    r"(^[ \t]*```.*?^[ \t]*```[^\n]*$|(?<![`:\w])`(?![_\s`])[^`\n]*(?<!\s)`(?![`_]))", re.M | re.S
)


def clean(text: str) -> str:
    """Plain Markdown for a person, without anything a terminal or browser would act on."""
    code: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        code.append(match[0])
        return f"\0{len(code) - 1}\0"

    prose = _CODE.sub(put_aside, visible(_bounded(text)))
    for pattern, replacement in RULES:
        prose = pattern.sub(replacement, prose)
    prose = re.sub(r"&(lt|gt|amp|quot|nbsp|#39);", lambda m: html.unescape(m[0]).replace("\xa0", " "), prose)
    whole = re.sub(r"\0(\d+)\0", lambda m: code[int(m[1])], prose)
    return re.sub(r"\n{3,}", "\n\n", _without_empty_bullets(whole)).strip()


def _bounded(text: str) -> str:
    """Lines, runs of blanks and the whole cut to sizes at which no rule's backtracking matters."""
    lines = (re.sub(r" {41,}", " " * 40, line[:_MAX_LINE]).rstrip() for line in text[:_MAX_TEXT].splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def visible(text: str) -> str:
    """Without terminal escapes, control characters, and characters that hide or reorder others."""
    text = _ESCAPES.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))


def _without_empty_bullets(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not re.fullmatch(r"\s*([-*+]|#+)\s*[.,;:]?", line))
