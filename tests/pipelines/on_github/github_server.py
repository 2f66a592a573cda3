"""A GitHub on loopback: REST, GraphQL and smart HTTP over real histories, with GitHub's manners about limits.

GraphQL is executed by graphql-core over the types that are asked for (`github_schema.graphql`), so a query
that does not fit them fails as it would there. What the server sends is kept (`answers`), for the published
schemas to be held against it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import graphql
from github_upstream import Pull, Upstream

SCHEMA = graphql.build_schema((Path(__file__).parent / "github_schema.graphql").read_text())
USUAL = {"core": 5000, "graphql": 5000, "search": 30}


@dataclass
class Account:
    """A token's owner: what it has left, and whether it still counts."""

    left: dict[str, int] = field(default_factory=lambda: dict(USUAL))
    reset: float = field(default_factory=lambda: time.time() + 3600)
    revoked: bool = False


@dataclass
class Answer:
    """What is sent."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request as it came, without its token's text."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    token: str
    conditional: bool
    status: int = 0


Fault = Callable[[Asked], Answer | None]


class FakeGitHub:
    """See the module. `faults` are asked before anything else; the first answer counts."""

    def __init__(self) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.accounts: dict[str, Account] = {"secret-one": Account()}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.answers: list[tuple[Asked, Any]] = []
        self.git_requests: list[str] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"github": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def add(self, upstream: Upstream) -> Upstream:
        self.upstreams[upstream.name.lower()] = upstream
        return upstream

    def times(self, kind: str) -> int:
        """How often a kind of request came: Listing, Details, or the beginning of a REST path."""
        return sum(
            str(asked.body["query"]).startswith(f"query {kind}")
            if asked.path == "/graphql"
            else asked.path.startswith(kind)
            for asked in self.asked
        )

    def fail(self, path: str, times: int, answer: Answer) -> None:
        """The next `times` requests whose path begins with `path` get `answer`."""
        left = [times]

        def fault(asked: Asked) -> Answer | None:
            if left[0] and asked.path.startswith(path):
                left[0] -= 1
                return answer
            return None

        self.faults.append(fault)

    def answer(self, asked: Asked) -> Answer:
        for fault in list(self.faults):
            if (answer := fault(asked)) is not None:
                return answer
        account = self.accounts.get(asked.token)
        if asked.token and (account is None or account.revoked):
            return Answer(
                401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}
            )
        if account is None:
            account = Account()
        resource = {"/graphql": "graphql", "/search/repositories": "search"}.get(asked.path, "core")
        if account.left[resource] <= 0:
            return self._limited(resource, account)
        answer = self._rest(asked) if asked.path != "/graphql" else self._graphql(asked)
        if answer.status != 304:
            account.left[resource] -= 1
        answer.headers |= _quota(resource, account)
        return answer

    def _limited(self, resource: str, account: Account) -> Answer:
        message = "API rate limit exceeded for user ID 1. If you reach out to GitHub Support for help, …"
        if resource == "graphql":
            body = {"errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded for user ID 1."}]}
            return Answer(200, body, _quota(resource, account))
        return Answer(403, {"message": message}, _quota(resource, account))

    def _rest(self, asked: Asked) -> Answer:
        if asked.path == "/search/repositories":
            return self._search(asked)
        parts = asked.path.strip("/").split("/")
        if parts[0] == "repositories":
            upstream = next((u for u in self.upstreams.values() if str(_number(u)) == parts[1]), None)
        else:
            upstream = self.upstreams.get("/".join(parts[1:3]).lower())
        if upstream is None or upstream.facts.get("gone"):
            return Answer(
                404,
                {
                    "message": "Not Found",
                    "documentation_url": "https://docs.github.com/rest",
                    "status": "404",
                },
            )
        if upstream.facts.get("taken_down"):
            return Answer(451, {"message": "Repository access blocked", "block": {"reason": "dmca"}})
        if moved := upstream.facts.get("moved_to"):
            there = f"{self.url}/repositories/{_number(self.upstreams[moved.lower()])}"
            return Answer(301, {"message": "Moved Permanently", "url": there}, {"Location": there})
        return Answer(200, self.repository(upstream))

    def _search(self, asked: Asked) -> Answer:
        query, page = asked.query["q"][0], int(asked.query.get("page", ["1"])[0])
        if not query.strip():
            return Answer(422, {"message": "Validation Failed", "errors": []})
        found = [self.repository(u) | {"score": 1.0} for u in self.upstreams.values() if _matches(u, query)]
        found.sort(key=lambda told: -told["stargazers_count"])
        per_page = int(asked.query.get("per_page", ["30"])[0])
        if (page - 1) * per_page >= 1000:
            return Answer(422, {"message": "Only the first 1000 search results are available"})
        items = found[:1000][(page - 1) * per_page : page * per_page]
        return Answer(200, {"total_count": len(found), "incomplete_results": False, "items": items})

    def _graphql(self, asked: Asked) -> Answer:
        result = graphql.graphql_sync(
            SCHEMA, asked.body["query"], root_value={"repository": self._repository},
            variable_values=asked.body["variables"],
        )  # fmt: skip
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [
                {"message": e.message, **({"path": e.path} if e.path else {}), **(e.extensions or {})}
                for e in result.errors
            ]
        return Answer(200, body)

    def _repository(self, info: Any, owner: str, name: str, followRenames: bool = True) -> Any:
        upstream = self.upstreams.get(f"{owner}/{name}".lower())
        if upstream is None or upstream.facts.get("gone_to_graphql"):
            raise graphql.GraphQLError(
                f"Could not resolve to a Repository with the name '{owner}/{name}'.",
                extensions={"type": "NOT_FOUND"},
            )
        return {
            "nameWithOwner": upstream.name,
            "isEmpty": not upstream.pulls and bool(upstream.facts.get("empty")),
            "pullRequest": lambda info, number: self._pull(upstream, number),
            "pullRequests": lambda info, **args: self._pulls(upstream, **args),
        }

    def _pull(self, upstream: Upstream, number: int) -> Any:
        for pull in upstream.pulls:
            if pull.number == number:
                return self._told(upstream, pull)
        raise graphql.GraphQLError(
            f"Could not resolve to a PullRequest with the number of {number}.",
            extensions={"type": "NOT_FOUND"},
        )

    def _pulls(self, upstream: Upstream, first: int, after: str | None = None, **_: Any) -> Any:
        ordered = sorted(upstream.pulls, key=lambda pull: (pull.at, pull.number), reverse=True)
        if after is not None:
            try:
                at, number = json.loads(base64.b64decode(after))
            except ValueError as error:
                raise graphql.GraphQLError(
                    f"`{after}` does not appear to be a valid cursor.",
                    extensions={"type": "INVALID_CURSOR_ARGUMENTS"},
                ) from error
            ordered = [pull for pull in ordered if (pull.at.isoformat(), pull.number) < (at, number)]
        shown = ordered[:first]
        end = (
            base64.b64encode(json.dumps([shown[-1].at.isoformat(), shown[-1].number]).encode()).decode()
            if shown
            else None
        )
        return {
            "nodes": [self._told(upstream, pull) for pull in shown],
            "pageInfo": {"endCursor": end, "hasNextPage": len(ordered) > first},
            "totalCount": len(upstream.pulls),
        }

    def _told(self, upstream: Upstream, pull: Pull) -> dict[str, Any]:
        url, at = f"https://example.org/{upstream.name}", pull.at.isoformat().replace("+00:00", "Z")
        actor = {"__typename": pull.typename, "login": pull.author} if pull.author else None
        merge = {
            "oid": pull.merged,
            "message": "",
            "parents": _connection([{"oid": oid} for oid in pull.parents]),
        }
        return {
            "number": pull.number, "title": pull.title, "body": pull.body, "url": f"{url}/pull/{pull.number}",
            "updatedAt": at, "mergedAt": at, "baseRefName": pull.base,
            "additions": pull.lines[0], "deletions": pull.lines[1], "changedFiles": len(pull.paths),
            "author": actor, "mergeCommit": None if pull.no_merge_commit else merge,
            "labels": _connection([{"name": label} for label in pull.labels]),
            "closingIssuesReferences": _connection([
                {"number": number, "title": title, "body": body, "url": f"{url}/issues/{number}",
                 "repository": {"nameWithOwner": upstream.name, "isEmpty": False},
                 "labels": _connection([{"name": "bug"}])}
                for number, title, body in pull.issues]),
            "reviews": _connection([
                {"state": state, "body": body, "author": {"__typename": "User", "login": "rev"},
                 "comments": _connection([{"path": "pkg/a.py", "originalLine": 1, "body": body}])}
                for state, body in pull.reviews]),
            "commits": _connection([{"commit": {"oid": oid, "message": text}} for oid,
            text in pull.messages]),
            "files": _connection([{"path": path} for path in pull.paths]),
        }  # fmt: skip

    def repository(self, upstream: Upstream) -> dict[str, Any]:
        """The body of GET /repos/{owner}/{repo}, every key of it that GitHub's schema requires."""
        owner, _, name = upstream.name.partition("/")
        api, web = f"{self.url}/repos/{upstream.name}", f"{self.url}/{upstream.name}"
        facts = upstream.facts
        spdx = facts.get("license", "MIT")
        user = {key: f"{self.url}/users/{owner}" for key in _USER_URLS} | {
            "login": owner, "id": 1, "node_id": "MQ==", "gravatar_id": "", "type": "User",
            "site_admin": False,
        }  # fmt: skip
        return {key: f"{api}/{key}" for key in _URLS} | {
            "id": _number(upstream), "node_id": "MDE=", "name": name, "full_name": upstream.name,
            "owner": user,
            "private": bool(facts.get("private")), "html_url": web, "description": None, "fork": False,
            "url": api,
            "clone_url": f"{self.url}/git/{upstream.name}.git", "git_url": "git:x", "ssh_url": "git@x",
            "svn_url": web,
            "mirror_url": None, "homepage": None, "language": None, "forks": 0, "forks_count": 0,
            "stargazers_count": facts.get("stars", 1), "watchers": 1, "watchers_count": 1,
            "size": facts.get("size", 7),
            "default_branch": "main", "open_issues": 0, "open_issues_count": 0, "has_issues": True,
            "has_projects": False, "has_wiki": False, "has_pages": False, "has_discussions": False,
            "has_downloads": False, "archived": False, "disabled": bool(facts.get("disabled")),
            "pushed_at": "2024-01-02T00:00:00Z", "created_at": facts.get("created", "2024-01-01T00:00:00Z"),
            "updated_at": "2024-01-02T00:00:00Z", "network_count": 0, "subscribers_count": 0,
            "license": spdx and {"key": spdx.lower(), "name": spdx, "spdx_id": spdx, "url": None,
            "node_id": "MDc6"},
        }  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[FakeGitHub]:
        thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


