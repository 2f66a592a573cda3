"""Mining releases: the real index where there is one, and one on loopback that misbehaves as real ones do."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from packaging.version import Version
from urllib3.util import Retry

from pipelines.family import Mined
from pipelines.swe import releases
from pipelines.swe.change import SourceError
from pipelines.swe.releases import Release, consecutive, mine, select
from pipelines.swe.split import split
from pipelines.swe.statement import draft
from pipelines.swe.trees import ObjectStore
from warehouse.settings import Settings

MIT = "Permission is hereby granted, free of charge ... shall be included in all copies\n"


def is_test(path: str) -> bool:
    return "tests" in PurePosixPath(path).parts[:-1] or PurePosixPath(path).name.startswith("test_")


def sdist(name: str, files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(f"{name}/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)


def project(version: str, **files: str) -> dict[str, str]:
    return {
        "PKG-INFO": f"Version: {version}\nLicense: MIT\nAuthor: Ann\n",
        "LICENSE": MIT,
        "pkg.py": f"VERSION = {version!r}\n",
        "tests/test_pkg.py": f"assert {version!r}\n",
    } | {name.replace("__", "."): text for name, text in files.items()}


class Index(ThreadingHTTPServer):
    """A simple index in PEP 691 form. `failures` requests are answered 503 first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.entries: list[dict[str, Any]] = []
        self.failures = 0
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple/"

    def add(
        self, version: str, data: bytes | None = None, *, day: int, suffix: str = ".tar.gz", **fields: Any
    ) -> None:
        name = f"pkg-{version}{suffix}"
        data = sdist(f"pkg-{version}", project(version)) if data is None else data
        self.files[name] = data
        uploaded = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=day)
        entry = {
            "filename": name,
            "url": f"/files/{name}",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            "upload-time": uploaded.isoformat().replace("+00:00", "Z"),
        }
        self.entries.append(entry | fields)


