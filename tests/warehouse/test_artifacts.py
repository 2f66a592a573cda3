"""Bytes by their sha256."""

from __future__ import annotations

import hashlib

import pytest

from warehouse.artifacts import ArtifactStore
from warehouse.errors import FactoryError
from warehouse.settings import Settings


@pytest.mark.parametrize("data", [b"", b"log line\n" * 10_000, bytes(range(256))])
def test_what_is_put_comes_back(settings: Settings, data: bytes) -> None:
    store = ArtifactStore(settings)
    artifact = store.put(data, "build_log")
    assert artifact.sha256 == hashlib.sha256(data).hexdigest()
    assert (artifact.kind, artifact.size_bytes) == ("build_log", len(data))
    assert store.get(artifact.sha256) == data
    assert store.put(data, "build_log").sha256 == artifact.sha256
    files = [path for path in settings.artifacts.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [f"{artifact.sha256}.zst"]


def test_logs_are_stored_small(settings: Settings) -> None:
    artifact = ArtifactStore(settings).put(b"the same line again\n" * 50_000, "log")
    (file,) = (path for path in settings.artifacts.rglob("*.zst"))
    assert file.stat().st_size < artifact.size_bytes / 100


def test_missing_damaged_and_misnamed(settings: Settings) -> None:
    store = ArtifactStore(settings)
    with pytest.raises(FactoryError, match="There is no artifact"):
        store.get("0" * 64)
    with pytest.raises(FactoryError, match="is not a sha256"):
        store.get("../../etc/passwd")
    one, other = store.put(b"one", "log"), store.put(b"other", "log")
    path = {p.name[:64]: p for p in settings.artifacts.rglob("*.zst")}
    path[one.sha256].write_bytes(path[other.sha256].read_bytes())
    with pytest.raises(FactoryError, match="not those it is named after"):
        store.get(one.sha256)
    path[one.sha256].write_bytes(b"not zstd")
    with pytest.raises(FactoryError, match="is damaged"):
        store.get(one.sha256)
