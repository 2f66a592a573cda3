"""Structure is read from syntax trees: measures, targets, and what tries to get around them.

The right solution, and nothing done, are cases of `test_kind_contract`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from kind_projects import TANGLED, TIDY, bundle, kinds_image, patch
from verifier_projects import diff

from envs.docker.backend import DockerBackend
from envs.sandbox import BuiltImage, Limits
from pipelines.swe.structure import Sides, targets
from verifiers import refactor
from verifiers.refactor import RefactorSpec, Target, files
from verifiers.refactor.inside.structure import RULES, Project, value
from verifiers.tests.bundle import Bundle
from verifiers.tests.grader import TestsVerifier
from verifiers.verdict import Submission, VerdictKind
from warehouse.errors import FactoryError

assert kinds_image  # a fixture
GOLD = patch("tangled.py", TIDY)
SPEC = RefactorSpec(
    schema=1, suite_seconds=200,
    targets=(
        Target(rule="complexity", name="price", path="tangled.py", most=5, base=9),
        Target(rule="worst_complexity", folders=("",), most=5),
        Target(rule="evaluated", most=0),
    ),
)  # fmt: skip


def sides(base: dict[str, str], gold: dict[str, str]) -> Sides:
    before, after = ({path: text.encode() for path, text in side.items()} for side in (base, gold))
    touched = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    return Sides(Project(before), Project(after), tuple(touched))


def found(base: dict[str, str], gold: dict[str, str]) -> dict[str, tuple[str, int]]:
    return {target.rule: (target.name, target.most) for target in targets(sides(base, gold))}


# Measures


@pytest.mark.parametrize(
    ("code", "complexity"),
    [
        ("pass", 1),
        ("if a and b or c:\n        pass\n    elif d:\n        pass", 5),
        ("try:\n        pass\n    except A:\n        pass\n    except B:\n        pass", 3),
        ("return [x for x in y if x if not x] if y else 0", 5),
        ("def g():\n        while a:\n            for b in c:\n                pass", 3),
    ],
)
def test_complexity_is_that_of_mccabe(code: str, complexity: int) -> None:
    project = Project({"m.py": f"def f(a, b, c, d):\n    {code}\n".encode()})
    assert value(project, {"rule": "complexity", "path": "m.py", "name": "f"}) == complexity


def test_what_cannot_be_read_has_no_value() -> None:
    broken = Project({"m.py": b"def f(:\n"})
    assert broken.unreadable() == ["m.py"]
    for rule in ("complexity", "length", "absent"):
        assert value(broken, {"rule": rule, "path": "m.py", "name": "f"}) is None
    assert value(Project({}), {"rule": "complexity", "path": "m.py", "name": "f"}) is None
    assert value(Project({}), {"rule": "absent", "path": "m.py", "name": "f"}) == 0  # a file that is gone
    deep = Project({"m.py": b"x = " + b"(" * 5000 + b")" * 5000})
    assert deep.unreadable() == ["m.py"]


def test_words_of_other_languages_are_counted_without_comments_and_quotations() -> None:
    source = b'// old()\nvar s = "old()";\nold(); /* old */ a.old = 1;\n'
    assert value(Project({"m.js": source}), {"rule": "uses", "name": "old"}) == 2


# What a change's trees give


def test_simpler_functions_are_targets_with_guards() -> None:
    assert found({"tangled.py": TANGLED}, {"tangled.py": TIDY}) == {
        "complexity": ("price", 3), "length": ("price", 6),
        "worst_complexity": ("", 3), "evaluated": ("", 0),
    }  # fmt: skip


BODY = """\
    total = 0
    for item in items:
        total += item * 2
        print(total)
    return total
