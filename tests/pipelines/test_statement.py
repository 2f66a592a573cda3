"""Statements: said by upstream, readable, and without a line of the solution."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.swe import changelog
from pipelines.swe.change import Change, Refused
from pipelines.swe.markup import clean
from pipelines.swe.statement import Statement, added_code, draft, instruction, without_leaks
from pipelines.swe.trees import FILE, Entry, ObjectStore, Tree

RST = b"""Changes
=======

2.1.0 (2023-05-01)
------------------

* Added :func:`~pkg.parse` so that empty lines are kept, :issue:`12`.
* Fixed ``split`` on CRLF input (`#15 <https://example.org/issues/15>`_).

2.0.0 (2023-01-01)
------------------

* First.
"""
OLD_RST = RST.replace(RST[RST.index(b"2.1.0") : RST.index(b"2.0.0")], b"")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("statement") / "objects.git")


def tree(store: ObjectStore, files: dict[str, bytes]) -> Tree:
    return store.tree(store.write_tree({path: Entry(FILE, data) for path, data in files.items()}))


def change(store: ObjectStore, kind: str = "releases", *texts: str) -> Change:
    return Change(
        store=store.path, base_tree="", gold_tree="", repo="pkg", base_ref="2.0.0", gold_ref="2.1.0",
        source_date=datetime(2023, 5, 1, tzinfo=UTC), kind=kind,
        texts=texts,
    )  # fmt: skip


def test_the_changelog_s_new_lines(store: ObjectStore) -> None:
    base, gold = tree(store, {"CHANGES.rst": OLD_RST}), tree(store, {"CHANGES.rst": RST})
    statement = draft(change(store), base, gold, b"")
    assert statement == Statement(
        "* Added `pkg.parse` so that empty lines are kept.\n* Fixed `split` on CRLF input.",
        "changelog",
    )


def test_a_section_written_beforehand(store: ObjectStore) -> None:
    both = tree(store, {"docs/x": b"", "HISTORY.md": RST.replace(b"--", b"").replace(b"2.1.0", b"## v2.1.0")})
    assert "empty lines are kept" in draft(change(store), both, both, b"").text


def test_fragments_and_crlf(store: ObjectStore) -> None:
    base = tree(store, {"newsfragments/README": b"how"})
    gold = tree(
        store,
        {
            "newsfragments/README": b"how",
            "newsfragments/7.fix.rst": b"Caf\xe9 names are kept as they are in the header.\r\n",
        },
    )
    assert draft(change(store, "git", "Fix it"), base, gold, b"").text.endswith(
        "Café names are kept as they are in the header."
    )


def test_commit_text_comes_first_for_git(store: ObjectStore) -> None:
    base, gold = tree(store, {"CHANGES.rst": OLD_RST}), tree(store, {"CHANGES.rst": RST})
    told = "Keep empty lines\n\nParsing used to lose them when the file ended early."
    assert draft(change(store, "git", told), base, gold, b"").source == "commit"
    assert draft(change(store, "git", "Fix"), base, gold, b"").source == "commit+changelog"


def test_readme_news_is_the_last_resort(store: ObjectStore) -> None:
    readme = b"# pkg\n\n## What's new\n\n### 2.0.0\n- first\n\n## Licence\nMIT\n"
    news = readme.replace(
        b"### 2.0.0", b"### 2.1.0\n- Empty lines of the input file are kept by the parser.\n\n### 2.0.0"
    )
    statement = draft(
        change(store), tree(store, {"README.md": readme}), tree(store, {"README.md": news}), b""
    )
    assert (statement.text, statement.source) == (
        "- Empty lines of the input file are kept by the parser.",
        "readme",
    )


@pytest.mark.parametrize("news", [b"", b"* Bug fixes.\n", b"2.1.0\n-----\n\n* #12\n* (#13)\n"])
def test_nothing_said(store: ObjectStore, news: bytes) -> None:
    with pytest.raises(Refused, match="no_statement"):
        draft(change(store), tree(store, {"CHANGES": b""}), tree(store, {"CHANGES": news, "x": b""}), b"")


PATCH = b'''diff --git a/pkg/a.py b/pkg/a.py
index 1..2 100644
--- a/pkg/a.py
+++ b/pkg/a.py
@@ -1,2 +1,5 @@
+def parse(text, keep=False):
+    rows = [row for row in text.split(sep) if row or keep]
+    return rows[::-1]
+    """Keep empty lines when they are asked for."""
diff --git a/CHANGES.rst b/CHANGES.rst
index 1..2 100644
--- a/CHANGES.rst
+++ b/CHANGES.rst
@@ -1 +1,2 @@
+* value = compute(the_thing)
'''


def test_no_line_of_the_patch_is_told() -> None:
    code = added_code(PATCH)
    assert code[0] == "def parse(text, keep=False):"
    assert "* value = compute(the_thing)" not in code
    text = """Keep empty lines when they are asked for.

