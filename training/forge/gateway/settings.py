"""What a gateway and its sessions are held to, as settings. Takes no torch."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warehouse.errors import FactoryError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """What one session may use; past it a request is refused, and the trajectory ends as partial."""

    turns: int = Field(500, ge=1, description="Requests.")
    tokens: int = Field(2_000_000, ge=1, description="Sampled tokens; the last answer is cut to fit.")
    seconds: float = Field(14_400, gt=0, description="Seconds from the session's opening.")
    parallel: int = Field(64, ge=1, description="Requests at a time.")


class Policy(_Section):
    """How tokens are drawn where a run decides that, whatever the agent asks for; None: the agent decides."""

    temperature: float | None = Field(None, ge=0, le=2, description="Temperature.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus: smallest set of this probability.")
    top_k: int | None = Field(None, ge=0, description="Only so many likeliest tokens; 0: all.")
    max_tokens: int | None = Field(
        None, ge=1, description="Most tokens of one response; the agent may ask for less."
    )
    seed: int | None = Field(
        None, description="Draw a trajectory's n-th request from this seed; None: from the engine's own."
    )
    oldest_version: int | None = Field(
        None, ge=0, description="Refuse tokens of weights older than this version."
    )


class Deadlines(_Section):
    """How long the gateway waits, in seconds. A wait that runs out is an error that names its peer."""

    answer: float = Field(1_800, gt=0, description="For a whole answer of the engine.")
    token: float = Field(300, gt=0, description="For the engine's next token of a streamed answer.")
    body: float = Field(60, gt=0, description="For the rest of a request.")
    record: float = Field(60, gt=0, description="For the data pool to keep a turn.")


class GatewaySettings(_Section):
    """A gateway."""

    limits: Limits = Field(default_factory=Limits)
    policy: Policy = Field(default_factory=Policy)
    deadlines: Deadlines = Field(default_factory=Deadlines)
    keep_reasoning: bool = Field(
        False, description="Keep reasoning past the next user message, where the template drops it."
    )
    idle_seconds: float = Field(
        7_200, gt=0, description="A session without a request for so long ends as abandoned."
    )
    body_mb: int = Field(64, ge=1, description="Largest request, in MiB.")

    @classmethod
    def read(cls, path: Path) -> GatewaySettings:
        """From a TOML file. Raises FactoryError."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text()))
        except OSError as error:
            raise FactoryError(
                f"The settings {path} cannot be read: {error.strerror}; name a file."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise FactoryError(f"The settings {path} are not valid TOML: {error}.") from error
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise FactoryError(
                f"The settings {path} do not fit at {where}: {fault['msg'][:1].lower()}{fault['msg'][1:]}."
            ) from error
