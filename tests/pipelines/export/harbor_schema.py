"""Harbor's documented task.toml (schema 1.4, harbor 0.25) and dataset.toml, with nothing else allowed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*/[a-zA-Z0-9][a-zA-Z0-9._-]*$"
NetworkMode = Literal["no-network", "public", "allowlist"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Author(Strict):
    name: str
    email: str | None = None


class Package(Strict):
    name: str = Field(pattern=NAME)
    version: str | None = Field(None, min_length=1)
    description: str = ""
    authors: list[Author] = []
    keywords: list[str] = []


class Phase(Strict):
    timeout_sec: float | None = None
    user: str | int | None = None
    network_mode: NetworkMode | None = None
    allowed_hosts: list[str] | None = None

    @model_validator(mode="after")
    def _hosts_only_with_allowlist(self) -> Phase:
        if self.allowed_hosts is not None and self.network_mode != "allowlist":
            raise ValueError("allowed_hosts is only valid when network_mode='allowlist'")
        return self


class Healthcheck(Strict):
    command: str
    interval_sec: float = 5
    timeout_sec: float = 30
    start_period_sec: float = 0
    start_interval_sec: float = 5
    retries: int = 3


class Environment(Strict):
    build_timeout_sec: float = 600
    docker_image: str | None = None
    os: Literal["linux", "windows"] = "linux"
    cpus: float | None = None
    memory_mb: int | None = None
    storage_mb: int | None = None
    gpus: int | None = None
    gpu_types: list[str] | None = None
    network_mode: NetworkMode = "public"
    allowed_hosts: list[str] | None = None
    env: dict[str, str] = {}
    skills_dir: str | None = None
    workdir: str | None = None
    healthcheck: Healthcheck | None = None


class Collect(Strict):
    command: str
    service: str = "main"
    timeout_sec: float = 60
    user: str | int | None = None


class Verifier(Phase):
    env: dict[str, str] = {}
    environment_mode: Literal["shared", "separate"] | None = None
    environment: Environment | None = None
    collect: list[Collect] = []


class Solution(Strict):
    env: dict[str, str] = {}


class HarborTask(Strict):
    schema_version: Literal["1.4"]
    source: str | None = None
    task: Package
    metadata: dict[str, Any] = {}
    verifier: Verifier = Verifier()
    agent: Phase = Phase()
    environment: Environment = Environment()
    solution: Solution = Solution()
    artifacts: list[str] = []


class TaskReference(Strict):
    name: str = Field(pattern=NAME)
    digest: str = Field(pattern=r"^sha256:[a-f0-9]{64}$")


class HarborDataset(Strict):
    schema_version: str = "1.0"
    dataset: Package
    metadata: dict[str, Any] = {}
    tasks: list[TaskReference]
