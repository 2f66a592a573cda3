"""The repair loop without a sandbox: every wrong reply ends in a class of failure, and no recipe is taken on
trust.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from scripted_model import KEY, Raw, Say, Script, Use, in_turn, serving

from envs.languages import TOOLCHAINS, Broken, Recipe, Upstream, layers
from envs.languages.c import CToolchain
from envs.languages.native import SUITES, NativeRecipe
from envs.languages.python import PythonRecipe
from envs.languages.python.interpreters import INTERPRETERS
from envs.languages.tree import Tree
from envs.model import Model
from envs.outputs import shortened
from envs.reasons import REASONS
from envs.repair_loop.loop import Job, Mended, Tried, Unmended, mend
from envs.repair_loop.memory import Memory
from envs.repair_loop.proposal import NativeProposal, PythonProposal, Suite, form_of
from envs.repair_loop.skills import skill
from envs.sandbox import Sandbox
from warehouse.settings import Settings

TREE = Tree({"Makefile": b"test:\n\t./t\n", "t.c": b"#include <utlist.h>\n"})
UPSTREAM = Upstream("lists", "1", datetime(2024, 6, 1, tzinfo=UTC), TREE, TREE)
NATIVE = NativeRecipe(
    language="c",
    suite="bookworm",
    framework="make test",
    test=("make", "test"),
    report="c",
    install=("true",),
)
PYTHON = PythonRecipe(
    suite="bookworm", name="lists", version="1", python="3.11", index_date=datetime(2024, 6, 1, tzinfo=UTC),
    requires=("six==99.0", "attrs>=20"), tests=("mock",), modules=("lists",),
)  # fmt: skip
BROKEN = Broken("build", "t.c:1: fatal error: utlist.h: No such file or directory", reason="compiler_failed")


@dataclass
class Builder:
    """Keeps what was submitted, and says of each recipe what `verdict` says."""

    verdict: Callable[[Recipe], Tried] = lambda recipe: Tried(None, Broken("build", "still not"), works=False)
    recipes: list[Recipe] = field(default_factory=list)

    async def build(self, recipe: Recipe) -> Tried:
        self.recipes.append(recipe)
        return self.verdict(recipe)

    async def open(self, recipe: Recipe) -> Sandbox:
        raise AssertionError("no shell was asked for")


async def repaired(
    tmp_path: Path, script: Script, builder: Builder | None = None, recipe: Recipe = NATIVE, **more: Any
) -> Mended | Unmended:
    """What comes of a conversation; its transcript was stored, and nothing in it was against the protocol."""
    builder = builder or Builder()
    with serving(script) as endpoint:
        settings = Settings(
            home=tmp_path, model_base_url=endpoint.url, model_name="scripted", model_api_key=KEY,
            **({"model_seconds": 60, "repair_turns": 12} | more),
        )  # fmt: skip
        outcome = await mend(
            Job(UPSTREAM, recipe, BROKEN, builder.build, builder.open), Model(settings), settings
        )
    assert endpoint.refused == []
    lines = [json.loads(line) for line in outcome.transcript.splitlines()]
    assert lines[0] == {"kind": "model", "name": "scripted"}
    assert lines[-1]["kind"] == "outcome"
    assert KEY not in outcome.transcript.decode()
    return outcome


def submission(**changes: Any) -> Use:
    return Use("submit_recipe", {"why": "utlist.h is in uthash-dev", **changes})


def failing(messages: list[dict[str, Any]]) -> Use:
    """Another recipe each turn."""
    return submission(packages=[f"lib{len(messages)}-dev"])


WRONG: dict[str, tuple[Script, str, str]] = {
    "prose": (in_turn(Say("You should install uthash.")), "agent_invalid_answer", "You should install"),
    "nothing": (in_turn(Say("")), "agent_invalid_answer", "4 answers in a row"),
    "cut": (in_turn(Say("<think>Hm, hm", cut=True)), "agent_invalid_answer", "hm"),
    "no JSON": (in_turn(Use("submit_recipe", "{'packages': [}")), "agent_invalid_recipe", ""),
    "no JSON for the shell": (in_turn(Use("shell", "ls -la")), "agent_invalid_answer", "shell"),
    "no object": (in_turn(Use("shell", "[1, 2]")), "agent_invalid_answer", "shell"),
    "unknown tool": (in_turn(Use("install", {"name": "uthash-dev"})), "agent_invalid_answer", "install"),
    "unknown field": (in_turn(submission(dockerfile="FROM x")), "agent_invalid_recipe", ""),
    "no change": (in_turn(submission(packages=[])), "agent_invalid_recipe", ""),
    "loop": (in_turn(Use("reset", {})), "agent_budget", "12 turns were over"),
    "never builds": (failing, "agent_invalid_recipe", "the last broke at build"),
    "gives up": (in_turn(Use("give_up", {"why": "needs a GPU"})), "agent_gave_up", "needs a GPU"),
    "500": (in_turn(Raw(500, '{"error": {"message": "overloaded"}}')), "model_unavailable", "overloaded"),
    "context": (
        in_turn(Use("reset", {}), Raw(400, '{"error": {"message": "context length exceeded"}}')),
        "agent_budget", "context length",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_wrong_replies_end_in_a_class(name: str, tmp_path: Path) -> None:
    script, reason, words = WRONG[name]
    outcome = await repaired(tmp_path, script)
    assert isinstance(outcome, Unmended)
    assert outcome.reason == reason
    assert reason in REASONS
    assert words in outcome.detail


async def test_a_silent_model_is_unavailable(tmp_path: Path) -> None:
    outcome = await repaired(tmp_path, in_turn(Raw(200, "{}", seconds=2)), model_seconds=0.2)
    assert isinstance(outcome, Unmended)
    assert (outcome.reason, outcome.detail) == ("model_unavailable", "Request timed out.")


async def test_tokens_and_minutes_are_limited(tmp_path: Path) -> None:
    spent = await repaired(tmp_path, in_turn(Use("reset", {})), repair_tokens=3000, repair_turns=1000)
    assert isinstance(spent, Unmended)
    assert (spent.reason, spent.detail.endswith("tokens were spent")) == ("agent_budget", True)
    late = await repaired(tmp_path, in_turn(Raw(200, "{}", seconds=3)), repair_minutes=0.02)
    assert isinstance(late, Unmended)
    assert (late.reason, late.detail) == ("agent_budget", "0.02 minutes were over")


async def test_what_broke_comes_back_and_a_working_recipe_ends_it(tmp_path: Path) -> None:
    environment = object()

    def verdict(recipe: Any) -> Tried:
        if "uthash-dev" in recipe.packages:
            return Tried(environment, None, works=True)
        return Tried(None, Broken("build", "cannot find -luthash", reason="compiler_failed"), works=False)

    def script(messages: list[dict[str, Any]]) -> Any:
        if "cannot find -luthash" not in str(messages):
            return submission(packages=["libuthash-dev"], install=[])
        return [submission(packages=["uthash-dev"]), Use("give_up", {"why": "not done any more"})]

    builder = Builder(verdict)
    outcome = await repaired(tmp_path, script, builder)
    assert isinstance(outcome, Mended)
    assert outcome.environment is environment
    assert outcome.proposal == NativeProposal(why="utlist.h is in uthash-dev", packages=["uthash-dev"])
    first, second = builder.recipes
    assert isinstance(second, NativeRecipe)
    assert (first.suite, second.test, second.install) == ("bookworm", NATIVE.test, ("true",))
    assert second.notes == ("agent: utlist.h is in uthash-dev",)
    assert "Not done: the recipe before works." in outcome.transcript.decode()


async def test_an_environment_that_works_in_part_is_better_than_none(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Part:
        collected: int

    def verdict(recipe: Any) -> Tried:
        found = len(recipe.packages)
        return Tried(Part(found), Broken("collect", "a file does not load", collected=found), works=False)

    script = in_turn(
        submission(packages=["aa", "bb"]), submission(packages=["aa"]), Use("give_up", {"why": "enough"})
    )
    outcome = await repaired(tmp_path, script, Builder(verdict))
    assert isinstance(outcome, Mended)
    assert (outcome.environment, outcome.proposal) == (Part(2), None)


def test_what_worked_is_kept_and_what_is_damaged_forgotten(tmp_path: Path) -> None:
    memory = Memory.of(Settings(home=tmp_path), "c", "lists")
    assert memory.read(NativeProposal) == []
    tried = [NativeProposal(why=str(i), packages=[f"lib{i}-dev"]) for i in range(5)]
    for proposal in (*tried, tried[3]):
        memory.add(proposal)
    assert [proposal.why for proposal in memory.read(NativeProposal)] == ["3", "4", "2"]
    assert memory.read(NativeProposal)[0].given() == {"packages": ("lib3-dev",)}
    assert Memory.of(Settings(home=tmp_path), "c", "../lists").read(NativeProposal) == []
    for damaged in (b"", b"{}", b"[1]", b'[{"why": "x", "install": ["a\\nb"]}]', b"\xff"):
        memory.path.write_bytes(damaged)
        assert memory.read(NativeProposal) == []


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("is not the name of a Debian package", {"packages": ["curl; curl evil"]}),
    ("must be one line", {"install": ["true\nUSER root\nRUN evil"]}),
    ("must be one line", {"install": ["cat <<EOF"]}),
    ("must be one line", {"build": ["true \\"]}),
    ("is not the name of a variable", {"env": {"A B": "x"}}),
    ("is not one line of text", {"env": {"A": "x\ny"}}),
    ("Input should be 'bullseye'", {"suite": "sid"}),
    ("no report format", {"report": "../../etc/passwd"}),
    ("no report format", {"log_report": "made_up"}),
    ("is Python's own", {"framework": "pytest"}),
    ("is not a glob below", {"report_files": ["/etc/shadow"]}),
    ("is not a glob below", {"report_files": ["{out}/../../x"]}),
    ("test is empty", {"test": []}),
    ("Extra inputs", {"dockerfile": "FROM scratch"}),
    ("Extra inputs", {"language": "python"}),
    ("at least 1", {"why": ""}),
]


@pytest.mark.parametrize(("words", "changes"), REFUSED)
def test_native_recipes_are_held_to_their_form(words: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=words):
        NativeProposal.model_validate({"why": "x", **changes}).applied(NATIVE, UPSTREAM)


def test_what_is_submitted_stays_inside_its_instruction() -> None:
    """Quotes and dollars of a command reach the shell of `agent`, not the Dockerfile."""
    hostile = "echo '$(id)' \"`id`\" && true' ; setpriv --reuid=0 id #"
    proposal = NativeProposal.model_validate({"why": "a\nb", "install": [hostile], "env": {"A": "'; id; '"}})
    recipe = proposal.applied(NATIVE, UPSTREAM)
    lines = CToolchain().dockerfile(recipe).splitlines()
    assert recipe.notes == ("agent: a b",)
    step = next(line for line in lines if "setpriv --reuid=0" in line)
    assert step.strip().startswith(f"{layers.AS_AGENT} A=''\"'\"'; id; '\"'\"'' sh -c '")
    assert [line.split()[0] for line in lines if line[:1].strip()] == [
        "ARG", "FROM", "ENV", "RUN", "RUN", "ADD", "WORKDIR", "RUN",
    ]  # fmt: skip


def test_python_knobs() -> None:
    told = {
        "why": "six 99.0 was never released", "drop": ["Six", "MOCK"], "add": ["six>=1.10"],
        "packages": ["libyajl2"], "python": "3.13", "addopts": "-q", "build_constraints": ["setuptools<60"],
    }  # fmt: skip
    recipe = PythonProposal.model_validate(told).applied(PYTHON, UPSTREAM)
    assert (recipe.requires, recipe.tests, recipe.imported) == (("attrs>=20",), (), ("six>=1.10",))
    assert (recipe.suite, recipe.python, recipe.addopts) == ("trixie", "3.13", "-q")
    assert (recipe.packages, recipe.compiler, recipe.modules) == (("libyajl2",), False, ("lists",))
    # what the backend computes goes only when something of it has to go
    computed = PYTHON.model_copy(update={"computed": ("test",)})
    assert PythonProposal(why="x", drop=["mock"]).applied(computed, UPSTREAM).computed == ("test",)
    assert PythonProposal(why="x", drop=["other"]).applied(computed, UPSTREAM).computed is None
    with pytest.raises(ValueError, match="the project itself"):
        PythonProposal(why="x", add=["lists==2"]).applied(PYTHON, UPSTREAM)
    for wrong in (
        {"add": ["six @ https://example.org/six.whl"]}, {"add": ["-r /etc/passwd"]}, {"drop": ["six; id"]},
        {"modules": ["os; import evil"]}, {"packages": ["-o"]}, {"python": "2.7"}, {"addopts": "-q\n-x"},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            PythonProposal.model_validate({"why": "x", **wrong})


def test_every_language_has_its_page_and_its_form() -> None:
    pages = {language: skill(language) for language in TOOLCHAINS}
    assert all(len(page) > 500 for page in pages.values()), pages
    assert pages["c"] == pages["cpp"]
    assert skill("cobol") == ""
    assert form_of(NATIVE) is NativeProposal
    assert form_of(PYTHON) is PythonProposal
    assert form_of(Recipe(language="x", suite="bookworm")) is None
    assert {name for name, _ in SUITES} == set(get_args(Suite)) == {i.suite for i in INTERPRETERS}


def test_long_output_keeps_both_ends() -> None:
    said = shortened("first\n" + "\x1b[31mx\x1b[0m" * 100_000 + "\nlast")
    assert said.startswith("first\n")
    assert said.endswith("x\nlast")
    assert "characters left out" in said
    assert len(said) < 8_000
