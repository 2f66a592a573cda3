"""The tokens that may ask, and which of them asks next: the one with the most quota left.

A token is known here by its place in the list, never by its text, so that no message can show it. One that
GitHub refuses is not used again; when none may ask, the pool waits for the first that may, as long as the
user allows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from github import Github

from pipelines.swe.change import SourceError
from pipelines.swe.github.limits import Limited

log = logging.getLogger(__name__)

# GitHub asks for a minute where an answer to too many requests does not say how long, and more each time.
UNTOLD_SECONDS = 60.0


@dataclass
class Quota:
    """Requests left of one resource (core, search, graphql) until `reset`, in epoch seconds."""

    remaining: float = float("inf")
    reset: float = 0.0


@dataclass
class Token:
    """One that may ask. `label` is what messages call it."""

    label: str
    api: Github
    quotas: dict[str, Quota] = field(default_factory=dict)
    blocked_until: float = 0.0
    strikes: int = 0
    refused: bool = False

    def quota(self, resource: str) -> Quota:
        return self.quotas.setdefault(resource, Quota())

    def ready_at(self, resource: str, now: float) -> float:
        """When it may ask for `resource` again; `now` or earlier means at once."""
        quota = self.quota(resource)
        spent = quota.reset if quota.remaining <= 0 and quota.reset > now else 0.0
        return max(self.blocked_until, spent)

    def answered(self, resource: str, headers: Mapping[str, Any]) -> None:
        """Note what an answer says of the quota."""
        self.strikes = 0
        remaining, reset = (str(headers.get(f"x-ratelimit-{name}", "")) for name in ("remaining", "reset"))
        if remaining.isdigit() and reset.isdigit():
            told = str(headers.get("x-ratelimit-resource") or resource)
            self.quotas[told] = Quota(int(remaining), float(reset))

    def limited(self, limit: Limited, now: float) -> None:
        """Note that it has to wait; where nothing says how long, twice as long each time."""
        if limit.until is not None:
            self.blocked_until = limit.until + 1  # nobody knows when within that second
        else:
            self.blocked_until = now + UNTOLD_SECONDS * 2**self.strikes
        self.strikes += 1


class TokenPool:
    """Every token of the settings."""

    def __init__(
        self,
        tokens: Sequence[Token],
        wait_seconds: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._wait_seconds = wait_seconds
        self._sleep = sleep
        self._clock = clock

    def pick(self, resource: str) -> Token:
        """The token to ask with now, after waiting for it if need be.

        Raises SourceError: `rate_limited` when the wait would be too long, `token_refused` when none is left.
        """
        alive = [token for token in self._tokens if not token.refused]
        if not alive:
            raise SourceError(
                "GitHub refuses every token that was given (revoked, expired or mistyped): set a valid one "
                "in VERIFACTORY_GITHUB_TOKENS or GITHUB_TOKEN and run the command again; it goes on where it "
                "stopped.",
                "token_refused",
            )
        now = self._clock()
        ready = min(token.ready_at(resource, now) for token in alive)
        if ready > now:
            self._wait(ready, now, resource)
            return self.pick(resource)
        able = [token for token in alive if token.ready_at(resource, now) <= now]
        return max(able, key=lambda token: _left(token.quota(resource), now))

    def refuse(self, token: Token) -> None:
        """`token` is not to be used again."""
        token.refused = True
        left = sum(not other.refused for other in self._tokens)
        if left:
            log.warning("GitHub refuses %s; going on with %d of %d.", token.label, left, len(self._tokens))

    def limited(self, token: Token, limit: Limited) -> None:
        token.limited(limit, self._clock())

    def _wait(self, ready: float, now: float, resource: str) -> None:
        seconds = ready - now
        end = f"{datetime.fromtimestamp(ready, UTC):%Y-%m-%d %H:%M:%S} UTC"
        if seconds > self._wait_seconds:
            raise SourceError(
                f"GitHub's rate limit ({resource}) is used up until {end}, {_minutes(seconds)} from now. Run "
                "the same command again then: it goes on where it stopped. Or give another token "
                "(VERIFACTORY_GITHUB_TOKENS=A,B), or wait longer (VERIFACTORY_GITHUB_WAIT_SECONDS).",
                "rate_limited",
            )
        log.warning("GitHub's rate limit (%s) is used up: waiting until %s.", resource, end)
        self._sleep(seconds)


def _left(quota: Quota, now: float) -> float:
    return float("inf") if quota.reset <= now else quota.remaining


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
