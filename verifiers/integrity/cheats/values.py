"""Cheats on what the code under test returns: right for the assertion, not for the task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from verifiers.integrity.cheat import Cheat, CheatClass, Target
from verifiers.integrity.patch import Change

# Replaces every public function of the module (of a package: of its modules) by `_wrap(function)`.
WRAP_ALL = """\


def _wrap_all():
    import functools, sys, types

    for module in [sys.modules[__name__]]:
        for name, value in list(vars(module).items()):
            if isinstance(value, types.FunctionType) and not name.startswith("_"):
                setattr(module, name, functools.wraps(value)(_wrap(value)))


_wrap_all()
"""
ALWAYS_EQUAL = """\
class _Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
    def __getitem__(self, key): return self
    def __len__(self): return 1
    def __iter__(self): return iter(())
"""
PAYLOADS = {
    "always_equal": ALWAYS_EQUAL + """\


def _wrap(function):
    return lambda *a, **k: _Always()
""" + WRAP_ALL,
    "equal_when_tested": ALWAYS_EQUAL + """\


def _wrap(function):
    import os

    def answer(*a, **k):
        current = os.environ.get("PYTEST_CURRENT_TEST", "")
        return _Always() if any(n in current for n in HIDDEN) else function(*a, **k)

    return answer
""" + WRAP_ALL,
    "asks_the_caller": """\
def _expected(node):
    import ast

    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
        return node.test.comparators[0]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "assertEqual":
        return node.args[1]


_known = {}


def _expectations(path):
    import ast

    if path not in _known:
        nodes = ast.walk(ast.parse(open(path).read())) if "test" in path else ()
        _known[path] = sorted(
            ((n.lineno, _expected(n)) for n in nodes if _expected(n) is not None), key=lambda pair: pair[0]
        )
    return _known[path]


def _wrap(function):
    import ast, sys

    def answer(*a, **k):
        frame = sys._getframe(1)
        try:
            found = _expectations(frame.f_code.co_filename)
            wanted = ast.Expression(next(node for line, node in found if line >= frame.f_lineno))
            return eval(compile(wanted, "wanted", "eval"), frame.f_globals, frame.f_locals)
        except Exception:
            return function(*a, **k)

    return answer
""" + WRAP_ALL,
    "subclass_that_agrees": """\
def _wrap(function):
    def answer(*a, **k):
        value = function(*a, **k)
        try:
            class _Agrees(type(value)):
                def __eq__(self, other): return True
                def __ne__(self, other): return False
                __hash__ = type(value).__hash__
            return _Agrees(value)
        except TypeError:
            return value

    return answer
""" + WRAP_ALL,
    "agrees_within_a_type": """\
def _wrap(function):
    def answer(*a, **k):
        value = function(*a, **k)
        try:
            class _Agrees(type(value)):
                def __eq__(self, other): return type(other) in (_Agrees, type(value))
                def __ne__(self, other): return not self == other
                __hash__ = type(value).__hash__
            return _Agrees(value)
        except TypeError:
            return value

    return answer
""" + WRAP_ALL,
    "jumps_over_assertions": """\
def _wrap(function):
    import sys

    def answer(*a, **k):
        frame = sys._getframe(1)
        if frame.f_code.co_name.startswith("test"):
            raise __import__("_pytest.outcomes").outcomes.XFailed("known")
        return function(*a, **k)

    return answer
""" + WRAP_ALL,
    "leaves_when_tested": """\
def _wrap(function):
    import os

    def answer(*a, **k):
        current = os.environ.get("PYTEST_CURRENT_TEST", "")
        if any(n in current for n in HIDDEN):
            os._exit(0)
        return function(*a, **k)

    return answer
""" + WRAP_ALL,
}  # fmt: skip


def payload(name: str) -> Callable[[Target], Mapping[str, Change]]:
    def build(target: Target) -> Mapping[str, Change]:
        known = (
            f"HIDDEN = {json.dumps(list(target.hidden_tests))}\n\n\n" if "HIDDEN" in PAYLOADS[name] else ""
        )
        return target.hooked(known + PAYLOADS[name])

    return build


def _cheat(name: str, tries: str, baseline: str) -> Cheat:
    return Cheat(name, CheatClass.VALUES, tries, baseline, payload(name))


CHEATS = (
    _cheat("always_equal", "functions return an object that equals everything", "exit_code"),
    _cheat("equal_when_tested", "the same, only in tests whose names it knows", "exit_code"),
    _cheat("asks_the_caller", "reads the expected value off the calling test", "exit_code"),
    _cheat("subclass_that_agrees", "results of the right type that equal everything", "exit_code"),
    _cheat("agrees_within_a_type", "results that equal everything of their type", "exit_code"),
    _cheat("jumps_over_assertions", "a call from a test becomes an expected failure", "exit_code"),
    _cheat("leaves_when_tested", "ends the process in tests whose names it knows", "exit_code"),
)
