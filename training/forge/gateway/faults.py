"""What can go wrong with a request, as one exception with a kind; the table says what that means in HTTP.

Agents are not ours: most retry by themselves what looks transient and give up on the rest, and they tell the
two apart by the status alone. So a status here is chosen for what the agent should do next. Each dialect
spells the same fault in its own error shape (`dialects`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The reason of a fault, as it is recorded."""

    INVALID_REQUEST = "invalid_request"
    UNKNOWN_SESSION = "unknown_session"
    SESSION_ENDED = "session_ended"
    CONTEXT_LENGTH = "context_length_exceeded"
    BUDGET = "session_budget_exhausted"
    ENGINE_UNREACHABLE = "engine_unreachable"
    ENGINE_REFUSED = "engine_refused"
    ENGINE_DIED = "engine_died"
    ENGINE_TIMEOUT = "engine_timeout"
    ENGINE_INVALID = "engine_invalid_answer"
    NAN_LOGPROBS = "nan_logprobs"
    VERSION_SKEW = "version_skew"
    NOT_RECORDED = "not_recorded"
    BUSY = "session_busy"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Manner:
    """How a kind of fault is told: HTTP status, and whether asking again may help."""

    status: int
    retry: bool


MANNERS: dict[Kind, Manner] = {
    Kind.INVALID_REQUEST: Manner(400, False),
    Kind.UNKNOWN_SESSION: Manner(404, False),
    Kind.SESSION_ENDED: Manner(403, False),
    Kind.CONTEXT_LENGTH: Manner(400, False),
    Kind.BUDGET: Manner(403, False),
    Kind.ENGINE_UNREACHABLE: Manner(503, True),
    Kind.ENGINE_REFUSED: Manner(502, False),
    Kind.ENGINE_DIED: Manner(502, True),
    Kind.ENGINE_TIMEOUT: Manner(504, True),
    Kind.ENGINE_INVALID: Manner(502, True),
    Kind.NAN_LOGPROBS: Manner(502, True),
    Kind.VERSION_SKEW: Manner(503, True),
    Kind.NOT_RECORDED: Manner(503, True),
    Kind.BUSY: Manner(429, True),
    Kind.CANCELLED: Manner(499, False),
    Kind.INTERNAL: Manner(500, False),
}


class Fault(Exception):
    """A request came to nothing. `peer` names whom it was waiting for, where it was waiting."""

    def __init__(self, kind: Kind, message: str, peer: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.peer = peer

    @property
    def manner(self) -> Manner:
        return MANNERS[self.kind]
