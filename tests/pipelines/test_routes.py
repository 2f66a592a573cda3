"""Changes that no test tells from their base, taken through the whole family: a clean-up and a speed-up."""

from __future__ import annotations

from pathlib import Path

import pytest
from calc_repo import LICENSE, PYPROJECT
from test_git import History

from envs.docker.backend import DockerBackend
from envs.sandbox import SandboxError
from pipelines.family import Context, Done, Mined
from pipelines.swe import kinds, routes
from pipelines.swe.family import SweFamily, SweOptions
from verifiers import performance, refactor
from verifiers.performance import Measured, PerformanceSpec
from verifiers.tests.bundle import load
from warehouse.records import Task, Validation
from warehouse.settings import Settings

SLOW = '''\
"""Lists."""


def unique(items):
    found = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def kind(count, sort):
    if sort == "a":
        if count > 10:
            return "many a"
        elif count > 5:
            return "some a"
        return "few a"
    elif sort == "b":
        if count > 10:
            return "many b"
        elif count > 5:
            return "some b"
        return "few b"
    return "none"
'''
TIDY = (
    SLOW[: SLOW.index("def kind")]
    + """\
def kind(count, sort):
    if sort not in ("a", "b"):
        return "none"
    return ("many " if count > 10 else "some " if count > 5 else "few ") + sort
"""
)
FAST = TIDY.replace(
    TIDY[TIDY.index("    found = []") : TIDY.index("\n\n\ndef kind")], "    return list(dict.fromkeys(items))"
)
TESTS = """\
import unittest

from calc import kind, unique


class Lists(unittest.TestCase):
    def test_kind(self):
        self.assertEqual(kind(12, "a"), "many a")
        self.assertEqual(kind(6, "b"), "some b")
        self.assertEqual(kind(1, "c"), "none")

    def test_unique(self):
        self.assertEqual(unique([2, 1, 2]), [2, 1])

    def test_unique_of_many(self):
        self.assertEqual(unique(list(range(9000)))[-1], 8999)
"""


def history(folder: Path) -> Path:
    made = History(folder)
    start = {"LICENSE": LICENSE, "pyproject.toml": PYPROJECT, "pkg/a.py": None, "tests/test_a.py": None}
    made.commit("Start", {**start, "calc/__init__.py": SLOW, "tests/test_calc.py": TESTS})
    tested = TESTS.replace('kind(6, "b"), "some b"', 'kind(7, "b"), "some b"')
    made.commit(
        "Simplify how a kind is told (#2)\n\nThe same branches stood there once for each sort of thing.",
        {"calc/__init__.py": TIDY, "tests/test_calc.py": tested},
    )
    made.commit(
        "Speed up unique lists (#3)\n\nLooking each item up in a list is slow; a dictionary is not.",
        {
            "calc/__init__.py": FAST,
            "tests/test_calc.py": tested.replace("[2, 1, 2]), [2,", "[3, 1, 3]), [3,"),
        },
    )
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", runs_per_side=2, test_seconds=60, suite_seconds=300)


async def validated(mined: Mined, settings: Settings, backend: DockerBackend, work: Path) -> Done[Task]:
    family = SweFamily()
    context = Context(settings=settings, sandboxes=backend, run_id="routes", workdir=work)
    built = await family.build(mined, context)
    assert isinstance(built, Done), built
    composed = await family.compose(built.value, context)
    assert isinstance(composed, Done), composed
    for left in (2, 1, 0):  # measuring on a machine that others load is "unstable", and is tried again
        try:
            done = await family.validate(composed.value, context)
            break
        except SandboxError as error:
            if "unstable" not in str(error) or not left:
                raise
    assert isinstance(done, Done), done
    return done


@pytest.mark.docker
@pytest.mark.network
@pytest.mark.parametrize("kind", kinds.ROUTED)
async def test_changes_of_their_own_kind_become_tasks(
    kind: str, settings: Settings, docker: DockerBackend, tmp_path: Path
) -> None:
    options = SweOptions(source="git", repo=(history(tmp_path / "clone"),))
    found = {
        kinds.of(m.candidate)[0].kind: m for m in SweFamily().mine(str(options.repo[0]), options, settings)
    }
    done = await validated(found[kind], settings, docker, tmp_path / "work")
    task, bundle = done.value, settings.bundles / done.value.task_id
    assert (task.kind, task.fail_to_pass, task.new_tests) == (kind, (), ())
    rewards = {r.control: r.reward for r in done.records if isinstance(r, Validation)}
    assert rewards == {"gold": 1.0, "nop": 0.0}
    assert not [p for p in SweFamily().problems(bundle, settings) if p.severity == "error"]
    if kind == "refactor":
        asked = [target.sentence() for target in refactor.read(bundle).targets]
        assert all(sentence in task.instruction for sentence in asked)
        assert "complexity of `kind`" in task.instruction
    else:
        spec = performance.read(bundle)
        assert spec.suite_seconds == 300
        assert load(bundle).spec.suite_seconds == spec.grading_seconds
        assert any("test_unique_of_many" in name for name in spec.tests)
        assert "## Performance" in task.instruction
    assert len(task.pass_to_pass) == 3


def test_what_is_not_faster_says_whether_that_is_sure() -> None:
    spec = PerformanceSpec(schema=1, tests=("a",), args=("a",))

    def reason(bases: tuple[float, float], gold: float) -> str:
        block = {
            "base": [{"cpu": value, "wall": value} for value in bases], "gold": {"cpu": gold, "wall": gold},
        }  # fmt: skip
        return routes.not_faster(spec, Measured(blocks=(block,) * 6)).reason

    assert reason((1.0, 1.01), 1.0) == "not_faster"
    assert reason((1.0, 1.01), 0.98) == "not_faster"
    assert reason((1.0, 1.4), 1.0) == "unstable"
    assert (
        routes.not_faster(spec, Measured(unstable="the workload did not pass on base")).reason == "unstable"
    )
