"""The client of a model: what it sends, counts and refuses, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from scripted_model import KEY, Raw, Say, Script, Use, in_turn, serving

from envs.model import Model, ModelError, Tool, metered, probe
from warehouse.settings import Settings


class Verdict(BaseModel):
    """What the tests ask for."""

    agree: bool
    quote: str = Field(min_length=3)


def settings(tmp_path: Path, url: str, **more: Any) -> Settings:
    return Settings(
        home=tmp_path, model_base_url=url, model_name="scripted", model_api_key=KEY,
        **({"model_seconds": 60} | more),
    )  # fmt: skip


async def asked(tmp_path: Path, script: Script, **more: Any) -> tuple[Verdict | ModelError, int]:
    """The answer or the error, and how many requests it took."""
    with serving(script) as endpoint:
        async with Model(settings(tmp_path, endpoint.url, **more)) as model:
            try:
                found: Verdict | ModelError = await model.ask("You judge.", "Do they agree?", Verdict)
            except ModelError as error:
                found = error
        assert endpoint.refused == []
        return found, len(endpoint.requests)


def test_there_is_no_model_unless_one_is_configured(tmp_path: Path) -> None:
    assert Model.of(Settings(home=tmp_path)) is None
    with pytest.raises(ValueError, match="set model_name too"):
        Settings(home=tmp_path, model_base_url="http://localhost:1/v1")


@pytest.mark.parametrize("answer", [
    Use("answer", {"agree": True, "quote": "as told"}),
    Say('{"agree": true, "quote": "as told"}'),
    Say('I think so.\n```json\n{"agree": true, "quote": "as told"}\n```\nThat is all.'),
])  # fmt: skip
async def test_an_answer_that_fits(tmp_path: Path, answer: Any) -> None:
    assert await asked(tmp_path, in_turn(answer)) == (Verdict(agree=True, quote="as told"), 1)


async def test_a_wrong_answer_is_told_and_asked_again(tmp_path: Path) -> None:
    right = Use("answer", {"agree": True, "quote": "as told"})
    script = in_turn(Say("Let me think."), Use("answer", '{"agree": tru'), right)
    with serving(script) as endpoint:
        async with Model(settings(tmp_path, endpoint.url)) as model:
            assert (await model.ask("You judge.", "Do they agree?", Verdict)).quote == "as told"
        faults = [m["content"] for m in endpoint.requests[-1]["messages"] if m["role"] in ("tool", "user")]
    assert "Field required" in faults[1]
    assert "Invalid JSON" in faults[2]


async def test_wrong_answers_end(tmp_path: Path) -> None:
    for script in (in_turn(Say("Hello.")), in_turn(Use("answer", {"agree": 3})), in_turn(Use("other", {}))):
        found, requests = await asked(tmp_path, script)
        assert isinstance(found, ModelError)
        assert (found.reason, requests) == ("model_invalid_answer", 3)


@pytest.mark.parametrize(("raw", "reason", "requests", "words"), [
    (Raw(500, '{"error": {"message": "overloaded"}}'), "model_unavailable", 3, "overloaded"),
    (Raw(429, "{}"), "model_unavailable", 3, "429"),
    (Raw(200, "<html>Welcome</html>", "text/html"), "model_unavailable", 1, "no chat completion"),
    (Raw(200, '{"choices": []}'), "model_unavailable", 1, "no chat completion"),
    (Raw(200, '{"choices": [{"message": {"tool_calls": 7}}]}'), "model_unavailable", 1, "no chat completion"),
    (Raw(400, '{"error": {"message": "maximum context length is 4096"}}'), "model_context_full", 1, "4096"),
    (Raw(404, '{"error": {"message": "no such model"}}'), "model_unavailable", 1, "no such model"),
])  # fmt: skip
async def test_a_broken_server(tmp_path: Path, raw: Raw, reason: str, requests: int, words: str) -> None:
    found, made = await asked(tmp_path, in_turn(raw))
    assert isinstance(found, ModelError)
    assert (found.reason, made) == (reason, requests)
    assert words in str(found)


async def test_a_server_that_is_silent_or_gone(tmp_path: Path) -> None:
    found, _ = await asked(tmp_path, in_turn(Raw(200, "{}", seconds=1.5)), model_seconds=0.2)
    assert isinstance(found, ModelError)
    assert (found.reason, str(found)) == ("model_unavailable", "Request timed out.")
    with serving(in_turn(Say("never asked"))) as endpoint:
        gone = endpoint.url
    async with Model(settings(tmp_path, gone)) as model:
        with pytest.raises(ModelError, match="Connection error") as raised:
            await model.say([{"role": "user", "content": "?"}])
    assert raised.value.reason == "model_unavailable"


async def test_a_server_that_takes_the_limit_under_its_new_name(tmp_path: Path) -> None:
    with serving(in_turn(Say("Yes."))) as endpoint:
        answer = endpoint.answer

        def newer(request: dict[str, Any], key: str) -> Raw:
            if "max_tokens" in request:
                told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
                return Raw(400, json.dumps({"error": {"message": told}}))
            return answer(request | {"max_tokens": request["max_completion_tokens"]}, key)

        endpoint.answer = newer  # type: ignore[method-assign]
        async with Model(settings(tmp_path, endpoint.url)) as model:
            for _ in range(2):
                assert (await model.say([{"role": "user", "content": "?"}])).text == "Yes."


async def test_the_key_is_told_to_nobody(tmp_path: Path) -> None:
    secret = "sk-wrong-9876543210"
    with serving(in_turn(Say("never"))) as endpoint:
        wrong = settings(tmp_path, endpoint.url).model_copy(update={"model_api_key": None})
        wrong = Settings(**(wrong.model_dump() | {"model_api_key": secret}))
        async with Model(wrong) as model:
            with pytest.raises(ModelError) as raised:
                await model.say([{"role": "user", "content": "?"}])
    assert "Incorrect API key provided: Bearer ***" in str(raised.value)
    assert secret not in repr(raised.value) + repr(wrong) + str(wrong.model_dump_json())


async def test_tokens_and_cost_reach_every_meter(tmp_path: Path) -> None:
    uncounted = Raw(200, '{"choices": [{"message": {"role": "assistant", "content": "abcdefgh"}}]}')
    with serving(in_turn(Say("Yes."), uncounted)) as endpoint:
        prices = settings(tmp_path, endpoint.url, model_usd_read=2, model_usd_written=1_000_000)
        with metered() as outer:
            async with Model(prices) as model:
                with metered() as inner:
                    await model.say([{"role": "user", "content": "x" * 400}])
                first = inner.written, inner.read > 100
                await model.say([{"role": "user", "content": "x" * 400}])
    assert first == (20, True)
    assert (inner.calls, outer.calls, outer.written) == (1, 2, 22)
    assert outer.read > 2 * 100
    assert outer.cost_usd == pytest.approx(outer.written + outer.read * 2e-6)


async def test_thinking_goes_back_where_it_came_from(tmp_path: Path) -> None:
    message = {
        "role": "assistant", "content": None, "reasoning_content": "First I look.",
        "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}],
    }  # fmt: skip
    with serving(
        in_turn(Raw(200, json.dumps({"choices": [{"message": message}]})), Say("Done."))
    ) as endpoint:
        async with Model(settings(tmp_path, endpoint.url)) as model:
            said = [{"role": "user", "content": "?"}]
            reply = await model.say(said, [Tool("look", "Look.", Verdict)])
            said += [reply.message, {"role": "tool", "tool_call_id": reply.calls[0].id, "content": "seen"}]
            assert (await model.say(said)).text == "Done."
        again = endpoint.requests[-1]["messages"][1]
    assert again["reasoning_content"] == "First I look."
    assert json.loads(again["tool_calls"][0]["function"]["arguments"]) == {"at": 1}


async def test_a_probe_tells_models_that_call_tools(tmp_path: Path) -> None:
    for script, uses_tools in ((in_turn(Use("report", {"ready": True})), True), (in_turn(Say("OK")), False)):
        with serving(script) as endpoint:
            assert await probe(Model(settings(tmp_path, endpoint.url))) is uses_tools
