"""Agents of others attempt a task in its container; a scripted model behind a real gateway, all else real."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from scripted_model import Raw, Say, Script, Use, by_turn, serving

from envs.agents.attempt import Budget, Ending
from envs.agents.blackbox import Recipe, ending_of, recipe
from envs.agents.door import Door
from envs.sandbox import ExecResult, Outcome
from pipelines.rl.tasks import WarehouseTasks
from pipelines.rollout import RolloutOptions, rollout
from training.chat import m2
from training.chat.atif import read_atif
from training.chat.messages import Message, ToolCall
from training.corpus.tokens import open_tokenizer
from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.engines import Piece
from training.forge.gateway.gateway import Gateway
from training.forge.gateway.recorder import MemoryRecorder
from training.forge.gateway.serve import running
from training.forge.gateway.server import Server
from training.forge.rl.domain import Unjudged
from warehouse.errors import FactoryError
from warehouse.records import Task, Trajectory
from warehouse.settings import Settings

MEND = "sed -i 's/a - b/a + b/' calc.py"
DONE = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"
# An agent of twenty lines: it does what the model says, until that says "stop".
AGENT = """
cat > /tmp/agent.py <<'END'
import json, os, subprocess, sys, urllib.request
said = [{"role": "user", "content": open(sys.argv[1]).read()}]
while True:
    body = json.dumps({"model": sys.argv[2], "messages": said}).encode()
    asked = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body,
                                   {"content-type": "application/json"})
    answer = json.load(urllib.request.urlopen(asked, timeout=60))["choices"][0]["message"]["content"]
    said.append({"role": "assistant", "content": answer})
    if answer == "stop":
        break
    done = subprocess.run(answer, shell=True, capture_output=True, text=True)
    if done.returncode > 100:
        sys.exit("I give up")
    said.append({"role": "user", "content": done.stdout + done.stderr})
END
/usr/bin/python3 /tmp/agent.py {instruction_file} {model}
"""


def attempts(
    made: tuple[Settings, Task], script: Script, **options: Any
) -> tuple[list[Trajectory], list[str], int]:
    settings, task = made
    broken: list[str] = []
    with serving(script, key=None) as endpoint:
        asked = settings.model_copy(update={"model_base_url": endpoint.url, "model_name": "m"})
        rows = asyncio.run(
            rollout(asked, [task], RolloutOptions(**options), lambda _, __, why: broken.append(why))
        )
        assert endpoint.refused == []
        return rows, [why for why in broken if why], len(endpoint.requests)


@pytest.mark.docker
@pytest.mark.network
def test_mini_swe_agent_as_published_solves_a_task(made: tuple[Settings, Task]) -> None:
    """Installed from the registry on top of the task's image, unmodified; the model calls its one tool."""
    script = by_turn(
        Use("bash", {"command": "cat calc.py; id -un; curl -m 2 http://1.1.1.1 || echo offline"}),
        Use("bash", {"command": MEND}),
        Use("bash", {"command": DONE}),
    )
    rows, broken, _ = attempts(made, script, agent="mini-swe-agent")
    assert broken == []
    row = rows[0]
    assert (row.agent, row.ending, row.verdict, row.reward, row.turns) == (
        "mini-swe-agent", "submitted", "scored", 1.0, 3,
    ), row.detail  # fmt: skip
    assert row.patch.count("diff --git") == 1
    assert "+    return a + b" in row.patch
    messages, _ = read_atif(json.loads(row.trajectory))
    assert "Sums are wrong." in messages[1].content
    assert [call.arguments["command"] for m in messages for call in m.calls][1:] == [MEND, DONE]
    said = next(message.content for message in messages if message.role == "tool")
    assert "offline" in said
    assert "agent" in said
    assert row.tokens_written == 60


