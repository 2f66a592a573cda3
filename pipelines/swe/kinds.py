"""Which kind of change a candidate is, and which rule said so: rules as data, asked when it is mined.

A tag is a claim of the change's authors or of its diff; what tests show of it later weighs more. Tests that
tell the change from its base decide its reward whatever the tag says; where there are none, the tag says
which validation of its own a change goes on to (`route`). So every tag that a rule gives is kept, the most
trusted first: a fix that "makes parsing faster" is a `bug_fix` that may still be measured.

Rules of one source agree on what they read: an author's prefix is trusted more than a label, a label more
than a changelog's heading, that more than words, and words more than the look of the diff.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipelines.family import Mined
from pipelines.swe import changelog, interface
from pipelines.swe.change import Change
from pipelines.swe.compare import path_rule
from pipelines.swe.filters import IsTest, sort_paths
from pipelines.swe.trees import ObjectStore, Tree
from warehouse.records import Candidate, to_json

KINDS = ("bug_fix", "feature", "performance", "refactor", "test", "other")
# Kinds that have a validation of their own where no test tells a change from its base, in this order.
ROUTED = ("performance", "refactor")

# A prefix by the convention "type(scope)!: subject" → kind.
PREFIXES: Mapping[str, str] = {
    "fix": "bug_fix", "bugfix": "bug_fix", "hotfix": "bug_fix", "bug": "bug_fix",
    "feat": "feature", "feature": "feature", "enh": "feature", "enhancement": "feature", "add": "feature",
    "perf": "performance", "performance": "performance", "optimize": "performance", "opt": "performance",
    "refactor": "refactor", "refact": "refactor", "cleanup": "refactor", "ref": "refactor",
    "rf": "refactor", "mnt": "refactor", "maint": "refactor",
    "test": "test", "tests": "test", "tst": "test",
    "docs": "other", "doc": "other", "build": "other", "ci": "other", "chore": "other", "style": "other",
    "revert": "other",
}  # fmt: skip
PREFIX = re.compile(r"^\W{0,3}(\w+)(?:\([^)]*\))?!?\s?:(?=\s)")

# Labels of pull requests and issues. In order; of several labels the first rule that hits wins.
LABELS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("performance", re.compile(r"perf(ormance)?\b|optimi[sz]|\bspeed|\bslow", re.I)),
    ("refactor", re.compile(r"refactor|clean[- ]?up|tech(nical)?[- ]debt|code[- ]quality|deprecat", re.I)),
    ("bug_fix", re.compile(r"\bbug|\bfix\b|regression|defect|\bcrash", re.I)),
    ("feature", re.compile(r"feature|enhancement|\bfeat\b|new[- ]api", re.I)),
    ("test", re.compile(r"^(area|type|kind|topic)?[:/ -]*tests?(ing)?$", re.I)),
)

# Headings of a changelog under which the change added lines, and news fragments by their suffix.
SECTIONS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("performance", re.compile(r"^\W*(performance|optimi[sz]ations?|speed)\b.{0,20}$", re.I)),
    ("refactor", re.compile(r"^\W*(refactor(ing)?s?|internal( changes)?|clean-?ups?|removals?)\W*$", re.I)),
    ("bug_fix", re.compile(r"^\W*(bug ?-?fix(es)?|fixe[sd]|fix|bugs( fixed)?)\W*$", re.I)),
    ("feature", re.compile(r"^\W*(features?|added|new( features?)?|enhancements?|additions)\W*$", re.I)),
)
FRAGMENTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("performance", re.compile(r"\.(perf|performance|speed)\.\w+$")),
    ("refactor", re.compile(r"\.(refactor|internal|cleanup)\.\w+$")),
    ("bug_fix", re.compile(r"\.(bugfix|bug|fix|fixed)\.\w+$")),
    ("feature", re.compile(r"\.(feature|feat|added|enhancement|improvement)\.\w+$")),
)

BENCHMARK = re.compile(
    r"(^|/)(asv_bench|benchmarks?|benches|bench|perf)/|(^|/)(bench(mark)?_[^/]*|[^/]*_bench(mark)?)\.\w+$"
)

STRUCTURE = (
    r"refactor\w*|restructur\w*|reorgani[sz]\w*|simplif\w*|clean(s|ed|ing)?[- ]?up\w*|de-?dup\w*|tidy|tidied"
    r"|extract(ed)? (method|function|class|helper|out)|moved? \w+ (in)?to\b|consolidat\w*|moderni[sz]\w*"
)
SPEED = (
    r"optimi[sz]\w*|speed[- ]?ups?|sped up|speed(s|ing)? up|faster|quicker|perf(ormance)?|slow(er|ness)?"
    r"|quadratic|o\(n\S{0,3}\)|memory (usage|allocation|footprint)|(improve\w*|better) .{0,30}speed"
)
LEFT_OVER = (
    r"code|dead|unused|deprecated|obsolete|redundant|unnecessary|duplicate\w*|support|compat\w*|six|python ?2"
)
THING = r"(option|argument|parameter|function|method|class)"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])({pattern})(?!\w)", re.I)


def _opening(pattern: str) -> re.Pattern[str]:
    """At the start of a subject, or behind the part of the project that it names ("urlutils: …")."""
    return re.compile(rf"^\W*([\w./ -]{{1,30}}:\s+)?({pattern})(?!\w)", re.I)


# How a subject begins.
OPENINGS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "performance",
        _opening(rf"{SPEED}|(improve|boost|reduce|eliminate)\w* .*\b({SPEED}|speed|efficien\w+)"),
    ),
    (
        "test",
        _opening(
            r"((add|improve|extend|update|fix|cover)(s|ed|ing)? )?(an? |more |some )?([\w-]+ ){0,2}tests?"
        ),
    ),
    (
        "bug_fix",
        _opening(r"((hot|bug)?fix|correct|repair|prevent|avoid|resolve)(e?[sd])?|fixing|don'?t|do not"),
    ),
    (
        "refactor",
        _opening(
            rf"{STRUCTURE}|renam(e[sd]?|ing)|split( up)?|inlined?|code clean-?up"
            rf"|(re)?moved? (all )?({LEFT_OVER})"
        ),
    ),
    (
        "feature",
        _opening(
            r"(add|implement|introduc|support|allow|enabl|provid|accept)(e?[sd]?|ing)|new|option(al)? to"
        ),
    ),
)
# What a subject has anywhere, or else the rest of the message.
WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("performance", _words(SPEED)),
    ("refactor", _words(rf"{STRUCTURE}|renam(e|ed|ing)|code clean-?ups?")),
    ("bug_fix", _words(r"bug(s|fix)?|fix(e[sd])?|incorrect(ly)?|wrong(ly)?|crash(e[sd])?|regression")),
    ("feature", _words(rf"new {THING}|add(s|ed)? (an? |the )?\S+ {THING}")),
)

# Shares of what was added and removed that make a diff one that only moves, or only adds.
MOVED_SHARE = 0.9
ADDED_SHARE = 0.95
TELLING_LINE = 6  # characters; shorter lines (`else:`, `}`) move by chance
DIFF_BYTES = 1 << 20
BENCHMARK_AMONG = 4  # files


@dataclass(frozen=True)
class Tag:
    """A kind, the rule that said so, and what it saw."""

    kind: str
    rule: str
    evidence: str = ""


@dataclass(frozen=True)
class Signs:
    """What there is to tell a change's kind by. Everything but the title may be missing."""

    title: str
    text: str = ""
    labels: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    new_names: tuple[str, ...] = ()
    gone_names: tuple[str, ...] = ()

    @property
    def all_paths(self) -> tuple[str, ...]:
        return tuple(path for paths in self.paths.values() for path in paths)


