"""Mutants of every language, the choice of them, and what is taken out of or told about a tree. All pure."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_sitter import Language, Parser

import pipelines
from envs.reports import TestReport, TestResult, TestStatus
from pipelines.transform.cut import NotLocated, without_tests
from pipelines.transform.equivalent import equivalent
from pipelines.transform.grammar import _parser
from pipelines.transform.grammars import GRAMMARS
from pipelines.transform.mutation import KINDS, Mutation, applied, mutations, spread
from pipelines.transform.symptoms import statement

PYTHON = '''\
class Box:
    def put(self, item, limit=10):
        """Docstring with a < b."""
        if item is None:
            raise ValueError("nothing")
        if len(self.items) >= limit and not self.open:
            return False
        elif item in self.items:
            self.count += 1
        else:
            self.items.append(item)
        for index in range(len(self.items) - 1):
            if self.items[index] > self.items[index + 1]:
                break
        try:
            self.log(item, limit, loud=True)
        except (OSError, ValueError):
            self.failed = True
            raise
        return self.count, limit


LIMIT = 10 if Box else 20
'''

SOURCES = {
    "box.py": PYTHON,
    "box.js": """
function put(box, item, limit) {
  // a comment
  if (item === null) { throw new Error("nothing"); }
  if (box.items.length >= limit && !box.open) { return false; } else { box.items.push(item, limit); }
  for (let i = 0; i < box.items.length - 1; i++) { if (box.items[i] > 3) { break; } }
  try { log(item, limit); } catch (error) { box.failed = true; }
  box.count += 1;
  return box.count > 1;
}
""",
    "box.ts": """
export class Box<T> {
  put(item: T, limit: number = 10): boolean {
    if (this.items.length >= limit && !this.open) { return false; } else { this.items.push(item); }
    for (const other of this.items) { if (other === item) { continue; } }
    try { this.log(item, limit); } catch (error) { throw error; }
    this.count += 1;
    return true;
  }
}
""",
    "box.go": """
package box

func (b *Box) Put(item int, limit int) (bool, error) {
	if item <= 0 {
		return false, errNothing
	}
	if len(b.items) >= limit && !b.open {
		b.count += 1
	} else {
		b.add(item, limit)
	}
	for i := 0; i < len(b.items)-1; i++ {
		if b.items[i] > 3 {
			break
		}
	}
	return true, nil
}
""",
    "box.rs": """
impl Box {
    fn put(&mut self, item: i32, limit: usize) -> bool {
        if item <= 0 { return false; }
        if self.items.len() >= limit && !self.open { self.count += 1; } else { self.add(item, limit); }
        for i in 0..self.items.len() - 1 { if self.items[i] > 3 { break; } }
        self.count == 1 || self.open
    }
}
""",
    "Box.java": """
class Box {
    boolean put(int item, int limit) {
        if (item <= 0) { throw new IllegalArgumentException("nothing"); }
        if (items.size() >= limit && !open) { return false; } else { items.add(item, limit); }
        for (int i = 0; i < items.size() - 1; i++) { if (i > 3) { break; } }
        try { log(item, limit); } catch (RuntimeException error) { failed = true; }
        count += 1;
        return true;
    }
}
""",
    "box.c": """