@pytest.mark.docker
@pytest.mark.parametrize(
    ("script", "options", "ending", "reward", "turns"),
    [
        (by_turn(Say(MEND), Say("stop")), {}, "submitted", 1.0, 2),
        (by_turn(Say(MEND), Say("exit 101")), {}, "agent_failed", 1.0, 2),
        (by_turn(Say(MEND), Say("true")), {"budget": Budget(turns=3)}, "turns", 1.0, 3),
        (by_turn(Say("sleep 600 & sleep 600")), {"budget": Budget(minutes=0.1)}, "minutes", 0.0, 1),
        (by_turn(Say(MEND), Raw(401, "{}")), {}, "model_failed", None, 1),
        (by_turn(Say("stop")), {"agent_command": "echo no such thing; exit 3"}, "agent_failed", None, 0),
    ],
    ids=["solves", "fails", "turns", "minutes", "model", "never-asks"],
)  # fmt: skip
def test_however_an_agent_of_others_ends_its_trajectory_is_kept(
    made: tuple[Settings, Task], script: Script, options: dict[str, Any], ending: str, reward: float | None,
    turns: int,
) -> None:  # fmt: skip
    rows, broken, _ = attempts(made, script, **{"agent_command": AGENT, **options})
    assert broken == []
    row = rows[0]
    assert (row.ending, row.reward) == (ending, reward), row.detail
    assert row.turns == turns
    if ending == "agent_failed":
        assert row.detail.endswith("I give up" if turns else "no such thing")
    if row.turns:
        messages, _ = read_atif(json.loads(row.trajectory))
        assert sum(message.role == "assistant" for message in messages) == row.turns
    if ending == "submitted":
        again, _, asked = attempts(made, script, **{"agent_command": AGENT, **options})
        assert (again, asked) == (rows, 0)


ENDINGS: list[tuple[Outcome, int | None, str, int, Ending]] = [
    (Outcome.EXITED, 0, "", 5, Ending.SUBMITTED),
    (Outcome.EXITED, 1, "", 5, Ending.AGENT_FAILED),
    (Outcome.OOM, 137, "", 5, Ending.AGENT_FAILED),
    (Outcome.TIMEOUT, None, "engine_died", 5, Ending.MINUTES),
    (Outcome.EXITED, 0, "session_budget_exhausted", 9, Ending.TURNS),
    (Outcome.EXITED, 1, "session_budget_exhausted", 5, Ending.TOKENS),
    (Outcome.EXITED, 0, "context_length_exceeded", 5, Ending.CONTEXT_FULL),
    (Outcome.EXITED, 0, "engine_timeout", 5, Ending.MODEL_FAILED),
    (Outcome.EXITED, 0, "status 500", 0, Ending.MODEL_FAILED),
    (Outcome.EXITED, 0, "invalid_request", 5, Ending.SUBMITTED),
    (Outcome.EXITED, 2, "invalid_request", 5, Ending.AGENT_FAILED),
]


@pytest.mark.parametrize(("outcome", "code", "fault", "answered", "ending"), ENDINGS)
def test_what_the_session_saw_comes_before_an_exit_status(
    outcome: Outcome, code: int | None, fault: str, answered: int, ending: Ending
) -> None:
    ended = ExecResult(outcome=outcome, exit_code=code, stdout=b"", stderr=b"", seconds=1)
    assert ending_of(ended, Door("http://x", turns=9, answered=answered, fault=fault)) is ending


@pytest.mark.docker
def test_a_model_that_never_answers_leaves_no_record_of_an_agent_of_others(
    made: tuple[Settings, Task],
) -> None:
    rows, broken, _ = attempts(made, by_turn(Raw(404, "{}")), agent_command=AGENT)
    assert rows == []
    assert "The model gave no answer" in broken[0]


