"""Where an RL run's prompts come from, and what an agent does with one.

A domain knows tasks, agents and verifiers; it does not know of training. It is given the address of a session
at the gateway, lets its agent talk to that, and says what the outcome was worth. Domains are entry points
`verifactory.domains`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol

from warehouse.errors import FactoryError


class Unjudged(Exception):
    """The attempt came to nothing for a reason that is not the policy's: it is made again."""


@dataclass(frozen=True)
class Prompt:
    """One prompt of a stream; all that an attempt needs to know again after a restart is its key."""

    key: str
    predicted: float | None = None
    """How long an attempt takes, in any unit, if somebody knows."""


@dataclass(frozen=True)
class Judgement:
    """What an attempt came to."""

    score: float
    """In [0, 1], from the verifier."""
    evidence: str = ""
    baseline_seconds: float | None = None
    """What a good attempt takes, for the speed reward; None: there is none."""


class Domain(Protocol):
    """A source of prompts."""

    name: ClassVar[str]

    async def open(self) -> None:
        """Gets ready: containers, tables."""
        ...

    async def close(self) -> None:
        """Lets go of all that `open` and attempts made."""
        ...

    def prompts(self, seed: int) -> Iterator[Prompt]:
        """The stream, without end, the same for the same seed."""
        ...

    async def attempt(self, key: str, url: str, attempt: str) -> Judgement:
        """One attempt at a prompt by an agent whose model is at `url` (OpenAI's dialect, without a key).

        Raises Unjudged for infrastructure; a model that answers with an error is the policy's own end.
        """
        ...


def domain(name: str, options: Mapping[str, Any]) -> Domain:
    """The installed domain called `name`, with its options. Raises FactoryError."""
    known = {entry.name: entry for entry in entry_points(group="verifactory.domains")}
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise FactoryError(f"There is no domain {name!r}; installed are: {names}.")
    try:
        return known[name].load()(**options)
    except (TypeError, ValueError) as error:
        raise FactoryError(f"The domain {name} does not take these options: {error}.") from error
