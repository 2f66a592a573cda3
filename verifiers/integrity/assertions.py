"""What assertions look like in the languages whose runners report by themselves, and how each is inverted.

Rules are data. A syntax tree says where a test begins and what an assertion is; line patterns do for the
languages whose tests are lines (bats, Perl, Lua, R). A rule need not be right everywhere: every inversion is
run before it is used (`inversions.py`), and what does not fail is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


def _both_ways(pairs: dict[str, str]) -> dict[str, str]:
    return {**pairs, **{second: first for first, second in pairs.items()}}


@dataclass(frozen=True)
class Syntax:
    """How one grammar spells tests and assertions. Names are node types and fields of the grammar."""

    module: str
    function: str = "language"
    """Of the module, that returns the grammar."""
    tests: dict[str, str] = field(default_factory=dict)
    """Node type of a named test → pattern of its name."""
    titled: frozenset[str] = frozenset()
    """Functions that take a test's title first: `it("adds", …)`."""
    calls: dict[str, str] = field(default_factory=dict)
    """Node type of a call → field of what is called."""
    swapped: dict[str, str] = field(default_factory=dict)
    """Assertion → its opposite."""
    negated: frozenset[str] = frozenset()
    """Assertions whose first argument is a condition: `assert(x)`."""
    prefixed: dict[str, str] = field(default_factory=dict)
    """Matchers before which a word turns the sense round: `toBe` → `not.`."""
    equal: frozenset[str] = frozenset()
    """Assertions of equality: a literal among their arguments may become another one."""
    compared: str = ""
    """Pattern of functions and macros of which a comparison among the arguments may be turned round."""
    complains: str = ""
    """Pattern of a block that tells of a failure: the condition of its `if` is inverted."""


_MATCHERS = (
    "toBe", "toEqual", "toStrictEqual", "toMatch", "toContain", "toBeTruthy", "toBeFalsy", "toHaveLength",
    "toBeNull", "toBeUndefined", "toBeDefined", "toMatchObject", "toContainEqual", "toHaveProperty",
    "toBeInstanceOf", "equal", "equals", "eql", "include", "contain",
)  # fmt: skip
_SCRIPT = Syntax(
    "tree_sitter_javascript",
    titled=frozenset({"it", "test", "specify"}),
    calls={"call_expression": "function"},
    swapped=_both_ways({
        "strictEqual": "notStrictEqual", "deepEqual": "notDeepEqual",
        "deepStrictEqual": "notDeepStrictEqual", "is": "not", "true": "false", "t.equal": "t.notEqual",
        "assert.equal": "assert.notEqual",
    }),
    negated=frozenset({"assert", "ok"}),
    prefixed=dict.fromkeys(_MATCHERS, "not."),
    equal=frozenset({"toBe", "toEqual", "toStrictEqual", "equal", "strictEqual", "deepEqual", "is", "eql",
                     "deepStrictEqual", "equals"}),
)  # fmt: skip
_C = Syntax(
    "tree_sitter_cpp",
    tests={"function_definition": r"\w*"},
    calls={"call_expression": "function"},
    swapped=_both_ways({
        "EXPECT_EQ": "EXPECT_NE", "ASSERT_EQ": "ASSERT_NE", "EXPECT_TRUE": "EXPECT_FALSE",
        "ASSERT_TRUE": "ASSERT_FALSE", "EXPECT_STREQ": "EXPECT_STRNE", "ASSERT_STREQ": "ASSERT_STRNE",
        "ck_assert_int_eq": "ck_assert_int_ne", "ck_assert_str_eq": "ck_assert_str_ne",
        "ck_assert_ptr_eq": "ck_assert_ptr_ne", "CU_ASSERT_EQUAL": "CU_ASSERT_NOT_EQUAL",
        "TEST_ASSERT_EQUAL": "TEST_ASSERT_NOT_EQUAL", "assert_int_equal": "assert_int_not_equal",
        "assert_string_equal": "assert_string_not_equal", "assert_true": "assert_false",
        "CHECK_EQ": "CHECK_NE",
    }),
    negated=frozenset({"assert", "REQUIRE", "CHECK", "ck_assert", "CU_ASSERT", "TEST_ASSERT", "TEST_CHECK"}),
    equal=frozenset({"EXPECT_EQ", "ASSERT_EQ", "ck_assert_int_eq"}),
    compared=r"(?i)\w*(check|assert|expect|require|test|ok|is_true)\w*",
    complains=r"\breturn\s+[1-9]|\bexit\s*\(\s*[1-9]|\babort\s*\(|\bfail",
)  # fmt: skip

