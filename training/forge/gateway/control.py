"""What whoever starts agents may ask of a gateway: open a session, look at it, end it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.forge.gateway.faults import Fault, Kind
from training.forge.gateway.session import Session
from training.forge.gateway.sessions import Sessions
from training.forge.gateway.settings import Limits, Policy
from warehouse.errors import FactoryError


class Opening(BaseModel):
    """A session to open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trajectory: str = Field(
        default_factory=lambda: secrets.token_hex(12), min_length=1, max_length=200, pattern=r"^[^/]+$"
    )
    limits: Limits | None = None
    policy: Policy | None = None


class Ending(BaseModel):
    """How a session ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field("", max_length=200)


@dataclass
class Control:
    """Answers requests under /control."""

    gateway: Sessions

    async def answer(self, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and data. Raises Fault."""
        try:
            match method, path.split("/"):
                case "POST", ["sessions"]:
                    opening = Opening.model_validate(body)
                    session = self.gateway.open(
                        opening.trajectory, limits=opening.limits, policy=opening.policy
                    )
                    return 201, {"trajectory": session.trajectory, "path": f"/s/{session.secret}"}
                case "GET", ["sessions", trajectory]:
                    return 200, summary(self.gateway.of(trajectory))
                case "POST", ["sessions", trajectory, "end"]:
                    reason = Ending.model_validate(body).reason
                    return 200, summary(await self.gateway.end(trajectory, reason))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the request"
            raise Fault(Kind.INVALID_REQUEST, f"{where} does not fit: {first['msg']}.") from error
        except FactoryError as error:
            raise Fault(Kind.INVALID_REQUEST, str(error)) from error
        return 404, {"error": {"message": "There is nothing here.", "code": "not_found"}}


def summary(session: Session) -> dict[str, Any]:
    """What a session came to."""
    turns = session.tree.turns
    return {
        "trajectory": session.trajectory,
        "ended": session.ended,
        "requests": session.asked,
        "running": len(session.running),
        "turns": len(turns),
        "sampled_tokens": session.sampled,
        "growth": dict(Counter(turn.growth.value for turn in turns)),
        "faults": dict(Counter(turn.fault.kind.value for turn in turns if turn.fault)),
        "malformed": sum(bool(turn.said.malformed) for turn in turns),
        "dialects": dict(Counter(turn.dialect for turn in turns)),
    }