Found = tuple[str, str] | None
"""(kind, evidence)."""


def _matching(rules: Iterable[tuple[str, re.Pattern[str]]], texts: Iterable[str]) -> Found:
    """The first rule that any of the texts meets."""
    texts = tuple(texts)
    hits = ((kind, rule.search(text)) for kind, rule in rules for text in texts)
    return next(((kind, found[0].strip()) for kind, found in hits if found), None)


def _says(kind: str) -> Callable[[Signs], Found]:
    rules = [rule for rule in WORDS if rule[0] == kind]
    return lambda signs: _matching(rules, [signs.title, signs.text])


def _prefix(signs: Signs) -> Found:
    found = PREFIX.match(signs.title)
    kind = PREFIXES.get(found[1].lower()) if found else None
    return (kind, found[0].strip()) if found and kind else None


def _benchmark(signs: Signs) -> Found:
    """A benchmark among few files; a change of everything touches benchmarks, too."""
    found = [path for path in signs.all_paths if BENCHMARK.search(path)]
    sources = [*signs.paths.get("source", ()), *signs.paths.get("test", ())]
    return ("performance", found[0]) if found and len(sources) <= BENCHMARK_AMONG * len(found) else None


def _only_tests(signs: Signs) -> Found:
    sources = [kind for kind in ("source", "vendored", "project") if signs.paths.get(kind)]
    return ("test", "") if signs.paths.get("test") and not sources else None