SYNTAXES: dict[str, Syntax] = {
    "go": Syntax(
        "tree_sitter_go",
        tests={"function_declaration": r"Test\w*"},
        calls={"call_expression": "function"},
        swapped=_both_ways({
            f"{package}.{one}": f"{package}.{other}"
            for package in ("assert", "require")
            for one, other in (
                ("Equal", "NotEqual"), ("True", "False"), ("Nil", "NotNil"), ("NoError", "Error"),
                ("Contains", "NotContains"), ("Empty", "NotEmpty"), ("Same", "NotSame"),
            )
        }),
        complains=r"\.(Error|Errorf|Fatal|Fatalf|Fail|FailNow)\(",
    ),
    "rust": Syntax(
        "tree_sitter_rust",
        tests={"function_item": r"\w*"},
        calls={"macro_invocation": "macro"},
        swapped=_both_ways({"assert_eq": "assert_ne"}),
        negated=frozenset({"assert"}),
    ),
    "java": Syntax(
        "tree_sitter_java",
        tests={"method_declaration": r"\w*"},
        calls={"method_invocation": "name"},
        swapped=_both_ways({
            "assertEquals": "assertNotEquals", "assertTrue": "assertFalse", "assertNull": "assertNotNull",
            "assertSame": "assertNotSame", "isEqualTo": "isNotEqualTo", "isTrue": "isFalse",
            "isNull": "isNotNull", "isEmpty": "isNotEmpty", "contains": "doesNotContain",
        }),
        equal=frozenset({"assertEquals", "isEqualTo"}),
    ),
    "javascript": _SCRIPT,
    "c": _C,
    "cpp": _C,
    "ruby": Syntax(
        "tree_sitter_ruby",
        tests={"method": r"test_\w*[?!]?"},
        titled=frozenset({"it", "specify", "test", "should", "example"}),
        calls={"call": "method"},
        swapped=_both_ways({
            "assert_equal": "refute_equal", "assert": "refute", "assert_nil": "refute_nil",
            "assert_includes": "refute_includes", "assert_match": "refute_match", "to": "not_to",
            "assert_empty": "refute_empty", "must_equal": "wont_equal", "assert_same": "refute_same",
        }) | {"to_not": "to"},
        equal=frozenset({"assert_equal", "must_equal", "eq"}),
    ),
    "php": Syntax(
        "tree_sitter_php", "language_php",
        tests={"method_declaration": r"\w*", "function_definition": r"test\w*"},
        calls={"member_call_expression": "name", "scoped_call_expression": "name"},
        swapped=_both_ways({
            "assertSame": "assertNotSame", "assertEquals": "assertNotEquals", "assertTrue": "assertFalse",
            "assertNull": "assertNotNull", "assertCount": "assertNotCount", "assertEmpty": "assertNotEmpty",
            "assertContains": "assertNotContains", "assertInstanceOf": "assertNotInstanceOf",
            "assertStringContainsString": "assertStringNotContainsString",
        }),
        equal=frozenset({"assertSame", "assertEquals"}),
    ),
}  # fmt: skip

