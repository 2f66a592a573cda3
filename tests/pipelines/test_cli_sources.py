"""Bad sources through the real command: each is told in a sentence, and the good ones are still mined."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_command import Command
from odd_repo import bare, escaping, fresh, shallow, submodule
from test_releases import Index, project, sdist

pytestmark = pytest.mark.prefect

NO_DOCKER = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def index() -> Iterator[Index]:
    server = Index()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _linked(name: str, target: str) -> bytes:
    """A source archive whose link leads out of it, and a file that would be written through the link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo(f"{name}/out")
        link.type, link.linkname = tarfile.SYMTYPE, target
        archive.addfile(link)
        through = tarfile.TarInfo(f"{name}/out/stolen")
        through.size = 3
        archive.addfile(through, io.BytesIO(b"abc"))
    return gzip.compress(buffer.getvalue())


def _bomb(name: str) -> bytes:
    """600 MiB of zeros in some 600 kB."""
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb", compresslevel=6) as zipped:
        info = tarfile.TarInfo(f"{name}/zeros")
        info.size = 600 << 20
        zipped.write(info.tobuf())
        block = bytes(8 << 20)
        for _ in range(info.size // len(block)):
            zipped.write(block)
        zipped.write(bytes(1024))
    return buffer.getvalue()


def test_bad_clones_beside_a_good_one(command: Command, tmp_path: Path) -> None:
    """Docker is absent here as well: mining needs none, and that it is absent is one more sentence."""
    good = fresh(tmp_path / "good")
    (tmp_path / "plain").mkdir()
    sources = {
        str(tmp_path / "plain"): "is no git repository",
        str(tmp_path / "nowhere"): "There is no folder",
        "https://example.org/some/project.git": "only local clones are read",
        str(shallow(tmp_path / "shallow", good)): "is a shallow clone",
        str(bare(tmp_path / "bare.git", good)): "Docker does not answer",
        str(submodule(tmp_path / "submodule")): "Docker does not answer",
        str(escaping(tmp_path / "escaping")): "",
    }
    flags = [part for source in sources for part in ("--repo", source)]
    ended = command.run("run", "swe", "--source", "git", *flags, **NO_DOCKER)
    assert ended.status == 1
    told = set(filter(None, sources.values()))
    assert len(ended.sentences) == len(told), ended.stderr
    for words in told:
        assert sum(words in sentence for sentence in ended.sentences) == 1, ended.stderr
    command.check(ended)
    assert command.reasons()["escaping: Mean keeps the fraction"] == "symlink_escape"
    assert command.counts()["candidates"] == 3
    assert command.counts()["tasks"] == 0


def test_hostile_and_broken_releases(command: Command, index: Index) -> None:
    index.add("1.0", day=0)
    index.add("1.1", sdist("pkg-1.1/../../..", project("1.1")), day=1)
    index.add("1.2", _linked("pkg-1.2", "/etc"), day=2)
    index.add("1.3", _linked("pkg-1.3", "../../.."), day=3)
    index.add("1.4", _bomb("pkg-1.4"), day=4)
    index.add("1.5", sdist("pkg-1.5", project("1.5"))[:300], day=5)
    index.add("1.6", sdist("pkg-1.6", {"pkg.py": "x = 1\n", "PKG-INFO": "License: MIT\n"}), day=6)
    ended = command.fails(
        "run", "swe", "--package", "pkg", "--package", "unknown", "--json",
        says="no package called 'unknown'", PIP_INDEX_URL=index.url, UV_DEFAULT_INDEX=index.url,
        VERIFACTORY_CACHE=str(command.folder / "cache"),
    )  # fmt: skip
    assert '"reasons"' in ended.stdout
    reasons = command.reasons()
    assert set(reasons) == {f"1.{n}" for n in range(1, 7)}
    assert reasons["1.1"] == reasons["1.2"] == reasons["1.3"] == reasons["1.4"] == "archive_hostile", reasons
    assert reasons["1.5"] == "archive_corrupt"
    assert all(reasons.values()), reasons
    written = [path for path in command.folder.rglob("*") if path.name in ("stolen", "tests", "pkg.py")]
    assert not written


def test_no_network(command: Command) -> None:
    closed = "http://127.0.0.1:9/simple/"
    command.fails(
        "run", "swe", "--package", "humanize", says="check the network",
        PIP_INDEX_URL=closed, UV_DEFAULT_INDEX=closed,
    )  # fmt: skip
    assert command.counts()["candidates"] == 0