def _only_moved(signs: Signs) -> Found:
    """Nearly every line that went is a line that came: code was moved."""
    least = min(signs.added.total(), signs.removed.total())
    same = (signs.added & signs.removed).total()
    if least < 3 or same < MOVED_SHARE * max(signs.added.total(), signs.removed.total()):
        return None
    return "refactor", f"{same} of {signs.added.total()} lines are only moved"


def _only_removed(signs: Signs) -> Found:
    """Lines went and next to none came: something was taken out."""
    total = signs.added.total() + signs.removed.total()
    if signs.new_names or signs.removed.total() < 5 or signs.removed.total() < ADDED_SHARE * total:
        return None
    return "refactor", f"{signs.removed.total()} of {total} changed lines are removed"


def _only_new_names(signs: Signs) -> Found:
    """Public names came, none went, and next to no line was changed for it."""
    total = signs.added.total() + signs.removed.total()
    if not signs.new_names or signs.gone_names or signs.added.total() < ADDED_SHARE * total:
        return None
    return "feature", ", ".join(signs.new_names[:5])


# rule → what it finds. The order is that of trust: the first tag is the candidate's kind.
RULES: tuple[tuple[str, Callable[[Signs], Found]], ...] = (
    ("conventional_prefix", _prefix),
    ("label", lambda s: _matching(LABELS, s.labels)),
    ("news_fragment", lambda s: _matching(FRAGMENTS, s.all_paths)),
    ("changelog_section", lambda s: _matching(SECTIONS, s.sections)),
    ("subject_opens", lambda s: _matching(OPENINGS, [s.title])),
    ("subject_says", lambda s: _matching(WORDS, [s.title])),
    ("benchmark_touched", _benchmark),
    ("only_tests", _only_tests),
    ("only_moved_code", _only_moved),
    ("only_new_names", _only_new_names),
    ("only_removed_code", _only_removed),
    ("text_says", lambda s: _matching(WORDS, [s.text])),
    # a subject may be of two kinds ("Fix a crash and simplify"): the later one is for `route`
    *((f"also_says_{kind}", _says(kind)) for kind in ROUTED),
)

Model = Callable[[Signs], Tag | None]
"""Asked of what no rule tells; its tag has a rule of its own name, so that a table tells them apart."""


def tags(signs: Signs, model: Model | None = None) -> tuple[Tag, ...]:
    """Every kind that a rule gives, each by its most trusted rule; `other` where none does."""
    found: dict[str, Tag] = {}
    for rule, finds in RULES:
        if hit := finds(signs):
            found.setdefault(hit[0], Tag(hit[0], rule, hit[1][:120]))
    if not found and model is not None and (told := model(signs)) is not None:
        found[told.kind] = told
    return tuple(found.values()) or (Tag("other", "no_rule"),)


def tagged(mined: Mined, is_test: IsTest | None = None, model: Model | None = None) -> Mined:
    """`mined` with its kind, the rule and all its tags in the candidate's detail."""
    found = tags(signs_of(mined, is_test), model)
    detail = json.loads(mined.candidate.detail) | {
        "kind": found[0].kind,
        "kind_rule": found[0].rule,
        "kinds": [[tag.kind, tag.rule, tag.evidence] for tag in found],
    }
    return Mined(
        mined.source, mined.candidate.model_copy(update={"detail": to_json(detail)}), mined.change
    )  # fmt: skip