class Policy:
    """An engine whose model says the script's n-th answer to a conversation of n of its answers."""

    name, context = "engine scripted", 1 << 20

    def __init__(self, tokenizer: Any, *answers: Message) -> None:
        self.tokenizer, self.answers = tokenizer, answers

    async def close(self) -> None:
        return

    async def generate(
        self, prompt: Any, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> Any:
        text = self.tokenizer.decode(prompt.tolist())
        answer = self.answers[min(text.count("]~b]ai") - 1, len(self.answers) - 1)]
        written = m2.segments([Message(role="user", content="x"), answer])
        said = "".join(segment.text for segment in written if segment.message == 1)
        ids = self.tokenizer.encode(said.split("<think>\n", 1)[1].removesuffix("\n"))
        yield Piece(ids, [-0.5] * len(ids), (3, 3), Finish.STOP)


def bash(command: str) -> Message:
    return Message(
        role="assistant", reasoning="Well.", calls=(ToolCall(name="bash", arguments={"command": command}),)
    )


@pytest.mark.docker
@pytest.mark.network
async def test_mini_swe_agent_is_trained_on_through_the_gateway_that_owns_the_tokens(
    made: tuple[Settings, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it reaches its own session alone, whatever it knows of another's."""
    settings, _ = made
    monkeypatch.setenv("VERIFACTORY_HOME", str(settings.home))
    tokenizer, recorder = open_tokenizer("bytes"), MemoryRecorder()
    gateway = Gateway(Policy(tokenizer), tokenizer, recorder)
    other, mine = gateway.open("other"), gateway.open("mine")
    steal = " ; ".join(
        f"curl -s -m 20 --path-as-is -d '{{}}' http://gateway:8000{path}/v1/chat/completions"
        for path in (f"/s/{other.secret}", f"/../{other.secret}", f"/%2e%2e/{other.secret}")
    )
    gateway.engine = Policy(tokenizer, bash(f"{steal} ; echo tried"), bash(MEND), bash(DONE))
    tasks = WarehouseTasks(where="true", agent="mini-swe-agent", turns=6)
    await tasks.open()
    try:
        async with running(Server(gateway, "key")) as url:
            judged = await tasks.attempt("t1", f"{url}/s/{mine.secret}/v1", "a1")
            assert (judged.score, judged.evidence) == (1.0, "submitted, 3 turns, scored")
            assert other.asked == 0
            assert mine.asked == 3
            turns = [turn for name, turn in recorder.turns if name == "mine"]
            assert [turn.growth for turn in turns] == ["root", "extension", "extension"]
            assert "tried" in turns[1].ask.messages[-1].content
            assert all(turn.versions == (3, 3) and len(turn.response) == len(turn.logprobs) for turn in turns)
            gateway.engine = Policy(tokenizer, bash("exit 1"))
            stuck = WarehouseTasks(where="true", agent_command="exit 7", turns=6)
            await stuck.open()
            try:
                with pytest.raises(Unjudged, match="agent_failed"):
                    await stuck.attempt("t1", f"{url}/s/{mine.secret}/v1", "a2")
            finally:
                await stuck.close()
    finally:
        await tasks.close()


def test_recipes_are_read_and_what_is_wrong_with_them_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'command = "run {instruction_file} ${HOME} {unknown} -m {model}"\n[env]\nA = "{root_url}"\n'
    )
    found = recipe(str(path))
    assert found is not None
    assert found.line("a b", "/app") == "run /instruction.md ${HOME} {unknown} -m 'a b'"
    assert found.variables("m", "/app")["A"] == "http://gateway:8000"
    assert recipe("tools") is None
    assert isinstance(recipe("", "true"), Recipe)
    for text, said in (
        ("command = ", "not valid TOML"),
        ('name = "x"', "at command: Field required"),
        ('command = "x"\ninstall = "FROM x"', "has no FROM"),
        ('command = "x"\nimage = "y"', "at image"),
    ):
        path.write_text(text)
        with pytest.raises(FactoryError, match=said):
            recipe(str(path))
    with pytest.raises(FactoryError, match="cannot be read"):
        recipe(str(tmp_path / "none.toml"))
