"""The archive reader against archives made to hurt: each is refused with its reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.swe.archive import ArchiveLimits, read_archive
from pipelines.swe.change import Refused
from pipelines.swe.trees import EXECUTABLE, FILE, LINK, ObjectStore

LIMITS = ArchiveLimits(
    members=50, member_bytes=1 << 20, total_bytes=4 << 20, ratio_from_bytes=1 << 18, header_bytes=1 << 16
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return ObjectStore.create(tmp_path_factory.mktemp("archive") / "objects.git")


def member(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data) if fields.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def targz(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "p-1.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(*members)))
    return path


def refused(path: Path, store: ObjectStore) -> Refused:
    with pytest.raises(Refused) as caught:
        read_archive(path, store, LIMITS)
    return caught.value


GOOD = (
    member("p-1", type=tarfile.DIRTYPE),
    member("p-1/setup.py", b"print()\r\n"),
    member("p-1/run.sh", b"#!/bin/sh\n", mode=0o755),
    member("p-1/caf\udce9.txt", b"\xe9"),
    member("p-1/docs/link", type=tarfile.SYMTYPE, linkname="../setup.py"),
    member("p-1/copy.py", type=tarfile.LNKTYPE, linkname="p-1/setup.py"),
    member("p-1/" + "long/" * 40 + "x", b"deep"),
)


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [("tar.gz", gzip.compress), ("tar.bz2", bz2.compress), ("tar.xz", lzma.compress), ("tar", bytes)],
)
def test_an_honest_tar(
    tmp_path: Path, store: ObjectStore, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"p-1.{suffix}"
    path.write_bytes(pack(tar_bytes(*GOOD, format=tarfile.GNU_FORMAT)))
    tree = store.tree(read_archive(path, store, LIMITS))
    assert tree.entry("setup.py") == (FILE, b"print()\r\n")
    assert tree.entry("run.sh") == (EXECUTABLE, b"#!/bin/sh\n")
    assert tree.entry("docs/link") == (LINK, b"../setup.py")
    assert tree["copy.py"] == tree["setup.py"]
    assert tree["caf\udce9.txt"] == b"\xe9"
    assert tree["long/" * 40 + "x"] == b"deep"
    assert list(tmp_path.iterdir()) == [path]


def test_an_honest_zip(tmp_path: Path, store: ObjectStore) -> None:
    path = tmp_path / "p-1.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("p-1/", b"")
        archive.writestr("p-1/a.py", b"a\n" * 1000)
        link = zipfile.ZipInfo("p-1/l")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "a.py")
    tree = store.tree(read_archive(path, store, LIMITS))
    assert {name: tree.entry(name) for name in tree} == {"a.py": (FILE, b"a\n" * 1000), "l": (LINK, b"a.py")}


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("p-1/../../etc/passwd"),
        member("p-1/a/../b"),
        member("p-1/.git/hooks/pre-commit"),
        member("p-1/sub/.GIT/config"),
        member("p-1/bell\x07"),
        member("p-1/back\\slash"),
        member("p-1/l", type=tarfile.SYMTYPE, linkname="../../x"),
        member("p-1/l", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("p-1/l", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("p-1/l", type=tarfile.LNKTYPE, linkname="p-1/../../x"),
        member("p-1/dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("p-1/disk", type=tarfile.BLKTYPE, devmajor=8),
        member("p-1/pipe", type=tarfile.FIFOTYPE),
        member("p-1/ok.py"),
        member("p-1/OK.py"),
        member("p-1/ok.py/below"),
        member("p-1/big", b"\0" * (2 << 20)),
    ],
    ids=lambda m: f"{m[0].name[:20]}-{m[0].linkname}",
)
def test_hostile_members(tmp_path: Path, store: ObjectStore, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    assert refused(targz(tmp_path, member("p-1/ok.py"), bad), store).reason == "archive_hostile"


def test_a_file_through_a_link(tmp_path: Path, store: ObjectStore) -> None:
    path = targz(tmp_path, member("p-1/l", type=tarfile.SYMTYPE, linkname="sub"), member("p-1/l/x"))
    assert refused(path, store).reason == "archive_hostile"


def test_too_many_members(tmp_path: Path, store: ObjectStore) -> None:
    assert "50 members" in refused(targz(tmp_path, *[member(f"p-1/{n}") for n in range(60)]), store).detail


def test_a_bomb_is_stopped_early_and_in_little_memory(tmp_path: Path, store: ObjectStore) -> None:
    path = tmp_path / "p-1.tar.gz"
    with gzip.open(path, "wb") as out:
        info = tarfile.TarInfo("p-1/zeros")
        info.size = 1 << 30
        out.write(info.tobuf())
        for _ in range(64):
            out.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(path, store).reason == "archive_hostile"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_header_bomb(tmp_path: Path, store: ObjectStore) -> None:
    path = tmp_path / "p-1.tar.gz"
    with gzip.open(path, "wb") as out:
        info = tarfile.TarInfo("././@PaxHeader")
        info.type, info.size = tarfile.XHDTYPE, 1 << 30
        out.write(info.tobuf())
        out.write(bytes(4 << 20))
    assert "header" in refused(path, store).detail


def test_a_negative_size(tmp_path: Path, store: ObjectStore) -> None:
    block = bytearray(tarfile.TarInfo("p-1/a").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + b"\xfc\x00"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    path = tmp_path / "p-1.tar.gz"
    path.write_bytes(gzip.compress(tar_bytes(member("p-1/z", b"x" * 5000))[: 512 + 5120] + bytes(block)))
    assert refused(path, store).reason == "archive_hostile"


def test_zip_attacks(tmp_path: Path, store: ObjectStore) -> None:
    def make(name: str, data: bytes, attr: int = 0) -> Path:
        path = tmp_path / "p-1.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, attr
            archive.writestr(info, data)
        return path

    assert refused(make("p-1/../x", b""), store).reason == "archive_hostile"
    assert refused(make("/abs", b""), store).reason == "archive_hostile"
    assert refused(make("p-1/l", b"../../x", (stat.S_IFLNK | 0o777) << 16), store).reason == "archive_hostile"
    assert refused(make("p-1/p", b"", (stat.S_IFIFO | 0o644) << 16), store).reason == "archive_hostile"
    assert refused(make("p-1/zeros", bytes(1 << 20)), store).detail.endswith("times its size")


def test_damage(tmp_path: Path, store: ObjectStore) -> None:
    whole = gzip.compress(tar_bytes(*[member(f"p-1/{n}", bytes(range(256)) * 20) for n in range(10)]))
    for name, data in {
        "cut.tar.gz": whole[: len(whole) // 2],
        "noise.tar.gz": b"not an archive at all" * 100,
        "empty.tar.gz": b"",
        "noise.zip": b"PK\3\4" + bytes(100),
        "flipped.tar.gz": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
        "halfway.tar": tar_bytes(member("p-1/a"))[:700],
        "after.tar": tar_bytes(member("p-1/a")) + b"more",
        "two.tar": tar_bytes(member("p-1/a"), member("q-1/a")),
        "bare.tar": tar_bytes(member("a.py")),
        "other.rar": b"Rar!",
    }.items():
        (tmp_path / name).write_bytes(data)
        assert refused(tmp_path / name, store).reason == "archive_corrupt", name


WHOLE = tar_bytes(*GOOD)


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, len(WHOLE) - 1),
    value=st.integers(0, 255),
    cut=st.integers(0, len(WHOLE)),
    kind=st.booleans(),
)
def test_any_damage_is_a_refusal(
    tmp_path: Path, store: ObjectStore, at: int, value: int, cut: int, kind: bool
) -> None:
    path = tmp_path / "fuzz.tar"
    path.write_bytes(WHOLE[:cut] if kind else WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :])
    with suppress(Refused):  # any other error fails the test
        read_archive(path, store, LIMITS)