_URLS = [
    "archive_url", "assignees_url", "blobs_url", "branches_url", "collaborators_url", "comments_url",
    "commits_url",
    "compare_url", "contents_url", "contributors_url", "deployments_url", "downloads_url", "events_url",
    "forks_url",
    "git_commits_url", "git_refs_url", "git_tags_url", "hooks_url", "issue_comment_url", "issue_events_url",
    "issues_url", "keys_url", "labels_url", "languages_url", "merges_url", "milestones_url",
    "notifications_url",
    "pulls_url", "releases_url", "stargazers_url", "statuses_url", "subscribers_url", "subscription_url",
    "tags_url",
    "teams_url", "trees_url",
]  # fmt: skip
_USER_URLS = [
    "avatar_url", "url", "html_url", "followers_url", "following_url", "gists_url", "starred_url",
    "subscriptions_url", "organizations_url", "repos_url", "events_url", "received_events_url",
]  # fmt: skip


def _number(upstream: Upstream) -> int:
    return int(hashlib.sha256(upstream.name.encode()).hexdigest()[:6], 16)


def _connection(nodes: list[Any]) -> Callable[..., Any]:
    return lambda info, first=None: {"nodes": nodes[:first], "totalCount": len(nodes)}


def _matches(upstream: Upstream, query: str) -> bool:
    created = next(
        (word.removeprefix("created:") for word in query.split() if word.startswith("created:")), ""
    )
    if created:
        since, _, until = created.partition("..")
        return since <= str(upstream.facts.get("created", "2024-01-01"))[:10] <= until
    return True


