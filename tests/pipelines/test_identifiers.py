"""New names in languages other than Python: told by their defining line, without body, value or quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.swe.identifiers import fresh
from pipelines.swe.trees import Entry, ObjectStore

CASES = [
    ("a.go", "", "\nfunc (s *Set) Union(o *Set) *Set {\n\treturn merged(s, o)\n}\n", "s.Union(o)",
     [("Union", "func (s *Set) Union(o *Set) *Set")]),
    ("a.go", "type Opts struct {\n}\n", "type Opts struct {\n\tStrict bool\n}\n", "Opts{Strict: true}",
     [("Strict", "Strict bool")]),
    ("a.c", "int add();\n", "int add();\nCALC_PUBLIC(int) add_all(const int *numbers, int count);\n",
     "add_all(n, 2)", [("add_all", "CALC_PUBLIC(int) add_all(const int *numbers, int count)")]),
    ("a.h", "", "#define LIMIT_MAX 17\n", "n = LIMIT_MAX;", [("LIMIT_MAX", "#define LIMIT_MAX 17")]),
    ("a.js", "", "exports.parseAll = (text) => text.split(',')\n", "lib.parseAll('a')",
     [("parseAll", "exports.parseAll")]),
    ("a.rs", "", "pub fn widest(self) -> usize { self.0.max() }\n", "x.widest()",
     [("widest", "pub fn widest(self) -> usize")]),
    ("a.rb", "", "def self.widest(sets)\n  sets.max\nend\n", "Sets.widest(a)",
     [("widest", "def self.widest(sets)")]),
    ("a.rb", "", "attr_reader :lines, :widest\n", "a.widest", [("widest", "attr_reader :lines, :widest")]),
    ("a.lua", "", "function M.widest(a)\n", "M.widest(1)", [("widest", "function M.widest(a)")]),
    ("a.R", "", "widest <- function(x, y) {\n  x\n}\n", "expect_equal(widest(1, 2), 1)",
     [("widest", "widest <- function(x, y)")]),
    ("a.js", "", "module.exports = { narrow, widest }\n", "lib.widest(1)", [("widest", "module.exports")]),
    ("a.rs", "", "pub enum Kind {\n    Widest(u8),\n}\n", "Kind::Widest(1)",
     [("Kind", "pub enum Kind"), ("Widest", "Widest(u8),")]),
    ("a.go", "", 'var e = errors.New("unknown colour")\n', 'if s != "unknown colour" {', []),
    ("a.go", "func Union() {}\n", "func Union() {}\nfunc (s *Set) Union() {}\n", "s.Union()", []),
    ("a.c", "int all();\n", "int all();\nreturn add_all(n, 2);\n", "add_all(n, 2)", []),
    ("a.go", "", "// Union of sets\nfunc union() {}\n", "s.Union()", []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "before", "after", "test", "expected"), CASES)
def test_new_names_are_told_by_the_line_that_defines_them(
    path: str, before: str, after: str, test: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    store = ObjectStore.create(tmp_path / "store")
    base = store.tree(store.write_tree({path: Entry(0o100644, before.encode())}))
    gold = store.tree(store.write_tree({path: Entry(0o100644, after.encode())}))
    hidden = {f"tests/{path}": Entry(0o100644, test.encode())}
    found = list(fresh(base, gold, [path], hidden, lambda p: p.startswith("tests/")))
    assert found == [(path, name, line) for name, line in expected]
