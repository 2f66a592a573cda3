"""vLLM's server: any that speaks its `/v1/completions` with token ids, or one for tokens only.

The prompt goes as token ids and the response comes as token ids (`return_token_ids`), so that nobody's
tokenizer has a say. vLLM echoes the prompt's ids: that they are the ones that were sent is checked each time.
Start the server with `--generation-config vllm --logprobs-mode processed_logprobs`: log-probabilities are
then of the distribution that tokens are drawn from, temperature, top_p and top_k included.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import aiohttp
import numpy as np
import orjson
from numpy.typing import NDArray

from training.forge.gateway.ask import Finish, Sampling
from training.forge.gateway.engines import Piece
from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.tree import Ids
from warehouse.errors import FactoryError

CONNECT_SECONDS = 10.0
LONGEST_EVENT = 1 << 26  # bytes: routes of a long context
ERROR_CHARACTERS = 400
_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}


async def served(url: str, key: str, seconds: float) -> tuple[str, int]:
    """The model that a server serves, and its context length. Raises FactoryError."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds), headers=headers) as client,
            client.get(f"{url}/v1/models") as response,
        ):
            found = (await response.json())["data"][0]
            return str(found["id"]), int(found["max_model_len"])
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {seconds:g} s"
        raise FactoryError(
            f"The engine {url} cannot be reached: {why}; start it, or name another."
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise FactoryError(
            f"The engine {url} does not say which model it serves and its max_model_len; "
            "start vLLM's OpenAI-compatible server."
        ) from error


@dataclass
class VllmEngine:
    """One server. `version` says which weights it has now: whoever updates them knows."""

    url: str
    """Its address, without /v1."""
    model: str
    context: int
    version: Callable[[], int] = lambda: 0
    key: str = ""
    _client: aiohttp.ClientSession | None = field(default=None, repr=False)

    path: ClassVar[str] = "/v1/completions"

    @property
    def name(self) -> str:
        return f"engine {self.url}"

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            headers = {"content-type": "application/json"}
            if self.key:
                headers["authorization"] = f"Bearer {self.key}"
            # Each wait for a token has its deadline in the gateway, where all engines' are.
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                headers=headers,
                read_bufsize=1 << 18,
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def generate(
        self, prompt: Ids, sampling: Sampling, *, end: int, stream: bool, routes_from: int
    ) -> AsyncGenerator[Piece]:
        asked = self._body(prompt, sampling, end, stream=stream, routes_from=routes_from)
        body = orjson.dumps(asked, option=orjson.OPT_SERIALIZE_NUMPY)
        begun, before = False, self.version()
        try:
            async with self._session().post(f"{self.url}{self.path}", data=body) as response:
                if response.status != 200:
                    raise self._refused(response.status, await response.text(errors="replace"))
                begun = True
                if not stream:
                    yield self._piece(self._json(await response.read()), prompt, before)
                    return
                async with aclosing(self._events(response)) as events:
                    async for event in events:
                        if event.get("choices"):  # the last may have nothing but the usage
                            yield self._piece(event, prompt, before)
                            before = self.version()
        except (aiohttp.ClientError, OSError) as error:
            kind = Kind.ENGINE_DIED if begun else Kind.ENGINE_UNREACHABLE
            what = "broke off its answer" if begun else "cannot be reached"
            why = str(error) or type(error).__name__
            raise Fault(kind, f"The {self.name} {what}: {why}.", self.name) from error

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any]]:
        """Server-sent events up to `[DONE]`. A stream that ends without it broke off."""
        held = b""
        async for chunk in response.content.iter_any():
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                yield self._json(data)
            if len(held) > LONGEST_EVENT:
                raise self._invalid("an event is too long")
        raise Fault(Kind.ENGINE_DIED, f"The {self.name} broke off its answer.", self.name)

    def _logprobs(self, choice: Mapping[str, Any]) -> list[float | None]:
        return (choice.get("logprobs") or {}).get("token_logprobs") or []

    def _json(self, data: bytes) -> dict[str, Any]:
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            try:
                found = json.loads(data)  # takes NaN, which is a fault of another kind
            except ValueError as error:
                raise self._invalid("it is not JSON") from error
        if not isinstance(found, dict):
            raise self._invalid("it is not an object")
        if "error" in found:
            told = str(found["error"])[:ERROR_CHARACTERS]
            raise Fault(Kind.ENGINE_DIED, f"The {self.name} failed while it answered: {told}", self.name)
        return found

    def _piece(self, found: Mapping[str, Any], prompt: Ids, before: int) -> Piece:
        try:
            choice = found["choices"][0]
            ids = choice["token_ids"] or []
            logprobs = self._logprobs(choice)
            finish = choice.get("finish_reason")
            echoed = choice.get("prompt_token_ids", found.get("prompt_token_ids"))
            routes = choice.get("routed_experts")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._invalid(f"it has no token ids: is it vLLM's {self.path}?") from error
        if len(ids) != len(logprobs):
            raise self._invalid(f"{len(ids)} tokens have {len(logprobs)} log-probabilities")
        if echoed is not None and not np.array_equal(np.asarray(echoed, np.int32), prompt):
            raise self._invalid("it is for another prompt")
        if finish is not None and finish not in _FINISHES:
            raise Fault(Kind.ENGINE_DIED, f"The {self.name} ended with {finish!r}.", self.name)
        numbers = [math.nan if value is None else float(value) for value in logprobs]
        return Piece(
            ids,
            numbers,
            (before, self.version()),
            _FINISHES.get(finish),
            None if routes is None else _routes(routes),
        )

    def _body(
        self, prompt: Ids, sampling: Sampling, end: int, *, stream: bool, routes_from: int
    ) -> dict[str, Any]:
        return {
            "model": self.model, "prompt": prompt, "stream": stream, "return_token_ids": True,
            "skip_special_tokens": False, "add_special_tokens": False,
            "return_tokens_as_token_ids": True,  # no text: the server may have no tokenizer
            **drawn(sampling, end, routes_from),
        }  # fmt: skip

    def _invalid(self, why: str) -> Fault:
        return Fault(Kind.ENGINE_INVALID, f"The answer of the {self.name} cannot be used: {why}.", self.name)

    def _refused(self, status: int, text: str) -> Fault:
        told = " ".join(text.split())[:ERROR_CHARACTERS]
        if status == 400 and "context length" in text:
            return Fault(Kind.CONTEXT_LENGTH, f"The {self.name} says: {told}", self.name)
        kind = Kind.ENGINE_UNREACHABLE if status >= 500 else Kind.ENGINE_REFUSED
        return Fault(kind, f"The {self.name} answered with status {status}: {told}", self.name)


class VllmTokens(VllmEngine):
    """A server that was started with `--tokens-only`: token ids in and out, and no tokenizer at all."""

    path: ClassVar[str] = "/inference/v1/generate"

    def _body(
        self, prompt: Ids, sampling: Sampling, end: int, *, stream: bool, routes_from: int
    ) -> dict[str, Any]:
        return {
            "model": self.model, "token_ids": prompt, "stream": stream, "return_token_ids": True,
            "sampling_params": drawn(sampling, end, routes_from),
        }  # fmt: skip

    def _logprobs(self, choice: Mapping[str, Any]) -> list[float | None]:
        steps = (choice.get("logprobs") or {}).get("content") or []
        return [step["logprob"] for step in steps]


def drawn(sampling: Sampling, end: int, routes_from: int) -> dict[str, Any]:
    """How tokens are drawn, in vLLM's names."""
    found: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [end],
        "logprobs": 0,
        "routed_experts_prompt_start": routes_from,
    }
    return found if sampling.seed is None else found | {"seed": sampling.seed}


def _routes(text: str) -> NDArray[Any]:
    """vLLM's encoding: base64 of numpy's own format; pickled objects are refused."""
    return np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
