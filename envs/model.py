"""A language model behind any OpenAI-compatible endpoint: asked, counted, and never believed.

`Model.of(settings)` is None where no endpoint is configured; whoever needs a model then leaves that part out
and says so. The official client does transport and retries. What comes back is read as hostile input: an
answer that is no chat completion, or that does not fit what was asked for, is asked for again, a bounded
number of times, and then ends in a `ModelError` with a reason code. Tokens and cost of every call go to each
`metered` block that it happens in, which is how they reach the ledger. The key stays in the client: it is in
no message, error or record.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from warehouse.settings import Settings

if TYPE_CHECKING:  # importing it takes most of a second, which no command without a model should pay
    from openai import AsyncOpenAI

RETRIES = 2  # by the client, with its own pauses
TRIES = 3  # of one question, until the answer fits
SLACK_SECONDS = 30.0
CHARACTERS_PER_TOKEN = 4  # where an endpoint counts nothing
ERROR_CHARACTERS = 400

Message = dict[str, Any]
A = TypeVar("A", bound=BaseModel)

# Fields of an answer that its endpoint expects to see again: the thinking belongs to the turn.
_THINKING = ("reasoning_content", "reasoning", "reasoning_details")
_CONTEXT = re.compile(
    r"context.{0,20}(?:length|window)|maximum.{0,20}tokens|too many tokens|prompt is too long", re.I
)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.S)


class ModelError(Exception):
    """A call of the model came to nothing. `reason` is model_unavailable | model_context_full |
    model_invalid_answer.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Usage:
    """What calls of models took."""

    calls: int = 0
    read: int = 0
    """Tokens of prompts."""
    written: int = 0
    """Tokens of answers."""
    cost_usd: float = 0.0

    @property
    def tokens(self) -> int:
        return self.read + self.written


_METERS: ContextVar[tuple[Usage, ...]] = ContextVar("meters", default=())


@contextmanager
def metered() -> Generator[Usage]:
    """Counts every call that is made within, also by tasks that are started within; blocks may be nested."""
    usage = Usage()
    token = _METERS.set((*_METERS.get(), usage))
    try:
        yield usage
    finally:
        _METERS.reset(token)