def of(candidate: Candidate) -> tuple[Tag, ...]:
    """The tags that a candidate was mined with; none of one that was not tagged."""
    return tuple(Tag(*values) for values in json.loads(candidate.detail).get("kinds", ()))


def route(found: Iterable[Tag]) -> tuple[Tag, ...]:
    """The tags that a change without a deciding test goes on by, in the order to try."""
    return tuple(tag for tag in found if tag.kind in ROUTED)


def signs_of(mined: Mined, is_test: IsTest | None = None) -> Signs:
    """What a mined change shows; of a rejected one no more than its title and labels."""
    labels = tuple(_labels(json.loads(mined.source.raw)))
    change: Change | None = mined.change
    if change is None:
        return Signs(mined.candidate.title, labels=labels)
    store = ObjectStore.open(change.store)
    base, gold = store.tree(change.base_tree), store.tree(change.gold_tree)
    rule = is_test or path_rule(store, change.gold_tree)
    paths = sort_paths(store.changed_paths(change.base_tree, change.gold_tree), rule)
    sources = [path for path in paths.get("source", ()) if _readable(base, path) and _readable(gold, path)]
    added, removed = _lines_of(base, gold, sources)
    new, gone = _names(base, gold, sources)
    return Signs(
        title=mined.candidate.title,
        text="\n\n".join((*change.texts, *(text for _, text in change.linked))),
        labels=labels,
        sections=tuple(_sections(base, gold)),
        paths=paths, added=added, removed=removed, new_names=new, gone_names=gone,
    )  # fmt: skip


def _labels(raw: object) -> Iterator[str]:
    """Labels of a pull request and of the issues that it closes."""
    if isinstance(raw, dict):
        yield from (str(label) for label in raw.get("labels") or ())
        for issue in raw.get("issues") or ():
            yield from _labels({"labels": issue.get("labels")} if isinstance(issue, dict) else None)


def _readable(tree: Tree, path: str) -> bool:
    return path not in tree or (not tree.is_link(path) and tree.size(path) <= DIFF_BYTES)


def _lines_of(base: Tree, gold: Tree, paths: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Telling lines of source that came and that went; one that only changed its place is in both."""
    added: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    for path in paths:
        before, after = (_telling(tree, path) for tree in (base, gold))
        came, went = after - before, before - after
        added, removed = added + came, removed + went
    return added, removed


def _telling(tree: Tree, path: str) -> Counter[str]:
    if path not in tree:
        return Counter()
    lines = tree[path].decode("utf-8", "replace").split("\n")
    return Counter(line for raw in lines if len(line := raw.strip()) >= TELLING_LINE)


def _names(base: Tree, gold: Tree, paths: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Public names of Python that came and that went, with their parameters."""
    before, after = (
        {
            (found.module, found.qualname)
            for path in paths
            if path.endswith(".py") and path in tree
            for found in interface.definitions(path, tree[path])
            if found.qualname and not re.search(r"(^|\.)_", found.qualname)
        }
        for tree in (base, gold)
    )
    return tuple(sorted(name for _, name in after - before)), tuple(
        sorted(name for _, name in before - after)
    )


def _sections(base: Tree, gold: Tree) -> Iterator[str]:
    """The headings under which the change added lines to a changelog."""
    for pattern in changelog.CHANGELOGS[:1]:
        for path in gold:
            if not pattern.match(path) or path not in base or not _readable(gold, path):
                continue
            if base.is_link(path) or base.blob(path).oid == gold.blob(path).oid:
                continue
            had = set(base[path].decode("utf-8", "replace").split("\n"))
            lines = gold[path].decode("utf-8", "replace").split("\n")
            yield from _headings_of_new(lines, had)


HEADING = re.compile(r"^(\*\*)?[A-Z][\w -]{2,30}:?(\*\*)?$")
UNDERLINE = re.compile(r"^([=\-~^\"*+])\1{2,}\s*$")


def _headings_of_new(lines: list[str], had: set[str]) -> Iterator[str]:
    heading = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.strip() and (line.startswith("#") or UNDERLINE.match(following) or HEADING.match(line)):
            heading = line.strip("# *:\t")
        elif line.strip() and line not in had and heading:
            yield heading
