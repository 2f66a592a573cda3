"""Asking GitHub: REST with conditional requests, GraphQL, both through PyGithub's requester.

Every request is made with the token that the pool picks. Limits and refused tokens are the pool's business
and never reach a caller; a caller sees an answer, `NotFound`, `Unanswered`, or a SourceError that ends the
source.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from github import Auth, Github, GithubException
from github.Consts import DEFAULT_BASE_URL
from github.Requester import Requester

from pipelines.swe.change import SourceError
from pipelines.swe.github.etags import EtagCache
from pipelines.swe.github.limits import LimitAwareRetry, Limited, limit_of
from pipelines.swe.github.tokens import Token, TokenPool
from warehouse.settings import Settings

PER_PAGE = 100
PAUSE_SECONDS = 0.25
TIMEOUT_SECONDS = 60
TRIES = 5

Call = Callable[[Requester], tuple[int, dict[str, Any], Any]]


class NotFound(Exception):
    """What was asked for is not there, or not for these tokens."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message


class Unanswered(SourceError):
    """GitHub did not answer, though asked repeatedly."""


class GitHub:
    """One GitHub, as the settings name it."""

    def __init__(
        self,
        settings: Settings,
        *,
        pause: float = PAUSE_SECONDS,
        backoff: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = (settings.github_url or DEFAULT_BASE_URL).rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise SourceError(
                f"The setting github_url is no web address ({self.url}): give the API's, of an Enterprise "
                "server https://HOST/api/v3.",
                "github_url",
            )
        self.host = parts.netloc.rpartition("@")[2]
        self.enterprise = settings.github_url is not None
        self.folder = settings.home / "github" / _file_name(self.host)
        self._etags = EtagCache(self.folder / "etags")
        secrets = [secret.get_secret_value() for secret in settings.github_tokens]
        self._anonymous = not secrets
        tokens = [
            Token(
                f"token {i + 1} of {len(secrets)}" if secret else "requests without a token",
                Github(
                    auth=Auth.Token(secret) if secret else None,
                    base_url=self.url,
                    timeout=TIMEOUT_SECONDS,
                    user_agent="verifactory",
                    per_page=PER_PAGE,
                    retry=LimitAwareRetry(total=TRIES, backoff_factor=backoff),
                    seconds_between_requests=pause,
                    seconds_between_writes=pause,  # GraphQL is a POST, but writes nothing
                ),
            )
            for i, secret in enumerate(secrets or [""])
        ]
        self._pool = TokenPool(tokens, settings.github_wait_seconds, sleep=sleep)

    def get(self, path: str, parameters: dict[str, Any] | None = None, *, resource: str = "core") -> Any:
        """The JSON at `path`; asked conditionally if an answer is kept. Raises NotFound."""
        asked = (self.url, path, parameters or {})
        kept = self._etags.get(*asked)
        conditional = {"If-None-Match": kept.etag} if kept else {}

        def call(requester: Requester) -> tuple[int, dict[str, Any], Any]:
            return requester.requestJson("GET", path, parameters=parameters, headers=dict(conditional))

        status, headers, body = self._ask(call, resource)
        if status == 304 and kept is not None:
            return kept.body
        answer = _parsed(body)
        if status >= 400:
            raise NotFound(status, str(answer.get("message", "") if isinstance(answer, dict) else ""))
        if etag := headers.get("etag"):
            self._etags.put(etag, answer, *asked)
        return answer

    def graphql(self, query: str, variables: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(data, errors); one batch may have both. Raises Unanswered where there is no data at all."""
        if self._anonymous:
            raise SourceError(
                "GitHub tells about pull requests only to those who show a token: set GITHUB_TOKEN (a token "
                "without any scope is enough for public repositories) and run the command again.",
                "token_missing",
            )

        def call(requester: Requester) -> tuple[int, dict[str, Any], Any]:
            asked = {"query": query, "variables": variables}
            status, headers, body = requester.requestJson("POST", requester.graphql_url, input=asked)
            if limit := _graphql_limit(status, headers, body):
                raise limit
            return status, headers, body

        try:
            status, _, body = self._ask(call, "graphql")
        except NotFound as error:
            raise SourceError(f"GitHub at {self.host} refuses to answer: {error}.", "forbidden") from error
        answer = _parsed(body)
        if status >= 400 or not isinstance(answer, dict) or not isinstance(answer.get("errors", []), list):
            raise Unanswered(_no_answer(self.host, f"status {status}"), "unanswered")
        data, errors = answer.get("data") or {}, answer.get("errors") or []
        if not data and not any(error.get("type") for error in errors):
            said = str(errors[0].get("message", ""))[:200] if errors else "no data"
            raise Unanswered(_no_answer(self.host, said), "unanswered")
        return data, errors

    def git_token(self, clone_url: str) -> str | None:
        """A token for git, where even public repositories may be shown to nobody without one.

        It is shown to this GitHub alone, whatever address its answers name, as safely as to its API.
        """
        asked, cloned = urlsplit(self.url), urlsplit(clone_url)
        same = asked.scheme == cloned.scheme and cloned.netloc in (self.host, self.host.removeprefix("api."))
        if not self.enterprise or self._anonymous or not same:
            return None
        auth = self._pool.pick("core").api.requester.auth
        return auth.token if auth else None

    def _ask(self, call: Call, resource: str) -> tuple[int, dict[str, Any], Any]:
        while True:
            token = self._pool.pick(resource)
            try:
                status, headers, body = call(token.api.requester)
            except Limited as limit:
                self._pool.limited(token, limit)
                continue
            except GithubException as error:
                raise NotFound(error.status, str((error.data or {}).get("message", ""))) from error
            except requests.RequestException as error:
                raise Unanswered(_no_answer(self.host, type(error).__name__), "unanswered") from error
            except RuntimeError as error:  # PyGithub's word for a redirection to another host
                raise SourceError(f"GitHub at {self.host} sends elsewhere: {error}.", "github_url") from error
            token.answered(resource, headers)
            if status == 401:
                self._pool.refuse(token)
                continue
            return status, headers, body


def _graphql_limit(status: int, headers: dict[str, Any], body: Any) -> Limited | None:
    """GraphQL tells of limits with status 200 too."""
    answer = _parsed(body)
    for error in answer.get("errors") or [] if isinstance(answer, dict) else []:
        if error.get("type") in ("RATE_LIMITED", "RATE_LIMIT"):
            return limit_of(429, headers, "")
        if limit := (
            Requester.isRateLimitError(str(error.get("message", ""))) and limit_of(429, headers, "")
        ):
            return limit
    return None


def _parsed(body: Any) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None


def _no_answer(host: str, why: str) -> str:
    return (
        f"GitHub at {host} gave no usable answer, though asked repeatedly ({why}): check the network and "
        "VERIFACTORY_GITHUB_URL, then run the command again; it goes on where it stopped."
    )


def _file_name(host: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in host)