def _quota(resource: str, account: Account) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(USUAL[resource]), "X-RateLimit-Remaining": str(max(account.left[resource],
        0)),
        "X-RateLimit-Reset": str(int(account.reset)), "X-RateLimit-Resource": resource,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    """Takes requests apart, and puts answers together."""

    github: FakeGitHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/git/"):
            self._git(b"")
        else:
            self._api(None)

    def do_POST(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while size := int(self.rfile.readline().strip(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/git/"):
            self._git(body)
        else:
            self._api(json.loads(body))

    def _api(self, body: Any) -> None:
        parts = urlsplit(self.path)
        shown = self.headers.get("Authorization", "")
        asked = Asked(
            self.command, parts.path, parse_qs(parts.query), body, shown.rpartition(" ")[2],
            "If-None-Match" in self.headers,
        )  # fmt: skip
        with self.github.lock:
            self.github.asked.append(asked)
            answer = self.github.answer(asked)
            data = json.dumps(answer.body).encode()
            etag = f'W/"{hashlib.sha256(data).hexdigest()}"'
            if answer.status == 200 and self.command == "GET":
                answer.headers["ETag"] = etag
                if self.headers.get("If-None-Match") == etag:
                    account = self.github.accounts.get(asked.token)
                    if account:  # what has not changed costs nothing
                        account.left["search" if "search" in asked.path else "core"] += 1
                    answer, data = Answer(304, None, answer.headers), b""
            asked.status = answer.status
            self.github.answers.append((asked, answer.body))
        self._send(answer.status, {"Content-Type": "application/json; charset=utf-8"} | answer.headers, data)

    def _git(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        _, _, owner, repository, *rest = parts.path.split("/")
        upstream = self.github.upstreams.get(f"{owner}/{repository.removesuffix('.git')}".lower())
        self.github.git_requests.append(f"{self.command} {parts.path}")
        if upstream is None or upstream.facts.get("git_gone"):
            self._send(404, {}, b"Repository not found.")
            return
        if status := upstream.facts.get("git_status"):
            self._send(status, {}, b"no")
            return
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, check=False,
            env={
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(upstream.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": "/.git/" + "/".join(rest), "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "REMOTE_ADDR": "127.0.0.1",
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            },
        )  # fmt: skip
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        self._send(status, headers, data)

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test that fails shows what was asked."""