static int put(struct box *box, int item, int limit) {
    if (item <= 0) return -1;
    if (box->size >= limit && !box->open) { box->count += 1; } else { add(box, item); }
    for (int i = 0; i < box->size - 1; i++) { if (i > 3) { break; } }
    return box->count + 1;
}
""",
}


@pytest.mark.parametrize("path", SOURCES)
class TestEveryLanguage:
    def test_mutants_are_of_many_kinds_and_still_parse(self, path: str) -> None:
        data = SOURCES[path].encode()
        found = mutations(path, data)
        assert len({m.kind for m in found}) >= 5
        assert {m.kind for m in found} <= set(KINDS)
        for mutation in found:
            mutated = mutation.apply(data)
            assert mutated != data
            if path.endswith(".py"):
                ast.parse(mutated)
            else:
                assert not _parser(mutation.language).parse(mutated).root_node.has_error

    def test_a_mutation_knows_its_function_and_its_lines(self, path: str) -> None:
        data = SOURCES[path].encode()
        lines = data.split(b"\n")
        for mutation in mutations(path, data):
            assert mutation.function.rpartition(".")[2].lower() == "put"
            text = data[mutation.start : mutation.end]
            assert text in b"\n".join(lines[mutation.first - 1 : mutation.last])

    def test_the_same_file_gives_the_same_mutations(self, path: str) -> None:
        data = SOURCES[path].encode()
        assert mutations(path, data) == mutations(path, data)

    def test_another_form_differs_and_parses(self, path: str) -> None:
        data = SOURCES[path].encode()
        other = equivalent(path, data)
        if "//" not in SOURCES[path] and not path.endswith(".py"):
            assert other is None
            return
        assert other is not None
        assert other != data
        assert mutations(path, other)


def test_all_python_kinds_are_found() -> None:
    assert len({m.kind for m in mutations("box.py", PYTHON.encode())}) >= 11


def test_docstrings_modules_and_annotations_are_left_alone() -> None:
    data = PYTHON.encode()
    outside = {data.index(b"a < b") + 2, data.index(b"LIMIT = 10") + 8}
    assert not [m for m in mutations("box.py", data) if outside & set(range(m.start, m.end))]


def test_mutants_of_real_modules_compile() -> None:
    """Of our own code: every single mutation is a program again."""
    folder = Path(pipelines.__file__).parent
    for name in ("factory.py", "swe/trees.py"):
        data = (folder / name).read_bytes()
        found = mutations(name, data)
        assert len(found) > 50
        for mutation in found:
            compile(mutation.apply(data), name, "exec")


def test_what_does_not_parse_has_no_mutations() -> None:
    assert mutations("a.py", b"def f(:\n    return 1\n") == []
    assert mutations("a.js", b"function f( { return 1; }") == []
    assert mutations("a.py", b"\xff\xfe") == []
    assert mutations("a.txt", b"if a < b") == []


@pytest.mark.parametrize("language", GRAMMARS)
def test_every_grammar_has_the_nodes_that_the_rules_name(language: str) -> None:
    parser: Parser = _parser(language)
    grammar = GRAMMARS[language]
    known: Language | None = parser.language
    assert known is not None
    kinds = {known.node_kind_for_id(number) for number in range(known.node_kind_count)}
    for name in (*grammar.ifs, *grammar.returns, *grammar.calls, *grammar.arguments, *grammar.integers):
        assert name in kinds, name


def _mutation(function: str, kind: str, start: int) -> Mutation:
    return Mutation("a.py", "python", kind, function, start, start, start, start + 1, b"x")


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(sorted(KINDS)), st.integers(0, 200)),
        max_size=40, unique_by=lambda t: t[2],
    ),
    st.integers(0, 10),
)  # fmt: skip
def test_the_choice_is_fair_and_depends_on_the_seed_alone(
    described: list[tuple[str, str, int]], count: int
) -> None:
    found = [_mutation(*one) for one in described]
    chosen = spread(found, count, "seed", lambda m: 0)
    assert chosen == spread(found[::-1], count, "seed", lambda m: 0)
    assert len(chosen) == min(count, len(found))
    assert len(set(chosen)) == len(chosen)
    # No function has two more than another that still had some to give.
    taken, there = Counter(m.function for m in chosen), Counter(m.function for m in found)
    for one in there:
        for other in there:
            assert taken[one] <= taken[other] + 1 or taken[other] == there[other]


def test_preferred_functions_come_first() -> None:
    found = [_mutation("far", "off_by_one", n) for n in range(5)] + [_mutation("near", "off_by_one", 9)]
    assert spread(found, 1, "any", lambda m: m.function != "near")[0].function == "near"


def test_several_mutations_of_a_file_keep_their_places() -> None:
    first, second = _mutation("f", "off_by_one", 0), _mutation("f", "off_by_one", 4)
    assert applied([first, second], {"a.py": b"0123456789"}) == {"a.py": b"x123x56789"}


TESTS = {
    "tests/test_a.py": (
        b"import pytest\n\n\n@pytest.mark.parametrize('x', [1, 2])\ndef test_one(x):\n    assert x\n\n\n"
        b"def test_two():\n    assert 2\n\n\nclass TestC:\n    def test_three(self):\n        assert 3\n"
    ),
    "tests/test_b.py": b"from base import Shared\n\n\nclass TestD(Shared):\n    pass\n",
    "pkg/add_test.go": b"package pkg\n\nfunc TestAdd(t *testing.T) {}\n",
}


def test_failing_functions_are_cut_and_the_rest_of_the_file_stays() -> None:
    ids = [
        "tests/test_a.py::test_one[1]",
        "tests/test_a.py::test_one[2]",
        "tests/test_a.py::TestC::test_three",
    ]
    cut = without_tests(TESTS, ids, "pytest")
    (text,) = cut.values()
    assert text is not None
    assert b"test_two" in text
    assert b"test_one" not in text
    assert b"parametrize" not in text
    assert b"test_three" not in text
    compile(text, "test_a.py", "exec")


def test_what_cannot_be_cut_is_removed_as_a_file() -> None:
    assert without_tests(TESTS, ["tests/test_b.py::TestD::test_inherited"], "pytest") == {
        "tests/test_b.py": None
    }
    assert without_tests(TESTS, ["tests.test_a.TestC.test_three"], "unittest").keys() == {"tests/test_a.py"}
    assert without_tests(TESTS, ["example.org/pkg::TestAdd/small"], "command") == {"pkg/add_test.go": None}
    with pytest.raises(NotLocated):
        without_tests(TESTS, ["TestNowhere"], "command")


def _report(*messages: str) -> TestReport:
    results = tuple(
        TestResult(id=f"tests/test_a.py::test_{n}", status=TestStatus.FAILED, message=message)
        for n, message in enumerate(messages)
    )
    return TestReport(results=results, exit_code=1, outcome="finished")


def test_symptoms_tell_what_was_seen_and_not_where() -> None:
    report = _report(
        "assert 3 == 4\n +  where 3 = add(1, 2)",
        "ValueError: <Box at 0x7f12ab34cd56> in /tmp/pytest-of-tester/x1\n  box.py:12: in put\n"
        "\x1b[31mred\x1b[0m",
        "SyntaxError: return self.items.pop(index - 1)",
    )
    failing = [result.id for result in report.results]
    told = statement(report, failing, ["return self.items.pop(index - 1)"], ["src/box.py"])
    assert "`test_0` fails" in told.text
    assert "where 3 = add(1, 2)" in told.text
    assert "0x…" in told.text
    assert "/tmp/…" in told.text
    for leaked in ("box.py", "7f12ab34cd56", "\x1b", "index - 1", "tests/test_a.py"):
        assert leaked not in told.text
    assert [removed.text for removed in told.removed]


def test_tests_that_see_the_same_are_told_together_and_many_are_counted() -> None:
    report = _report(*["assert False"] * 4, *(f"assert {n}" for n in range(9)))
    told = statement(report, [result.id for result in report.results], [], []).text
    assert "more tests fail in other ways" in told
    assert told.count("fail") < 20
