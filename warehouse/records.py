"""The records: what the factory knows, as frozen rows with natural keys.

A record never changes. What changes about a task (status, split, difficulty) is an append-only `TaskEvent`,
and views derive the present from it. That is what lets outbox files be loaded twice, or in any order, with
one result: two rows of one key are the same fact, and where a crashed run wrote it twice the earlier
`recorded_at` wins.

Column types follow from the annotations (see `warehouse.schema`): str → VARCHAR, int → BIGINT, float →
DOUBLE, datetime → TIMESTAMPTZ, tuple[str, ...] → VARCHAR[], `Json` → JSON text.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def utcnow() -> datetime:
    return datetime.now(UTC)


def content_id(*parts: object) -> str:
    """A 20-hex-digit id of `parts` in canonical JSON: equal content, equal id, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


Json = Annotated[str, AfterValidator(_canonical)]
"""JSON text; canonicalised so that equal values are equal rows."""


def to_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


class Record(BaseModel):
    """A frozen row. `table` names its table; `key` its natural key."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]


class Source(Record):
    """Where raw material came from and under what right it may be used."""

    table: ClassVar[str] = "sources"
    key: ClassVar[tuple[str, ...]] = ("source_id",)

    source_id: str
    kind: str = Field(description="releases | git")
    url: str = Field(description="Address or path as the user named it.")
    revision: str = Field(description="Version or commit that was read.")
    license: str = Field(description="SPDX id as of the revision; '' when it could not be told.")
    attribution: str = Field(description="Authors, as the source names them.")
    raw: Json = "{}"
    recorded_at: datetime = Field(default_factory=utcnow)


class Candidate(Record):
    """A change that might become a task, or the reason why not."""

    table: ClassVar[str] = "candidates"
    key: ClassVar[tuple[str, ...]] = ("candidate_id",)

    candidate_id: str
    source_id: str
    family: str
    repo: str
    base_ref: str = Field(description="Version or commit before the change.")
    gold_ref: str = Field(description="Version or commit after the change.")
    title: str
    source_date: datetime = Field(
        description="When upstream published the change; the environment is resolved as of it."
    )
    verdict: str = Field(description="accepted | rejected")
    reason: str = Field("", description="Reason code when rejected.")
    detail: Json = "{}"
    recorded_at: datetime = Field(default_factory=utcnow)


class Environment(Record):
    """A recipe and what it resolved to. The id is of recipe and manifest; a rebuilt image has another digest,
    not another id.
    """

    table: ClassVar[str] = "environments"
    key: ClassVar[tuple[str, ...]] = ("environment_id",)

    environment_id: str
    language: str
    recipe: Json
    manifest: tuple[str, ...] = Field(description="Resolved packages, one requirement a line.")
    dockerfile: str
    image_digest: str = Field(description="Digest of the image as last built here.")
    size_bytes: int = Field(description="Bytes this image adds to the layers it shares.")
    attempts: int
    build_seconds: float
    build_log: str = Field("", description="sha256 of the log in the artifact store.")
    recorded_at: datetime = Field(default_factory=utcnow)


class Task(Record):
    """Instruction + environment + verifier. The id hashes those three; the lists are what execution found."""

    table: ClassVar[str] = "tasks"
    key: ClassVar[tuple[str, ...]] = ("task_id",)

    task_id: str
    candidate_id: str
    environment_id: str
    family: str
    kind: str = Field(description="bug_fix | feature | performance | refactor | swe_test | code_review | …")
    parent: str = Field("", description="Task this one was derived from.")
    repo: str
    language: str
    license: str
    attribution: str
    source_date: datetime
    instruction: str
    verifier: Json
    gold_patch: str
    test_patch: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    new_tests: tuple[str, ...] = Field(
        description="Passing with the gold patch, absent or uncollectable before it."
    )
    quarantined: tuple[str, ...] = Field(description="'<reason> <test id>' of every unstable test left out.")
    statement_check: str = Field(description="none | rules | model")
    bundle: str = Field(description="sha256 of the bundle's manifest; '' when none was rendered.")
    run_id: str
    recorded_at: datetime = Field(default_factory=utcnow)


class TaskEvent(Record):
    """A change of what is true about a task."""

    table: ClassVar[str] = "task_events"
    key: ClassVar[tuple[str, ...]] = ("task_id", "event", "value", "run_id")

    task_id: str
    event: str = Field(description="status | split | difficulty | audit")
    value: str
    reason: str = ""
    run_id: str
    recorded_at: datetime = Field(default_factory=utcnow)


class TestOutcome(Record):
    """One run of one hidden test in one state. P2P tests that never wavered are not stored run by run."""

    __test__ = False
    table: ClassVar[str] = "test_outcomes"
    key: ClassVar[tuple[str, ...]] = ("task_id", "test_id", "state", "run_id", "run")

    task_id: str
    test_id: str
    role: str = Field(
        description="fail_to_pass | new | pass_to_pass | flaky | order_dependent | date_dependent"
    )
    state: str = Field(description="base | before | after")
    run_id: str
    run: int = Field(description="0 is the natural order; others are shuffled.")
    conditions: str = Field("", description="'' | shuffled:<seed> | date:+400d")
    outcome: str = Field(
        description="passed | failed | error | skipped | xfailed | xpassed | timeout | crashed | missing"
    )
    seconds: float
    recorded_at: datetime = Field(default_factory=utcnow)


class Validation(Record):
    """One control run through the grader of the bundle."""

    table: ClassVar[str] = "validations"
    key: ClassVar[tuple[str, ...]] = ("task_id", "control", "run_id", "run")

    task_id: str
    control: str = Field(description="gold | nop | partial | cheat:<name of the trial>")
    run_id: str
    run: int
    verdict: str = Field(description="scored | malformed | tampered | infrastructure")
    reward: float | None
    expected: float
    passed: bool
    checks: Json
    image_digest: str
    seconds: float
    recorded_at: datetime = Field(default_factory=utcnow)


class Flake(Record):
    """How often the tests that decide a task's reward wavered over repeated runs.

    `upper` is the Wilson 95 % upper bound of the chance that one run of the worst test disagrees with its
    role, from `runs` runs of which `wavered` disagreed. Later control runs add rows; the `flaky` view pools
    them.
    """

    table: ClassVar[str] = "flakes"
    key: ClassVar[tuple[str, ...]] = ("task_id", "state", "run_id")

    task_id: str
    state: str = Field(description="before | after")
    run_id: str
    runs: int
    wavered: int
    upper: float
    recorded_at: datetime = Field(default_factory=utcnow)


class Certificate(Record):
    """What was tried against one task, once, and what it withstood: the document that its bundle carries.

    The id is the document's own digest, so an edited document is no longer the recorded one.
    """

    table: ClassVar[str] = "certificates"
    key: ClassVar[tuple[str, ...]] = ("certificate_id",)

    certificate_id: str = Field(description="sha256 of the document in canonical JSON.")
    task_id: str
    run_id: str
    outcome: str = Field(description="certified | refused")
    reason: str = Field("", description="Reason code when refused: exploitable, gold_control_failed, …")
    bundle: str = Field(description="sha256 of the bundle's manifest.")
    environment_id: str
    image_digest: str = Field(description="Of the image that everything was tried in.")
    catalogue: str = Field(description="Digest of the cheat catalogue and of this program's grader.")
    cheats: int = Field(description="Cheats tried, alone, in a group, or before in the same environment.")
    succeeded: int = Field(description="Gradings of cheats that were paid.")
    inverted: int = Field(description="Deciding tests that are also run with one assertion inverted.")
    seconds: float = Field(description="What certifying took.")
    validation_seconds: float = Field(description="What validating the same task had taken; 0 if unknown.")
    document: Json
    recorded_at: datetime = Field(default_factory=utcnow)


class Trajectory(Record):
    """One attempt of an agent at a task: what was said and done, what it left, and what that was worth."""

    table: ClassVar[str] = "trajectories"
    key: ClassVar[tuple[str, ...]] = ("trajectory_id",)

    trajectory_id: str
    task_id: str
    run_id: str
    sample: int = Field(description="Number of the attempt at this task in this run, from 0.")
    agent: str
    context: str = Field(description="Context manager: whole | sliding-window | …")
    model: str
    ending: str = Field(description="submitted | turns | tokens | minutes | context_full | …")
    detail: str
    verdict: str = Field(description="scored | malformed | tampered; '' when nothing could be graded.")
    reward: float | None
    reason: str = Field(description="Why, where the verdict is not scored.")
    turns: int
    tokens_read: int
    tokens_written: int
    cost_usd: float
    seconds: float
    patch: str = Field(description="What the agent left, in git format; '' also when it is no text.")
    trajectory: Json = Field(description="ATIF document.")
    recorded_at: datetime = Field(default_factory=utcnow)


class Artifact(Record):
    """Bytes kept beside the warehouse, named by their sha256."""

    table: ClassVar[str] = "artifacts"
    key: ClassVar[tuple[str, ...]] = ("sha256",)

    sha256: str
    kind: str
    size_bytes: int
    recorded_at: datetime = Field(default_factory=utcnow)


class Event(Record):
    """One attempt at one stage of one item: the ledger. A resumed run has the same run_id and skips what it
    decided.
    """

    table: ClassVar[str] = "events"
    key: ClassVar[tuple[str, ...]] = ("run_id", "stage", "item", "attempt")

    run_id: str
    flow: str
    stage: str = Field(
        description="source | mine | build | compose | validate | certify | publish | revalidate"
    )
    item: str = Field(description="Candidate id; at stage 'source', which only failures leave, the source.")
    attempt: int = Field(
        1, description="Counts up when an item that failed for infrastructure is tried again."
    )
    source: str = Field(description="The input the item came from, as the user named it.")
    outcome: str = Field(description="ok | rejected | failed")
    reason: str = ""
    detail: str = ""
    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float = 0.0
    recorded_at: datetime = Field(default_factory=utcnow)


class Shard(Record):
    """An exported file and the query it answers."""

    table: ClassVar[str] = "shards"
    key: ClassVar[tuple[str, ...]] = ("sha256",)

    sha256: str
    path: str
    layout: str
    query: str
    snapshot: str = Field(
        description="sha256 of what the snapshot held: its schema version and loaded files."
    )
    rows: int
    recorded_at: datetime = Field(default_factory=utcnow)


class TrainingRun(Record):
    """A training run, or one step of it: step -1 is the run's settings and outcome."""

    table: ClassVar[str] = "training_runs"
    key: ClassVar[tuple[str, ...]] = ("training_run_id", "step")

    training_run_id: str
    stage: str = Field(description="sft")
    step: int
    loss: float | None
    metrics: Json = "{}"
    recorded_at: datetime = Field(default_factory=utcnow)


RECORDS: tuple[type[Record], ...] = (
    Source, Candidate, Environment, Task, TaskEvent, TestOutcome, Validation, Flake, Certificate, Trajectory,
    Artifact, Event, Shard, TrainingRun,
)  # fmt: skip