class _Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.server.failures > 0:
            self.server.failures -= 1
            return self._answer(503, b"", "text/plain")
        if self.path.startswith("/simple/pkg"):
            page = {
                "meta": {"api-version": "1.1"},
                "name": "pkg",
                "files": self.server.entries,
                "versions": [],
            }
            return self._answer(200, json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")
        data = self.server.files.get(self.path.rpartition("/")[2])
        return self._answer(200 if data is not None else 404, data or b"", "application/octet-stream")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    server = Index()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setattr(releases, "index_url", lambda: server.url)
    monkeypatch.setattr(releases, "RETRIES", releases.RETRIES.new(backoff_factor=0.01))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mined(tmp_path: Path) -> Callable[..., list[Mined]]:
    settings = Settings(cache=tmp_path / "cache", home=tmp_path / "home")
    return lambda package="pkg", **options: list(mine(package, settings, is_test=is_test, **options))


def release(version: str, day: int) -> Release:
    uploaded = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return Release(Version(version), uploaded, f"pkg-{version}.tar.gz", "", None)  # type: ignore[arg-type]


def test_predecessors() -> None:
    published = [
        ("1.9.4", 1),
        ("2.0.0", 2),
        ("1.9.5", 3),
        ("2.0.1", 4),
        ("1.10.0", 5),
        ("2.1.0", 6),
        ("2.1.0.post1", 7),
    ]
    pairs = consecutive([release(version, day) for version, day in published])
    assert [(str(pair.base.version), str(pair.gold.version)) for pair in pairs] == [
        ("2.1.0", "2.1.0.post1"),
        ("2.0.1", "2.1.0"),
        ("1.9.5", "1.10.0"),
        ("2.0.0", "2.0.1"),
        ("1.9.4", "1.9.5"),
        ("1.9.4", "2.0.0"),
    ]


def test_selection() -> None:
    pairs = consecutive([release("1.0", 0), release("1.1", 10), release("1.2", 20)])
    day = datetime(2023, 1, 15, tzinfo=UTC)
    assert [str(pair.gold.version) for pair in select(pairs, "pkg", since=day)] == ["1.2"]
    assert [str(pair.gold.version) for pair in select(pairs, "pkg", until=day)] == ["1.1"]
    assert [str(pair.gold.version) for pair in select(pairs, "pkg", versions=["1.1.0"])] == ["1.1"]
    with pytest.raises(SourceError, match=r"no final source release 1\.0 .*1\.2, 1\.1"):
        select(pairs, "pkg", versions=["1.0"])
    with pytest.raises(SourceError, match="is no version"):
        select(pairs, "pkg", versions=["newest"])


def test_newest_first_and_only_what_counts(index: Index, mined: Callable[..., list[Mined]]) -> None:
    index.add("1.0", day=0)
    index.add("1.1", day=1)
    index.add("1.2rc1", day=2)
    index.add("1.2", day=3, yanked="broken")
    index.add("1.3", day=4)
    index.add("1.4", day=5, suffix="-py3-none-any.whl")
    found = mined()
    assert [(m.candidate.base_ref, m.candidate.gold_ref, m.candidate.reason) for m in found] == [
        ("1.1", "1.3", ""),
        ("1.0", "1.1", ""),
    ]
    first = found[0]
    assert first.change.source_date == datetime(2023, 1, 5, tzinfo=UTC)
    assert (first.source.license, first.source.attribution) == ("MIT", "Ann")
    assert sorted(ObjectStore.open(first.change.store).tree(first.change.gold_tree)) == sorted(project("1.3"))


def test_the_cache_is_used_and_checked(
    index: Index, mined: Callable[..., list[Mined]], tmp_path: Path
) -> None:
    index.add("1.0", day=0)
    index.add("1.1", day=1)
    assert mined()[0].change
    asked = len(index.requests)
    assert mined()[0].change
    assert len(index.requests) == asked + 1
    for archive in (tmp_path / "cache/sdists").rglob("*.tar.gz"):
        archive.write_bytes(b"damaged")
    assert mined()[0].change
    assert len(index.requests) == asked + 4
    assert len([path for path in (tmp_path / "cache/sdists").rglob("*") if path.is_file()]) == 2


def test_what_is_wrong_with_one_release_is_its_reason(
    index: Index, mined: Callable[..., list[Mined]]
) -> None:
    index.add("1.0", day=0)
    index.add("1.1", sdist("pkg-1.1", {"pkg.py": "x", "PKG-INFO": "License: MIT"}), day=1)
    index.add("1.2", sdist("pkg-1.2/../..", project("1.2")), day=2)
    index.add("1.3", sdist("pkg-1.3", project("1.3"))[:200], day=3)
    index.add("1.4", day=4, hashes={"sha256": "0" * 64})
    index.add("1.5", day=5, hashes={})
    index.add("1.6", day=6)
    index.add("1.7", sdist("pkg-1.7", project("1.7") | {"PKG-INFO": "License: GPLv3", "LICENSE": "?"}), day=7)
    index.add("1.8", sdist("pkg-1.8", project("1.6") | {"PKG-INFO": "Version: 1.8\nLicense: MIT\n"}), day=8)
    reasons = {m.candidate.gold_ref: m.candidate.reason for m in mined()}
    assert reasons == {
        "1.1": "no_tests", "1.2": "archive_hostile", "1.3": "archive_corrupt", "1.4": "archive_corrupt",
        "1.5": "no_digest", "1.6": "no_digest",
        "1.7": "license_not_permitted", "1.8": "license_not_permitted",
    }  # fmt: skip
    details = {m.candidate.gold_ref: json.loads(m.candidate.detail)["why"] for m in mined()}
    assert details["1.3"].startswith("pkg-1.3.tar.gz: ")
    assert "sha256" in details["1.4"]


def test_an_index_that_stumbles(index: Index, mined: Callable[..., list[Mined]]) -> None:
    index.add("1.0", day=0)
    index.add("1.1", day=1)
    index.failures = 3
    assert mined()[0].change


def test_sentences(index: Index, mined: Callable[..., list[Mined]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="no package called 'nothing-here'"):
        mined("Nothing_Here")
    index.add("1.0", day=0, suffix="-py3-none-any.whl")
    with pytest.raises(SourceError, match="pkg has no final source release"):
        mined()
    index.failures = 99
    with pytest.raises(SourceError, match="could not be asked for pkg"):
        mined()
    index.failures = 0
    monkeypatch.setattr(releases, "RETRIES", Retry(total=0))
    monkeypatch.setattr(releases, "index_url", lambda: "http://127.0.0.1:9/simple/")
    with pytest.raises(SourceError, match="check the network") as error:
        mined()
    assert "\n" not in str(error.value)


def test_a_server_that_never_answers(
    mined: Callable[..., list[Mined]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(
            releases, "index_url", lambda: f"http://127.0.0.1:{silent.getsockname()[1]}/simple/"
        )
        monkeypatch.setattr(releases, "RETRIES", Retry(total=0))
        monkeypatch.setattr(releases, "TIMEOUT_SECONDS", 0.2)
        with pytest.raises(SourceError, match=r"did not answer|could not be asked"):
            mined()


@pytest.mark.network
def test_a_real_package(mined: Callable[..., list[Mined]]) -> None:
    (found,) = mined("boltons", versions=["26.1.0"])
    assert (found.candidate.base_ref, found.candidate.reason) == ("26.0.0", "")
    assert found.source.license == "BSD-3-Clause"
    store = ObjectStore.open(found.change.store)
    result = split(store, found.change.base_tree, found.change.gold_tree, is_test)
    assert b"+++ b/boltons/strutils.py" in result.gold_patch
    assert "tests/test_strutils.py" in result.hidden
    base, gold = store.tree(found.change.base_tree), store.tree(found.change.gold_tree)
    statement = draft(found.change, base, gold, result.gold_patch)
    assert "mangling words ending in 'ss'" in statement.text
    assert statement.source == "changelog"
