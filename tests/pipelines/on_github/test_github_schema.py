"""The server of these tests, and what is asked of it, held against the schemas that GitHub publishes.

They come from the npm registry through npm, one file of each package, into the user's cache; without npm or
its registry these tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import graphql
import jsonschema
import pytest
from github_mining import mined
from github_server import SCHEMA, FakeGitHub
from github_upstream import Upstream

from pipelines.swe.github.client import GitHub
from pipelines.swe.github.queries import LISTING, details
from pipelines.swe.github.repositories import search
from warehouse.files import renamed_file
from warehouse.settings import Settings

pytestmark = pytest.mark.network
REST = ("@octokit/openapi@23.0.2", "package/generated/api.github.com.json")
GRAPHQL = ("@octokit/graphql-schema@15.26.1", "package/schema.graphql")


def published(package: str, name: str, folder: Path) -> Path:
    """A file of an npm package, fetched once a machine."""
    kept = Settings().cache / "test-schemas" / re.sub(r"\W+", "-", package) / Path(name).name
    if kept.is_file():
        return kept
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    fetched = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder), package],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    archives = list(folder.glob("*.tgz"))
    if fetched.returncode or not archives:
        pytest.skip(f"npm could not fetch {package}: {fetched.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive, renamed_file(kept) as file:
        member = archive.extractfile(name)
        assert member is not None
        file.write_bytes(member.read())
    return kept


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> graphql.GraphQLSchema:
    sdl = published(*GRAPHQL, tmp_path_factory.mktemp("graphql")).read_text()
    return graphql.build_schema(sdl, assume_valid=True)  # it has small faults of its own


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return json.loads(published(*REST, tmp_path_factory.mktemp("rest")).read_text())


def test_every_query_fits_the_published_schema(schema: graphql.GraphQLSchema) -> None:
    for query in (LISTING, details([1, 22, 333])):
        assert graphql.validate(schema, graphql.parse(query)) == []


def test_the_servers_types_are_those_published(schema: graphql.GraphQLSchema) -> None:
    """Every field, argument and type that the tests' schema has; what it leaves out is not asked for."""
    compared = 0
    for name, mine in SCHEMA.type_map.items():
        if name.startswith("__") or name == "Query":
            continue
        theirs = schema.type_map[name]
        assert type(theirs) is type(mine), name
        if isinstance(mine, graphql.GraphQLEnumType):
            assert isinstance(theirs, graphql.GraphQLEnumType)
            assert set(mine.values) <= set(theirs.values), name
        for field, definition in getattr(mine, "fields", {}).items():
            known = getattr(theirs, "fields")[field]  # noqa: B009
            assert str(definition.type) == str(known.type), f"{name}.{field}"
            for argument, given in getattr(definition, "args", {}).items():
                assert str(given.type) == str(known.args[argument].type), f"{name}.{field}({argument})"
            compared += 1
    assert compared > 60


def test_what_the_server_answers_is_what_the_published_schema_promises(
    schema: graphql.GraphQLSchema, server: FakeGitHub, settings: Settings, upstream: Upstream
) -> None:
    """Its answers are put through the published schema as if that had resolved them."""
    upstream.fix(
        2, issues=((3, "It is wrong", "It is wrong because of this"),), reviews=(("APPROVED", "Good"),)
    )
    upstream.fix(3, author=None)
    assert len(mined(settings)) == 2
    told = [(asked, body) for asked, body in server.answers if asked.path == "/graphql"]
    assert {str(asked.body["query"]).split("(")[0] for asked, _ in told} == {"query Listing", "query Details"}
    for asked, body in told:
        result = graphql.graphql_sync(
            schema, asked.body["query"], root_value=body["data"], variable_values=asked.body["variables"],
            field_resolver=lambda source, info, **_: source[info.path.key],
        )  # fmt: skip
        assert result.errors is None
        assert result.data == body["data"]


def test_repositories_and_searches_fit_the_published_schema(
    rest: dict[str, Any], server: FakeGitHub, settings: Settings, upstream: Upstream
) -> None:
    github = GitHub(settings, pause=0)
    github.get("/repos/ann/calc")
    assert search(github, "calc language:python", settings.licenses, 10) == ["ann/calc"]
    for asked, body in server.answers:
        path = re.sub(r"^/repos/[^/]+/[^/]+$", "/repos/{owner}/{repo}", asked.path)
        operation = rest["paths"][path]["get"]
        allowed = {_resolved(rest, parameter)["name"] for parameter in operation["parameters"]}
        assert set(asked.query) <= allowed
        answer = operation["responses"][str(asked.status)]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator(_nullable({"components": rest["components"], **answer}))
        assert [error.message for error in validator.iter_errors(body)] == []
    assert len(server.answers) == 2


def test_refusals_fit_the_published_schema(
    rest: dict[str, Any], server: FakeGitHub, settings: Settings, tmp_path: Path
) -> None:
    server.add(Upstream(tmp_path / "old", "ann/old", facts={"moved_to": "ann/new"}))
    server.add(Upstream(tmp_path / "new", "ann/new"))
    GitHub(settings, pause=0).get("/repos/ann/old")
    moved = next(body for asked, body in server.answers if asked.status == 301)
    error = rest["components"]["schemas"]["basic-error"]
    jsonschema.validate(moved, error)
    responses = rest["paths"]["/repos/{owner}/{repo}"]["get"]["responses"]
    assert {"301", "403", "404"} <= set(responses)


def _resolved(rest: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for part in node.get("$ref", "").removeprefix("#/").split("/"):
        if part:
            rest = rest[part]
    return rest if "$ref" in node else node


def _nullable(node: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    told = {key: _nullable(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [told, {"type": "null"}]} if node.get("nullable") is True else told