@dataclass(frozen=True)
class Tool:
    """Something the model may ask for; `arguments` says what it takes."""

    name: str
    description: str
    arguments: type[BaseModel]

    def schema(self) -> dict[str, Any]:
        parameters = self.arguments.model_json_schema()
        parameters.pop("title", None)
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Call:
    """A tool that the model asks for; `arguments` is its own text, usually JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """One answer. `message` is what goes into the conversation for it."""

    text: str
    calls: tuple[Call, ...]
    message: Message
    cut: bool = False
    """It ended at the limit of tokens."""
    tokens: int = 0


class _Function(BaseModel):
    name: str = ""
    arguments: str = ""

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return json.dumps(value) if isinstance(value, dict) else value or ""


class _Call(BaseModel):
    id: str | None = None
    function: _Function


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow")

    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Counts(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    """As much of a chat completion as is needed; endpoints differ in the rest."""

    choices: list[_Choice]
    usage: _Counts | None = None


@dataclass
class Model:
    """One model at one endpoint; `async with` opens its connections."""

    settings: Settings
    _client: AsyncOpenAI | None = None
    _limit: str = "max_tokens"

    @classmethod
    def of(cls, settings: Settings) -> Model | None:
        """The configured model; None where there is none."""
        return cls(settings) if settings.model_base_url else None

    @property
    def name(self) -> str:
        return self.settings.model_name

    async def __aenter__(self) -> Model:
        from openai import AsyncOpenAI

        key = self.settings.model_api_key
        self._client = AsyncOpenAI(
            base_url=self.settings.model_base_url,
            api_key=key.get_secret_value() if key else "none",
            timeout=self.settings.model_seconds,
            max_retries=RETRIES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._client is not None
        await self._client.close()
        self._client = None

    def redacted(self, text: str) -> str:
        """Without the key, should an endpoint have quoted it."""
        key = self.settings.model_api_key
        return text.replace(key.get_secret_value(), "***") if key and key.get_secret_value() else text

    async def say(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Reply:
        """The model's next turn. Raises ModelError."""
        import openai

        seconds = self.settings.model_seconds * (RETRIES + 1) + SLACK_SECONDS
        try:
            async with asyncio.timeout(seconds):
                try:
                    answer = await self._create(messages, tools)
                except openai.BadRequestError as error:
                    # Newer models of one vendor take the limit under this name only.
                    if self._limit != "max_tokens" or "max_completion_tokens" not in str(error):
                        raise
                    self._limit = "max_completion_tokens"
                    answer = await self._create(messages, tools)
        except openai.BadRequestError as error:
            reason = "model_context_full" if _CONTEXT.search(str(error)) else "model_unavailable"
            raise ModelError(reason, self._told(error)) from error
        except openai.OpenAIError as error:
            raise ModelError("model_unavailable", self._told(error)) from error
        except TimeoutError as error:
            raise ModelError("model_unavailable", f"no answer within {seconds:.0f} s") from error
        return self._read(answer, messages)

    async def _create(self, messages: Sequence[Message], tools: Sequence[Tool]) -> object:
        assert self._client is not None, "a model is used within `async with`"
        more: dict[str, Any] = {self._limit: self.settings.model_tokens}
        if tools:
            more["tools"] = [tool.schema() for tool in tools]
        create: Any = self._client.chat.completions.create  # typed for its vendor's own models
        return await create(model=self.name, messages=list(messages), **more)

    def _told(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return self.redacted(text)[:ERROR_CHARACTERS]

    def _read(self, answer: Any, messages: Sequence[Message]) -> Reply:
        """An answer as a turn; counted before it is looked at."""
        try:
            completion = _Completion.model_validate(answer.model_dump(warnings=False))
            choice = completion.choices[0]
        except (AttributeError, IndexError, ValidationError) as error:
            raise ModelError(
                "model_unavailable",
                "the endpoint's answer is no chat completion: see that its address ends as its "
                "documentation says, often in /v1",
            ) from error  # fmt: skip
        said = choice.message
        calls = tuple(
            Call(call.id or f"call_{len(messages)}_{i}", call.function.name, call.function.arguments)
            for i, call in enumerate(said.tool_calls or ())
        )
        text = said.content or ""
        tokens = self._count(completion.usage, messages, text, calls)
        thinking = {key: value for key in _THINKING if (value := (said.model_extra or {}).get(key))}
        return Reply(text, calls, _turn(text, calls) | thinking, choice.finish_reason == "length", tokens)

    def _count(
        self, told: _Counts | None, messages: Sequence[Message], text: str, calls: tuple[Call, ...]
    ) -> int:
        if told is None:
            size = len(text) + sum(len(call.arguments) for call in calls)
            told = _Counts(
                prompt_tokens=len(json.dumps(list(messages))) // CHARACTERS_PER_TOKEN,
                completion_tokens=size // CHARACTERS_PER_TOKEN,
            )
        prices = self.settings.model_usd_read, self.settings.model_usd_written
        for usage in _METERS.get():
            usage.calls += 1
            usage.read += told.prompt_tokens
            usage.written += told.completion_tokens
            usage.cost_usd += (told.prompt_tokens * prices[0] + told.completion_tokens * prices[1]) / 1e6
        return told.prompt_tokens + told.completion_tokens

    async def ask(
        self, system: str, question: str, answer: type[A], *, check: Callable[[A], str] = lambda _: ""
    ) -> A:
        """An answer of the form asked for, in which `check` finds no fault. Raises ModelError."""
        tool = Tool("answer", "Give the answer.", answer)
        messages: list[Message] = [
            {"role": "system", "content": f"{system}\n\nAnswer by calling the tool `answer`."},
            {"role": "user", "content": question},
        ]
        fault = ""
        for _ in range(TRIES):
            reply = await self.say(messages, [tool])
            messages.append(reply.message)
            call = next((c for c in reply.calls if c.name == tool.name), None)
            found, fault = parsed(call.arguments if call else _json_in(reply.text), answer)
            if found is not None:
                fault = check(found)
                if not fault:
                    return found
            messages += _refusal(reply, f"{fault} Answer again, by calling the tool `answer`.")
        raise ModelError(
            "model_invalid_answer", f"after {TRIES} tries: {self.redacted(fault)[:ERROR_CHARACTERS]}"
        )


class _Ready(BaseModel):
    """What `probe` asks for."""

    ready: bool


async def probe(model: Model) -> bool:
    """Whether the model, which answers, calls a tool when it is told to. Raises ModelError."""
    said = [{"role": "user", "content": "Call the tool `report` with ready set to true."}]
    async with model:
        reply = await model.say(said, [Tool("report", "Say that you are ready.", _Ready)])
    return any(call.name == "report" for call in reply.calls)


def parsed(arguments: str, form: type[A]) -> tuple[A | None, str]:
    """Arguments of a call in their form; or what is wrong with them, for the model."""
    try:
        return form.model_validate_json(arguments or "{}"), ""
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()[:5]
        )
        return None, f"That does not fit: {told}."


def tool_message(call: Call, text: str) -> Message:
    """What a tool answered."""
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def _refusal(reply: Reply, text: str) -> list[Message]:
    """What is wrong, as the conversation's next messages: every call has to have its answer."""
    if reply.calls:
        return [tool_message(call, text) for call in reply.calls]
    return [{"role": "user", "content": text}]


def _json_in(text: str) -> str:
    """The JSON of an answer in prose, for models that do not call tools."""
    fenced = _FENCED.findall(text)
    return fenced[-1] if fenced else text[text.find("{") : text.rfind("}") + 1]


def _turn(text: str, calls: tuple[Call, ...]) -> Message:
    """The answer as it is sent back. Servers parse the arguments of earlier calls, so those are JSON here,
    whatever they were.
    """
    message: Message = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": _object(call.arguments)},
            }
            for call in calls
        ]  # fmt: skip
    return message


def _object(arguments: str) -> str:
    try:
        return arguments if isinstance(json.loads(arguments), Mapping) else "{}"
    except ValueError:
        return "{}"
