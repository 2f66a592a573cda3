"""Rate limits, as GitHub tells them: primary (an hourly quota), secondary (too much at once), with or without
a header that says how long.

`LimitAwareRetry` is PyGithub's retry for what another try can mend: server errors and lost connections. A
rate limit is raised instead of slept through, because only the pool of tokens knows whether another one may
ask meanwhile, and how long the user is willing to wait.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from github import GithubException, GithubRetry
from github.Requester import Requester
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

SERVER_ERRORS = tuple(range(500, 600))


class Limited(Exception):
    """A rate limit ended a request. `until` is when to ask again (epoch seconds); None if nothing says so."""

    def __init__(self, until: float | None) -> None:
        super().__init__("rate limit")
        self.until = until


def limit_of(status: int, headers: Mapping[str, Any], message: str) -> Limited | None:
    """The rate limit that a response tells of, if it does. Header names are compared without case."""
    told = {name.lower(): str(value) for name, value in headers.items()}
    if "retry-after" in told:
        return Limited(_after(told["retry-after"]))
    if told.get("x-ratelimit-remaining") == "0" and told.get("x-ratelimit-reset", "").isdigit():
        return Limited(float(told["x-ratelimit-reset"]))
    if status == 429 or Requester.isRateLimitError(message):
        return Limited(None)
    return None


def _after(header: str) -> float | None:
    try:
        return time.time() + Retry().parse_retry_after(header)
    except InvalidHeader:
        return None


class LimitAwareRetry(GithubRetry):
    """See the module. Raises Limited, and GithubException for a refusal that is no limit."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("status_forcelist", [*SERVER_ERRORS, 429])
        super().__init__(**settings)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Retry:
        if response is None or response.status not in (403, 429):
            return super().increment(method, url, response, error, _pool, _stacktrace)
        said = _json(self.get_content(response, url or ""))
        if limit := limit_of(response.status, response.headers, str(said.get("message", ""))):
            raise limit
        raise GithubException(response.status, said, dict(response.headers))


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
