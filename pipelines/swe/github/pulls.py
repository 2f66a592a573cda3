"""A pull request as GitHub tells of it: what a listing says, and what its details add.

The models are GitHub's own shape, so that what is kept on disk is what was answered. Whatever may be null in
GitHub's schema may be null here: accounts are deleted, commits are lost, connections are switched off.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class Answered(BaseModel):
    """A piece of an answer; what is not asked for here is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Connection(Answered, Generic[T]):
    """A list as GraphQL tells it."""

    nodes: tuple[T | None, ...] | None = None
    total_count: int | None = None

    def present(self) -> tuple[T, ...]:
        return tuple(node for node in self.nodes or () if node is not None)


class Actor(Answered):
    typename: str = Field("", alias="__typename")
    login: str = ""


class Label(Answered):
    name: str


class CommitId(Answered):
    oid: str


class MergeCommit(Answered):
    oid: str
    parents: Connection[CommitId]


class Repository(Answered):
    name_with_owner: str


class Issue(Answered):
    number: int
    title: str
    body: str
    url: str
    repository: Repository
    labels: Connection[Label] | None = None


class ReviewComment(Answered):
    path: str
    original_line: int | None = None
    body: str


class Review(Answered):
    state: str
    body: str
    author: Actor | None = None
    comments: Connection[ReviewComment] | None = None


class Commit(Answered):
    oid: str
    message: str


class PullRequestCommit(Answered):
    commit: Commit


class ChangedFile(Answered):
    path: str


class Listed(Answered):
    """What a listing says."""

    number: int
    title: str
    url: str
    updated_at: datetime
    merged_at: datetime | None = None
    base_ref_name: str
    additions: int
    deletions: int
    changed_files: int
    author: Actor | None = None
    merge_commit: MergeCommit | None = None


class Detailed(Listed):
    """What its details say besides."""

    body: str
    labels: Connection[Label] | None = None
    closing_issues_references: Connection[Issue] | None = None
    reviews: Connection[Review] | None = None
    commits: Connection[PullRequestCommit]
    files: Connection[ChangedFile] | None = None

    def paths(self) -> tuple[str, ...] | None:
        """The paths that differ; None where GitHub does not tell all of them."""
        if self.files is None or (self.files.total_count or 0) != len(self.files.nodes or ()):
            return None
        return tuple(file.path for file in self.files.present())
