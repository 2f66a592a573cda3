"""What the mutation rules need to know of each grammar: names of nodes, operators and empty statements. Data.

Node names are those of the tree-sitter grammars pinned in pyproject.toml; a test mutates real code of every
language, so a grammar that renames its nodes is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Grammar:
    """One language as tree-sitter names it."""

    module: str
    """Import name of the grammar's wheel."""
    functions: frozenset[str]
    types: frozenset[str]
    """Classes, implementations: they qualify the names of what lies in them."""
    ifs: frozenset[str]
    returns: frozenset[str]
    leaves: frozenset[str]
    """Statements that end a function or an iteration."""
    calls: frozenset[str]
    arguments: frozenset[str]
    assignments: frozenset[str]
    integers: frozenset[str]
    skip: frozenset[str]
    """What is no code of a function: imports, types, attributes."""
    catches: frozenset[str] = frozenset()
    throws: frozenset[str] = frozenset()
    function: str = "language"
    """Of the wheel's module, the one that returns the grammar."""
    nothing: str = ";"
    """The statement that does nothing."""
    empty: str = "{}"
    negation: str = "!({})"
    never: str = "false"
    in_parentheses: bool = False
    """The condition of an `if` has its parentheses in its node."""
    loops: tuple[tuple[str, str], ...] = (("break", "continue"), ("continue", "break"))


SWAPPED = {
    "+": "-", "-": "+", "*": "+", "/": "*", "%": "*", "&&": "||", "||": "&&", "&": "|", "|": "&",
    "<<": ">>", ">>": "<<", "+=": "-=", "-=": "+=", "*=": "+=", "??": "&&",
}  # fmt: skip
OPPOSITE = {
    "==": "!=", "!=": "==", "===": "!==", "!==": "===", "<": ">=", ">": "<=", "<=": ">", ">=": "<",
}  # fmt: skip
BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
BINARY = frozenset(
    {
        "binary_expression",
        "augmented_assignment_expression",
        "compound_assignment_expr",
        "assignment_statement",
    }
)
BOOLEANS = {"true": "false", "false": "true"}

_SCRIPT = Grammar(
    module="tree_sitter_javascript",
    functions=frozenset(
        {
            "function_declaration", "function_expression", "function", "method_definition", "arrow_function",
            "generator_function_declaration", "generator_function",
        }
    ),
    types=frozenset({"class_declaration", "class"}),
    ifs=frozenset({"if_statement"}),
    returns=frozenset({"return_statement"}),
    leaves=frozenset({"return_statement", "throw_statement", "break_statement", "continue_statement"}),
    calls=frozenset({"call_expression"}),
    arguments=frozenset({"arguments"}),
    assignments=frozenset({"assignment_expression", "augmented_assignment_expression"}),
    integers=frozenset({"number"}),
    skip=frozenset(
        {"import_statement", "type_annotation", "decorator", "interface_declaration", "jsx_element"}
    ),
    catches=frozenset({"catch_clause"}),
    throws=frozenset({"throw_statement"}),
    in_parentheses=True,
)  # fmt: skip

GRAMMARS: dict[str, Grammar] = {
    "javascript": _SCRIPT,
    "typescript": replace(_SCRIPT, module="tree_sitter_typescript", function="language_typescript"),
    "tsx": replace(_SCRIPT, module="tree_sitter_typescript", function="language_tsx"),
    "go": Grammar(
        module="tree_sitter_go",
        functions=frozenset({"function_declaration", "method_declaration", "func_literal"}),
        types=frozenset(),
        ifs=frozenset({"if_statement"}),
        returns=frozenset({"return_statement"}),
        leaves=frozenset({"return_statement", "break_statement", "continue_statement"}),
        calls=frozenset({"call_expression"}),
        arguments=frozenset({"argument_list"}),
        assignments=frozenset({"assignment_statement"}),
        integers=frozenset({"int_literal"}),
        skip=frozenset({"import_declaration", "type_declaration"}),
        nothing="{}",
    ),
    "rust": Grammar(
        module="tree_sitter_rust",
        functions=frozenset({"function_item"}),
        types=frozenset({"impl_item", "trait_item", "mod_item"}),
        ifs=frozenset({"if_expression"}),
        returns=frozenset({"return_expression"}),
        leaves=frozenset({"return_expression", "break_expression", "continue_expression"}),
        calls=frozenset({"call_expression"}),
        arguments=frozenset({"arguments"}),
        assignments=frozenset({"assignment_expression", "compound_assignment_expr"}),
        integers=frozenset({"integer_literal"}),
        skip=frozenset({"use_declaration", "attribute_item", "type_item", "macro_definition"}),
    ),
    "java": Grammar(
        module="tree_sitter_java",
        functions=frozenset({"method_declaration", "constructor_declaration", "lambda_expression"}),
        types=frozenset(
            {"class_declaration", "enum_declaration", "interface_declaration", "record_declaration"}
        ),
        ifs=frozenset({"if_statement"}),
        returns=frozenset({"return_statement"}),
        leaves=frozenset({"return_statement", "throw_statement", "break_statement", "continue_statement"}),
        calls=frozenset({"method_invocation"}),
        arguments=frozenset({"argument_list"}),
        assignments=frozenset({"assignment_expression"}),
        integers=frozenset({"decimal_integer_literal"}),
        skip=frozenset({"import_declaration", "annotation", "marker_annotation"}),
        catches=frozenset({"catch_clause"}),
        throws=frozenset({"throw_statement"}),
        in_parentheses=True,
    ),
    "c": Grammar(
        module="tree_sitter_c",
        functions=frozenset({"function_definition"}),
        types=frozenset(),
        ifs=frozenset({"if_statement"}),
        returns=frozenset({"return_statement"}),
        leaves=frozenset({"return_statement", "break_statement", "continue_statement", "goto_statement"}),
        calls=frozenset({"call_expression"}),
        arguments=frozenset({"argument_list"}),
        assignments=frozenset({"assignment_expression"}),
        integers=frozenset({"number_literal"}),
        skip=frozenset({"preproc_include", "preproc_def", "preproc_function_def", "type_definition"}),
        never="0",
        in_parentheses=True,
    ),
}  # fmt: skip
