"""Agents attempt a task in its container; a scripted model, everything else real."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted_model import KEY, Raw, Say, Script, Use, by_turn, in_turn, serving

from envs.agents.attempt import Budget
from pipelines.rollout import RolloutOptions, rollout
from training.chat.atif import read_atif
from warehouse.errors import FactoryError
from warehouse.query import Reader
from warehouse.records import Task, Trajectory
from warehouse.settings import Settings

pytestmark = pytest.mark.docker

ADD = tuple(f"tests/test_add.py::test_add{name}" for name in ("[one two]", "[three::four]", "_zero"))
TOO_LONG = Raw(400, '{"error": {"message": "context length exceeded"}}')
MEND = "sed -i 's/a - b/a + b/' calc.py"


def attempts(
    made: tuple[Settings, Task], script: Script, **options: Any
) -> tuple[list[Trajectory], list[str], int]:
    """Trajectories, what could not be made, and how often the model was asked."""
    settings, task = made
    broken: list[str] = []
    with serving(script) as endpoint:
        asked = settings.model_copy(
            update={"model_base_url": endpoint.url, "model_name": "m", "model_api_key": secret()}
        )
        rows = asyncio.run(
            rollout(asked, [task], RolloutOptions(**options), lambda _, __, why: broken.append(why))
        )
        assert endpoint.refused == []
        return rows, [why for why in broken if why], len(endpoint.requests)


def secret() -> Any:
    return Settings(model_api_key=KEY).model_api_key


def planner_or_worker(messages: list[dict[str, Any]]) -> Any:
    if "plans a change" in messages[0]["content"]:
        return by_turn(Use("bash", {"command": "cat calc.py"}), Use("plan", {"plan": "Add."}))(messages)
    assert "Add." in messages[2]["content"]
    return by_turn([Use("bash", {"command": MEND}), Use("submit", {})])(messages)


SOLVERS: dict[str, Script] = {
    "tools": by_turn(
        Use("bash", {"command": "python -m pytest -q; ls; id -un; curl -m 2 http://1.1.1.1 || echo offline"}),
        Use("edit", {"path": "calc.py", "old": "a - b", "new": "a + b"}),
        Use("submit", {}),
    ),
    "shell": by_turn(
        Say("First.\n```bash\ncat calc.py\n```"), Say(f"```bash\n{MEND}\n```"), Say("```bash\nsubmit\n```")
    ),
    "plan": planner_or_worker,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_each_scaffold_is_paid_for_what_it_leaves(made: tuple[Settings, Task], name: str) -> None:
    rows, broken, asked = attempts(made, SOLVERS[name], agent=name, samples=2)
    assert broken == []
    assert [(row.ending, row.verdict, row.reward, row.turns) for row in rows] == [
        ("submitted", "scored", 1.0, 3)
    ] * 2
    assert asked == 6
    assert rows[0].patch.count("diff --git") == 1  # the caches that its run of the tests made are not in it
    assert "+    return a + b" in rows[0].patch
    messages, _ = read_atif(json.loads(rows[0].trajectory))
    assert messages[1].content == "Sums are wrong.\n"
    assert sum(message.role == "assistant" for message in messages) == 3
    # nothing is made twice; one sample more is one attempt more
    again, _, asked = attempts(made, SOLVERS[name], agent=name, samples=3)
    assert asked == 3
    assert again[:2] == rows
    query = "SELECT attempts, solved, difficulty FROM attempts WHERE task_id = 't1'"
    assert Reader(made[0]).sql(query).rows == [(3, 3, 0.0)]
    if name == "tools":
        said = next(message.content for message in messages if message.role == "tool")
        assert "agent" in said.split()
        assert "offline" in said


def test_everything_an_agent_may_leave_reaches_the_grader(made: tuple[Settings, Task]) -> None:
    work = (
        f"{MEND} && printf 'a\\0b' > data.bin && ln -s calc.py also.py && rm -r tests && "
        "printf '#!/bin/sh\\n' > run.sh && chmod +x run.sh && git add -A && git -c user.name=a "
        "-c user.email=a@b commit -qm done"
    )
    rows, _, _ = attempts(made, by_turn([Use("bash", {"command": work}), Use("submit", {})]))
    assert (rows[0].verdict, rows[0].reward) == ("scored", 1.0)
    for line in (
        "GIT binary patch",
        "new file mode 120000",
        "new file mode 100755",
        "deleted file mode 100644",
    ):
        assert line in rows[0].patch
    assert ".git/" not in rows[0].patch


def test_doing_nothing_is_worth_nothing(made: tuple[Settings, Task]) -> None:
    rows, _, _ = attempts(made, by_turn(Use("submit", {})))
    assert (rows[0].reward, rows[0].patch, rows[0].ending) == (0.0, "", "submitted")


@pytest.mark.parametrize(
    ("script", "options", "ending", "reward"),
    [
        (by_turn(Use("bash", {"command": MEND})), {"budget": Budget(turns=3)}, "turns", 1.0),
        (by_turn(Use("bash", {"command": MEND})), {"budget": Budget(tokens=300)}, "tokens", 1.0),
        (by_turn(Use("bash", {"command": "sleep 600"})), {"budget": Budget(minutes=0.1)}, "minutes", 0.0),
        (by_turn(Say("I think …")), {}, "wrong_answers", 0.0),
        (by_turn(Use("bash", "{not json"), Use("no_such_tool", {})), {}, "wrong_answers", 0.0),
        (by_turn(Say("no block")), {"agent": "shell"}, "wrong_answers", 0.0),
        (
            by_turn(Use("bash", {"command": MEND}), TOO_LONG),
            {}, "context_full", 1.0,
        ),
        (by_turn(Use("bash", {"command": MEND}), Raw(401, "{}")), {}, "model_failed", None),
    ],
    ids=["turns", "tokens", "minutes", "prose", "malformed", "no-block", "context", "model"],
)  # fmt: skip
def test_however_it_ends_it_says_so(
    made: tuple[Settings, Task], script: Script, options: dict[str, Any], ending: str, reward: float | None
) -> None:
    rows, broken, _ = attempts(made, script, **options)
    assert broken == []
    assert (rows[0].ending, rows[0].reward) == (ending, reward)


def test_what_cannot_be_taken_is_worth_nothing_and_said(made: tuple[Settings, Task]) -> None:
    rows, _, _ = attempts(made, by_turn([Use("bash", {"command": "mkfifo pipe"}), Use("submit", {})]))
    assert (rows[0].verdict, rows[0].reward) == ("", 0.0)
    assert "neither file nor link" in rows[0].reason


def test_a_model_that_never_answers_leaves_no_record(made: tuple[Settings, Task]) -> None:
    rows, broken, _ = attempts(made, in_turn(Raw(404, "{}")))
    assert rows == []
    assert "The model gave no answer" in broken[0]


def test_bad_input_is_one_sentence(made: tuple[Settings, Task]) -> None:
    settings, task = made
    for options, said in (
        ({}, "A rollout needs a model"),
        ({"agent": "nobody"}, "no agent called 'nobody'"),
        ({"context": "none"}, "no context manager 'none'"),
    ):
        asked = settings if not options else settings.model_copy(
            update={"model_base_url": "http://localhost:9", "model_name": "m"}
        )  # fmt: skip
        with pytest.raises(FactoryError, match=said):
            asyncio.run(rollout(asked, [task], RolloutOptions(**options), lambda *_: None))
