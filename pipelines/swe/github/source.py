"""Mining one repository of GitHub: its merged pull requests, as changes like those of any other source.

A pull request is asked about in steps of rising cost, and dropped at the first rule it breaks: what a listing
says, what its details say, what its trees say, what its files say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache

import pygit2

from envs.languages import TOOLCHAINS, Toolchain, toolchain
from pipelines.family import Mined
from pipelines.swe import licenses
from pipelines.swe.change import Refused
from pipelines.swe.compare import UNREAD, About, Compared, compare, path_rule, qualify
from pipelines.swe.filters import Facts, disqualified, sort_paths
from pipelines.swe.github.client import GitHub
from pipelines.swe.github.details import PullRequests
from pipelines.swe.github.mirror import Mirror
from pipelines.swe.github.pulls import Detailed, Listed
from pipelines.swe.github.repositories import Repository, repository
from pipelines.swe.github.shelf import Shelf
from pipelines.swe.github.texts import accounts, commit_texts, says_anything
from warehouse.records import Source, content_id, to_json
from warehouse.settings import Settings


def mine(
    name: str,
    settings: Settings,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    branch: str | None = None,
    numbers: Collection[int] | None = None,
    github: GitHub | None = None,
) -> Iterator[Mined]:
    """Candidates of the repository `name`: all merged pull requests, or those of `numbers`.

    Raises SourceError when the repository as a whole cannot be mined; what was told until then is kept.
    """
    github = github or GitHub(settings)
    found = repository(github, name, settings)
    mirror = Mirror(found.name, found.clone_url, settings, token=github.git_token(found.clone_url))
    with Shelf.held(github.folder / "pulls" / found.name) as shelf:
        miner = _Miner(found, mirror, PullRequests(github, found.name, shelf), settings)
        for pull in miner.pulls(numbers, since):
            when = pull.merged_at or pull.updated_at
            if (since is not None and when < since) or (until is not None and when >= until):
                continue
            if branch is None or pull.base_ref_name == branch:
                yield miner.mined(pull)


class _Miner:
    """One repository being mined."""

    def __init__(
        self,
        found: Repository,
        mirror: Mirror,
        requests: PullRequests,
        settings: Settings,
    ) -> None:
        self.repository = found
        self.mirror = mirror
        self.requests = requests
        self.settings = settings

    def pulls(self, numbers: Collection[int] | None, since: datetime | None) -> Iterator[Listed]:
        """Pull requests, detailed where their listing breaks no rule."""
        if numbers is not None:
            for _, pull in self.requests.detailed(list(numbers)):
                if pull is not None:
                    yield pull
            return
        for page in self.requests.listed(since):
            asked = [pull.number for pull in page if disqualified(listed_facts(pull)) is None]
            details = self.requests.detailed(asked)
            for pull in page:
                if pull.number in asked:
                    yield next(details)[1] or pull
                else:
                    yield pull

    def mined(self, pull: Listed) -> Mined:
        """The candidate of one pull request; what is wrong with it becomes its reason."""
        compared = self._compared(pull)
        return compared.mined(self._source(pull, compared.license))

    def _compared(self, pull: Listed) -> Compared:
        facts = listed_facts(pull)
        about = self._about(pull, _first_parent(pull))
        try:
            qualify(facts)
            if not isinstance(pull, Detailed):
                raise Refused("pull_request_gone", "GitHub lists it and tells no details")
            paths = pull.paths()
            facts = qualify(
                replace(
                    facts,
                    paths=None if paths is None else sort_paths(paths, is_some_test),
                    told=says_anything(pull),
                )
            )
            base, gold = self._commits(pull)
            about = self._about(pull, str(base.id))
            trees = str(base.tree_id), str(gold.tree_id)
            differing = sort_paths(self.mirror.store.changed_paths(*trees), is_some_test)
            qualify(replace(facts, paths=differing))
            self.mirror.fill(*trees)
            is_test = path_rule(self.mirror.store, trees[1])
        except Refused as refused:
            return Compared(about, facts, UNREAD, refused)
        return compare(self.mirror.store, trees, about, facts, is_test=is_test, settings=self.settings)

    def _commits(self, pull: Detailed) -> tuple[pygit2.Commit, pygit2.Commit]:
        """The commits before and after; a rebased pull request is as many commits as it has.

        Raises Refused: `merge_commit_gone`, `base_gone`.
        """
        if pull.merge_commit is None or (gold := self.mirror.commit(pull.merge_commit.oid)) is None:
            raise Refused(
                "merge_commit_gone", "its branch was rewritten or deleted, and GitHub has dropped it"
            )
        steps = _rebased(pull, gold, self.mirror)
        base = gold
        for _ in range(steps):
            before = self.mirror.parents(base)
            if not before:
                raise Refused("base_gone", f"the commit before {str(base.id)[:12]} is not there")
            base = before[0]
        return base, gold

    def _about(self, pull: Listed, base_ref: str) -> About:
        gold = pull.merge_commit.oid if pull.merge_commit else f"pull/{pull.number}"
        return About(
            kind="github",
            repo=self.repository.name,
            base_ref=base_ref,
            gold_ref=gold,
            title=pull.title,
            source_date=pull.merged_at or pull.updated_at,
            author=pull.author.login if pull.author else "",
            texts=lambda: commit_texts(pull) if isinstance(pull, Detailed) else (),
            linked=lambda: accounts(pull) if isinstance(pull, Detailed) else (),
        )

    def _source(self, pull: Listed, license: licenses.License) -> Source:
        author = pull.author.login if pull.author else ""
        return Source(
            source_id=content_id("github", self.repository.name, pull.number),
            kind="github",
            url=pull.url,
            revision=pull.merge_commit.oid if pull.merge_commit else "",
            license=license.spdx,
            attribution=license.attribution or author,
            raw=to_json(_told(pull, author) | {"license_evidence": license.evidence}),
        )


def is_some_test(path: str) -> bool:
    """Whether any toolchain would call it a test: what may be said before the tree tells its language."""
    return any(known.is_test(path) for known in _toolchains())


@cache
def _toolchains() -> tuple[Toolchain, ...]:
    return tuple(map(toolchain, TOOLCHAINS))


def listed_facts(pull: Listed) -> Facts:
    """What a listing tells the rules."""
    return Facts(
        subject=pull.title,
        author=pull.author.login if pull.author else "",
        number=pull.number,
        merged=pull.merged_at is not None,
        by_program=pull.author is not None and pull.author.typename == "Bot",
        changed_lines=pull.additions + pull.deletions,
    )


def _first_parent(pull: Listed) -> str:
    parents = pull.merge_commit.parents.present() if pull.merge_commit else ()
    return parents[0].oid if parents else ""


def _rebased(pull: Detailed, gold: pygit2.Commit, mirror: Mirror) -> int:
    """How many commits the pull request became: one if merged or squashed, else as many as it had."""
    wanted = [commit.commit.message.strip() for commit in pull.commits.present()]
    if len(gold.parent_ids) != 1 or len(wanted) < 2 or len(wanted) != pull.commits.total_count:
        return 1
    commit = gold
    for message in reversed(wanted):
        if commit.raw_message.decode("utf-8", "replace").strip() != message:
            return 1
        before = mirror.parents(commit)
        if not before:
            return 1
        commit = before[0]
    return len(wanted)


def _told(pull: Listed, author: str) -> dict[str, object]:
    """What the record keeps of a pull request besides its change."""
    told: dict[str, object] = {"number": pull.number, "author": author, "base": pull.base_ref_name}
    if not isinstance(pull, Detailed):
        return told
    issues = pull.closing_issues_references.present() if pull.closing_issues_references else ()
    reviews = pull.reviews.present() if pull.reviews else ()
    return told | {
        "labels": [label.name for label in pull.labels.present()] if pull.labels else [],
        "issues": [
            {
                "url": issue.url,
                "labels": [label.name for label in issue.labels.present()] if issue.labels else [],
            }
            for issue in issues
        ],
        "reviews": [
            {
                "state": review.state,
                "author": review.author.login if review.author else "",
                "body": review.body[:4000],
                "comments": [
                    comment.model_dump(mode="json")
                    for comment in (review.comments.present() if review.comments else ())
                ],
            }
            for review in reviews
        ],
    }
