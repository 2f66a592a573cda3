"""The one place settings come from: `verifactory.toml` in the working directory, then `VERIFACTORY_*`
variables.

Every path a run writes to lies under `home`; everything that can be made again (base images, package caches)
lies under `cache`, so that a machine is set up once however many homes it has.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

# SPDX identifiers under which a source may become a published task (the list is a setting; unknown is
# rejected).
PERMISSIVE = (
    "0BSD", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "NCSA", "PostgreSQL", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "ZPL-2.1",
)  # fmt: skip


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verifactory"


def _usual_tokens() -> tuple[SecretStr, ...]:
    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    return (SecretStr(token),) if token else ()


class Settings(BaseSettings):
    """All settings; the environment wins over the file, the file over the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="VERIFACTORY_", toml_file="verifactory.toml", extra="forbid", frozen=True
    )

    home: Path = Field(
        Path(".verifactory"), description="Warehouse, outbox, bundles and artifacts of one factory."
    )
    cache: Path = Field(
        default_factory=_user_cache, description="Base images and package caches, shared by homes."
    )
    licenses: tuple[str, ...] = Field(PERMISSIVE, description="SPDX ids that a source may carry.")

    runs_per_side: int = Field(
        5,
        ge=1,
        description="Test runs before and after the gold patch: first in natural order, then shuffled.",
    )
    certify: bool = Field(
        True,
        description="Certify and publish what was validated; otherwise tasks stay validated until "
        "`verifactory tasks certify` and `publish`.",
    )
    test_seconds: float = Field(60, gt=0, description="Limit of one test, in seconds.")
    suite_seconds: float = Field(600, gt=0, description="Limit of one run of a whole suite, in seconds.")
    build_seconds: float = Field(900, gt=0, description="Limit of one environment build, in seconds.")

    parallel: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Sandboxes at a time."
    )
    memory_mb: int = Field(2048, ge=64, description="Memory of one sandbox, in MiB.")
    cpus: float = Field(1.0, gt=0, description="CPU share of one sandbox, in cores.")
    pids: int = Field(512, ge=16, description="Processes and threads of one sandbox.")
    disk_gb: float = Field(
        40, gt=0, description="Disk that verifactory's own images may take, in GB; the oldest go first."
    )
    runtime: str | None = Field(
        None, description="OCI runtime for sandboxes, e.g. runsc; None is the daemon's default."
    )
    ca_dir: Path = Field(
        Path("/usr/local/share/ca-certificates"),
        description="Certificate authorities (*.crt) of this machine that containers need too.",
    )
    private_registries: bool = Field(
        True,
        description="Let builds reach a package registry that the clients' configuration names at a private "
        "address (a company mirror). Loopback and link-local addresses stay out of reach.",
    )

    github_url: str | None = Field(
        None,
        description="Address of the GitHub API: of an Enterprise server https://HOST/api/v3; github.com's if "
        "not set.",
    )
    github_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default_factory=_usual_tokens,
        description="Tokens for the GitHub API, several separated by commas; GITHUB_TOKEN or GH_TOKEN if not "
        "set. Give them in the environment rather than in a file.",
    )
    github_wait_seconds: float = Field(
        900,
        ge=0,
        description="Longest wait for a rate limit of GitHub to end, in seconds; past it the run stops, and "
        "goes on from there when it is started again.",
    )
    github_repository_mb: int = Field(
        8192, ge=1, description="Largest repository that is fetched from GitHub, in MiB as GitHub counts it."
    )

    model_base_url: str | None = Field(
        None,
        description="Address of an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1. Without one, "
        "what needs a model is left out, and said to be.",
    )
    model_name: str = Field("", description="The model to ask for there.")
    model_api_key: SecretStr | None = Field(
        None, description="Key for the endpoint, where it wants one. Give it in the environment."
    )
    model_seconds: float = Field(
        180, gt=0, description="Limit of one try of a call of the model, in seconds."
    )
    model_tokens: int = Field(8192, ge=1, description="Most tokens of one answer of the model.")
    model_usd_read: float = Field(0, ge=0, description="Price of a million tokens of prompt, in USD.")
    model_usd_written: float = Field(0, ge=0, description="Price of a million tokens of answers, in USD.")
    repair_turns: int = Field(
        40, ge=1, description="Most answers of the model in the repair of one environment."
    )
    repair_tokens: int = Field(
        600_000, ge=1, description="Most tokens of one repair, prompts and answers of all its turns."
    )
    repair_minutes: float = Field(
        45, gt=0, description="Limit of one repair, with the builds that try its recipes, in minutes."
    )

    @field_validator("github_tokens", mode="before")
    @classmethod
    def _split_tokens(cls, tokens: object) -> object:
        return tuple(filter(None, re.split(r"[\s,]+", tokens))) if isinstance(tokens, str) else tokens

    @model_validator(mode="after")
    def _model_has_a_name(self) -> Settings:
        if self.model_base_url and not self.model_name:
            raise ValueError("model_base_url is set: set model_name too")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def warehouse(self) -> Path:
        """The DuckDB file; only the loader opens it."""
        return self.home / "warehouse.duckdb"

    @property
    def snapshot(self) -> Path:
        """The copy that readers open."""
        return self.home / "browse.duckdb"

    @property
    def outbox(self) -> Path:
        return self.home / "outbox"

    @property
    def archive(self) -> Path:
        """Loaded outbox units: every fact ever recorded."""
        return self.home / "archive"

    @property
    def quarantine(self) -> Path:
        """Outbox units that could not be read, each with its reason."""
        return self.home / "quarantine"

    @property
    def bundles(self) -> Path:
        return self.home / "bundles"

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"