# Suffixes whose grammar is not the language's own.
BY_SUFFIX = {
    ".ts": ("tree_sitter_typescript", "language_typescript"),
    ".mts": ("tree_sitter_typescript", "language_typescript"),
    ".tsx": ("tree_sitter_typescript", "language_tsx"),
    ".jsx": ("tree_sitter_javascript", "language"),
}


@dataclass(frozen=True)
class Lines:
    """Tests and assertions as lines. `test` names a test that goes on until the next one; `title` says it in
    the assertion's own line. Each rule: a pattern, of which the group `x` is replaced, and by what.
    """

    rules: tuple[tuple[str, dict[str, str]], ...]
    test: str = ""
    title: str = ""


_NUMBER = {"": "1"}  # a digit is put before the number: `3` → `13`
_TEST_OPERATORS = _both_ways({"-eq": "-ne", "=": "!=", "==": "!="}) | {"!=": "="}

LINES: dict[str, Lines] = {
    "bash": Lines(
        rules=((r"(?:^|[{;])\s*\[\[?\s.*?\s(?P<x>-eq|-ne|==|=|!=)\s.*\]\]?\s*(?:[;}].*)?$", _TEST_OPERATORS),
               (r"\bassert_(?:output|line|equal\s+\S+)\s+(?P<x>)(?=[^-\s])", {"": "x"}),
               (r"^\s*(?P<x>assert_success|assert_failure)\s*$",
                _both_ways({"assert_success": "assert_failure"}))),
        test=r"^\s*@test\s+(?P<q>[\"'])(?P<name>.*?)(?P=q)\s*\{",
    ),
    "perl": Lines(
        rules=((r"^\s*(?P<x>is|isnt|like|unlike)\b[\s(]", _both_ways({"is": "isnt", "like": "unlike"})),
               (r"^\s*ok\b[\s(]+(?P<x>)(?=[$\w])[^,;]*,", {"": "!"})),
        title=r",\s*(?P<q>[\"'])(?P<name>[^\"']+)(?P=q)\s*\)?\s*;\s*$",
    ),
    "lua": Lines(
        rules=((r"\bassert\s*\(.*?\s(?P<x>==|~=)\s", _both_ways({"==": "~="})),
               (r"\bassert\.(?P<x>)(?:are\.|is\.)?(?:equals?|same|is_true|is_false|truthy|falsy)\s*\(",
                {"": "not_"}),
               (r"\bassert\.(?P<x>are|is)\.(?:equals?|same|truthy|falsy|[tT]rue|[fF]alse)\s*\(",
                {"are": "are_not", "is": "is_not"}),
               (r"\.(?P<x>assertEquals|assertNotEquals|assertTrue|assertFalse)\s*\(",
                _both_ways({"assertEquals": "assertNotEquals", "assertTrue": "assertFalse"}))),
        test=r"^\s*(?:(?:it|test)\s*\(\s*(?P<q>[\"'])(?P<name>.*?)(?P=q)"
             r"|function\s+(?:\w+[.:])?(?P<other>[tT]est\w*))",
    ),
    "r": Lines(
        rules=((r"(?:^|[\s,{(])(?P<x>expect_true|expect_false)\s*\(",
                _both_ways({"expect_true": "expect_false"})),
               (r"(?:^|[\s,{(])expect_(?:equal|identical)\(.*,\s*(?P<x>)\d+(?:\.\d+)?L?\s*\)[\s)}]*$",
                _NUMBER),
               (r"(?:^|[\s,{(])expect_(?:equal|identical)\(.*,\s*\"(?P<x>)[^\"]*\"\s*\)[\s)}]*$",
                {"": "x"})),
        test=r"^\s*test_that\(\s*(?P<q>[\"'])(?P<name>.*?)(?P=q)\s*,",
    ),
}  # fmt: skip

TEST_MARK = re.compile(rb"#\[[\w:]*test|@(?:\w+\.)*(?:Test|ParameterizedTest)\b|#\[Test\]|@test\b")
"""What stands above a function that is a test by its attribute, not by its name."""
