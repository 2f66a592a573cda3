"""Registry hosts come from the clients' configuration, and credentials never leave with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from envs import registries
from warehouse.errors import FactoryError

_CACHED = (
    registries._configured_index, registries.index_is_default, registries._extra_indexes,
    registries.npm_registry, registries.npm_is_default, registries.cargo_hosts, registries.maven_hosts,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    for cached in _CACHED:
        cached.cache_clear()
    yield
    for cached in _CACHED:
        cached.cache_clear()


def test_pips_own_default_is_asked_of_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    index, files = registries._builtin_index()
    assert index.startswith("https://")
    assert index.endswith("/simple")
    if registries.index_is_default():
        assert registries.index_url() == index
        assert files in registries.python_hosts()


@pytest.mark.parametrize("variable", ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_a_mirror_replaces_the_default_and_keeps_its_secret(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "https://user:secret@mirror.example:8443/simple/")
    assert registries.index_url() == "https://mirror.example:8443/simple/"
    assert not registries.index_is_default()
    assert registries.python_hosts()[0] == "mirror.example"
    assert registries._builtin_index()[1] not in registries.hosts()


def test_both_formats_of_apt_sources_are_read() -> None:
    one_line = (
        "# deb http://no.example/ x\ndeb [arch=amd64 signed-by=/k] http://a.example/debian bookworm main\n"
    )
    deb822 = "Types: deb\nURIs: http://b.example/debian https://c.example/d\nSuites: x\n# URIs: http://no.example\n"
    found = registries.apt_uris([one_line, deb822])
    assert found == ("http://a.example/debian", "http://b.example/debian", "https://c.example/d")


def test_local_folders_are_no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///opt/simple https://extra.example/simple")
    monkeypatch.setenv("UV_INDEX", "name=https://named.example/simple")
    hosts = registries.python_hosts()
    assert {"extra.example", "named.example"} <= set(hosts)
    assert all(hosts)


def test_a_client_that_hangs_is_no_answer_and_one_that_is_missing_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registries, "CLIENT_SECONDS", 0.2)
    with pytest.raises(FactoryError, match="sleep, asked which package registry"):
        registries._run("sleep", "30")
    assert registries._run("no-such-client") == ""


def test_a_mirror_of_npm_is_told_from_its_own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    if not registries.npm_registry():
        assert registries.npm_is_default()
        pytest.skip("there is no npm")
    registries.npm_registry.cache_clear()
    monkeypatch.setenv("npm_config_registry", "https://mirror.example/npm/")
    assert registries.npm_registry() == "https://mirror.example/npm/"
    assert not registries.npm_is_default()


def test_registries_that_do_not_answer_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "_fetched", lambda url: "")
    assert registries.cargo_hosts() == ()
    assert registries.maven_hosts() == ()


@pytest.mark.skipif(shutil.which("cargo") is None, reason="there is no Cargo")
def test_cargos_index_says_where_the_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "_fetched", lambda url: '{"dl": "https://files.example/crates"}')
    index, files = registries.cargo_hosts()
    assert "." in index
    assert files == "files.example"


@pytest.mark.skipif(shutil.which("mvn") is None, reason="there is no Maven")
def test_mavens_repository_is_asked_of_maven(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(registries, "_fetched", lambda url: asked.append(url) or "there")
    assert registries.maven_hosts()
    assert all(registries.host_of(url) for url in asked)