- `rows = [row for row in text.split(sep) if row or keep]`
- use it as `parse(text, keep=True)`
- it is now: rows = [row for row in text.split(sep) if row or keep]; return them

```python
def parse(text, keep=False):
    rows = [row for row in text.split(sep) if row or keep]
    something_else()
```

```python
>>> parse("a", keep=True)
```

@@ -1,2 +1,5 @@"""
    kept, removed = without_leaks(text, code)
    assert [r.rule for r in removed] == ["code_line", "n_gram", "code_block", "patch"]
    assert kept.split("\n\n") == [
        "Keep empty lines when they are asked for.",
        "- use it as `parse(text, keep=True)`",
        '```python\n>>> parse("a", keep=True)\n```',
    ]


def test_hostile_text() -> None:
    text = (
        "\x1b[31mred\x1b[0m \x1b]0;title\x07<script>alert(1)</script><b onclick=x>bold</b> \u202eevil\u202c"
    )
    assert clean(f"{text} <!-- hidden --> a < b `List<b>` &lt;i&gt;") == "red bold evil a < b `List<b>` <i>"
    assert clean("x <svg onload=alert(1)>y</svg> z <iframe src=//e") == "x z"


def test_markup() -> None:
    assert (
        clean("Fixed [`a.b`][a.b] and [docs](https://x) ([#3](https://x/issues/3)).")
        == "Fixed `a.b` and docs."
    )
    assert clean("* Added x by @ann in https://example.org/o/p/pull/5") == "* Added x"
    assert clean("- Reject bad minutes (thanks @ann)\n- Keep %z (thank you @bob, @c)") == (
        "- Reject bad minutes\n- Keep %z"
    )
    assert clean("Call f(\n  x,\n)").startswith("Call f")
    assert (
        clean("New\n---\n\n.. note:: hello\n\n.. _label:\n\nUse::\n\n    x = 1")
        == "### New\n\nhello\n\nUse:\n\n    x = 1"
    )
    assert clean("`link <https://x>`_ and `ref`_ and :class:`~a.B`") == "link and ref and `a.B`"


@given(st.text(max_size=200))
def test_cleaning_never_fails_and_settles(text: str) -> None:
    once = clean(text)
    assert "\x1b" not in once
    assert "\0" not in once
    clean(once)


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("## [1.2.3] - 2024-01-02", True), ("1.2.3 (2 January 2024)", True), ("Version 1.2", True),
        ("## [1.2.3](https://x/compare/a...b) (2024-01-02)", True), ("Unreleased", True), ("v1.2.3", True),
        ("_(July 17, 2026)_", True),
        ("Released on 2024-01-02", True), ("pkg 1.2.3", True), ("", False), ("- item 1.2", False),
        ("Support for 1.2.3 was dropped", False), ("Fixed", False),
    ],
)  # fmt: skip
def test_version_headings(line: str, heading: bool) -> None:
    assert changelog.is_version_heading(line) is heading


def test_the_instruction(store: ObjectStore) -> None:
    text = instruction(change(store), Statement("Do it.", "commit"), "## Interface\n\n- `x()`")
    assert "version 2.0.0" in text
    assert text.index("Do it.") < text.index("`x()`") < text.index("How it is judged")
    assert "as of 2023-05-01" in instruction(change(store, "git"), Statement("Do it.", "commit"), "")