"""


def test_moves_and_renames_are_told_by_their_new_names() -> None:
    helper = f"def helper(items):\n{BODY}"
    moved = targets(sides({"a.py": helper, "b.py": ""}, {"a.py": "", "b.py": helper}))
    assert [(t.rule, t.path, t.name) for t in moved] == [
        ("absent", "a.py", "helper"), ("present", "b.py", "helper"),
    ]  # fmt: skip
    renamed = targets(sides({"a.py": helper}, {"a.py": helper.replace("helper", "doubled")}))
    assert [(t.rule, t.name) for t in renamed] == [("absent", "helper"), ("present", "doubled")]


def test_copies_that_are_gone_are_a_target() -> None:
    copies = "".join(f"def f{i}(items):\n{BODY}\n\n" for i in range(3))
    one = f"def f(items):\n{BODY}\n\nf0 = f1 = f2 = f\n"
    (target,) = [t for t in targets(sides({"a.py": copies}, {"a.py": one})) if t.rule == "duplication"]
    assert target.base is not None
    assert target.most < target.base / 2


def test_modules_and_names_that_ended_are_targets() -> None:
    old = "import six\n\nA = six.text_type\nB = [six.moves.range, six.moves.zip, six.moves.map]\n"
    assert found({"a.py": old}, {"a.py": "A = str\nB = [range, zip, map]\n"})["imports"] == ("six", 0)
    script = "oldName(1);\noldName(2);\noldName(3);\n"
    assert found({"a.js": script}, {"a.js": script.replace("oldName", "newName")}) == {"uses": ("oldName", 0)}


@pytest.mark.parametrize(
    ("base", "gold"),
    [
        ("def f():\n    x = 1\n    return x\n", "def f():\n    y = 1\n    return y\n"),  # other variables
        ("def f():\n    return 1\n", "def f():\n    return 2\n"),
        ("class A:\n    def f(self):\n        self.old = self.old + self.old\n", "class A:\n    pass\n"),
        ("def f():\n    return 1\n", "def g():\n    return 1\n"),  # alike by chance
        (f"def f(items):\n{BODY}", "def f(items:\n"),  # gold does not parse
    ],
)  # fmt: skip
def test_what_says_nothing_is_no_target(base: str, gold: str) -> None:
    assert targets(sides({"a.py": base}, {"a.py": gold})) == ()


def test_every_rule_has_a_sentence() -> None:
    for rule in RULES:
        target = Target.model_validate(
            {"rule": rule, "name": "n", "path": "p.py", "folders": ["q"], "most": 3, "base": 9}
        )
        assert "{" not in target.sentence()
    assert SPEC.section().count("\n- ") == len(SPEC.targets)


# In the container


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return bundle(
        tmp_path, kind="refactor", about="tangled", gold=GOLD, more=files(SPEC),
        suite_seconds=SPEC.grading_seconds,
    )  # fmt: skip


@pytest.fixture
def verifier(kinds_image: BuiltImage, limits: Limits) -> TestsVerifier:
    async def image_for(_: Bundle) -> BuiltImage:
        return kinds_image

    return TestsVerifier(image_for, limits=limits)


BREAKS = TIDY.replace('"senior": 0.7', '"senior": 0.6')
IN_A_STRING = f"exec({TANGLED!r})\nprice = price\n"
MOVED = """\
import worse


def price(amount, kind, count):
    return worse.price(amount, kind, count)
"""
OTHER = """\
def price(amount, kind, count):
    share = {"child": 0.5, "senior": 0.7}.get(kind, 1.0)
    return round(amount * count * share * (0.9 if count > 10 else 0.95 if count > 5 else 1.0), 2)
"""
COMPLEX = "structure: complexity price tangled.py"
ALL = {COMPLEX, "structure: worst_complexity", "structure: evaluated"}


@pytest.mark.docker
@pytest.mark.parametrize(
    ("submission", "reward", "failed"),
    [
        (patch("tangled.py", BREAKS), 0.0, {"pass_to_pass"}),
        (patch("tangled.py", IN_A_STRING), 0.0, {COMPLEX, "structure: evaluated"}),
        (patch("tangled.py", MOVED) + diff("worse.py", "", TANGLED), 0.0, {"structure: worst_complexity"}),
        (GOLD + diff("blind.py", "", "def f(:\n"), 0.0, ALL),
        (patch("tangled.py", OTHER), 1.0, set()),
    ],
    ids=["breaks behaviour", "in a string", "moved, not mended", "hides from the parser", "another solution"],
)  # fmt: skip
async def test_structure_and_behaviour_decide_together(
    verifier: TestsVerifier,
    task: Path,
    backend: DockerBackend,
    submission: bytes,
    reward: float,
    failed: set[str],
) -> None:
    verdict = await verifier.grade(task, Submission(patch=submission), backend)
    assert (verdict.kind, verdict.reward) == (VerdictKind.SCORED, reward), verdict
    assert {check.name for check in verdict.checks if not check.passed} == failed


def test_specs_are_read_from_intact_bundles(task: Path, tmp_path: Path) -> None:
    assert refactor.read(task) == SPEC
    with pytest.raises(FactoryError):
        refactor.read(tmp_path)
