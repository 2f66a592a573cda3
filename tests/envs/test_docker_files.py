"""Files into and out of a sandbox, where its owner may be hostile; and what `commit` saves."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from envs.docker.backend import DockerBackend
from envs.docker.container import DockerSandbox
from envs.sandbox import Changed, ContentRefused, SandboxSpec
from warehouse.errors import FactoryError

pytestmark = pytest.mark.docker


async def _run(sandbox: DockerSandbox, script: str) -> bytes:
    done = await sandbox.exec(["bash", "-c", script], timeout=60)
    assert done.ok, done.text()
    return done.stdout


async def test_files_and_folders_go_in_and_come_back(sandbox: DockerSandbox, tmp_path: Path) -> None:
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/run.sh").write_text("echo ran")
    (tmp_path / "tree/deep/run.sh").chmod(0o700)
    (tmp_path / "tree/näme").write_bytes(b"\xff\0")
    files = {"/new/folder/a.txt": b"hello", "/data": tmp_path / "tree", "/b.bin": tmp_path / "tree/näme"}
    await sandbox.upload(files, user="nobody", mode=0o600)
    assert (
        await _run(sandbox, "cat /new/folder/a.txt; stat -c ' %U %a' /new/folder/a.txt")
        == b"hello nobody 600\n"
    )
    assert await _run(sandbox, "/bin/sh /data/deep/run.sh; stat -c %a /data/deep/run.sh") == b"ran\n755\n"
    assert await _run(sandbox, "stat -c '%U %a' / /tmp") == b"root 755\nroot 1777\n"
    back = await sandbox.download("/data", max_bytes=10_000)
    assert back == {"deep/run.sh": b"echo ran", "näme": b"\xff\0"}
    assert await sandbox.download("/b.bin", max_bytes=10) == {"b.bin": b"\xff\0"}


@pytest.mark.parametrize(
    "script",
    [
        "mkdir /out; ln -s /etc/passwd /out/link",
        "mkdir /out; echo x > /out/a; ln /out/a /out/b",
        "ln -s /etc /out",
        "mkdir /out; mkfifo /out/pipe",
        "mkdir /out; mknod /out/null c 1 3",
        "mkdir /out; head -c 20000 /dev/zero > /out/big",
        "mkdir /out; for i in 1 2 3 4; do head -c 4000 /dev/zero > /out/$i; done",
        "mkdir /out; truncate -s 1T /out/hole",
    ],
    ids=["symlink", "hardlink", "top-symlink", "fifo", "device", "large", "sum", "sparse"],
)
async def test_what_is_no_plain_file_or_too_much_is_refused(sandbox: DockerSandbox, script: str) -> None:
    await _run(sandbox, script)
    with pytest.raises(ContentRefused, match="/out in the sandbox"):
        await sandbox.download("/out", max_bytes=10_000)
    assert await _run(sandbox, "echo alive") == b"alive\n"


async def test_nothing_there_is_file_not_found(sandbox: DockerSandbox) -> None:
    with pytest.raises(FileNotFoundError):
        await sandbox.download("/nothing", max_bytes=10)


async def test_upload_takes_plain_absolute_names_and_no_links(sandbox: DockerSandbox, tmp_path: Path) -> None:
    for name in ("relative", "/a/../b", "/"):
        with pytest.raises(FactoryError, match="absolute path"):
            await sandbox.upload({name: b""})
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(FactoryError, match="links are not copied"):
        await sandbox.upload({"/data": tmp_path})
    with pytest.raises(FactoryError, match="no user 'nemo'"):
        await sandbox.upload({"/x": b""}, user="nemo")


@pytest.mark.parametrize(
    "sandbox", [{"read_only_root": True, "tmpfs": ("/tmp", "/work:size=1m")}], indirect=True
)
async def test_a_read_only_root_leaves_the_memory_file_systems(sandbox: DockerSandbox) -> None:
    refused = await sandbox.exec(["touch", "/file"], timeout=20)
    assert b"Read-only file system" in refused.stderr
    await sandbox.upload({"/work/in.txt": b"in"})
    await _run(sandbox, "cp /work/in.txt /work/out.txt")
    assert await sandbox.download("/work", max_bytes=100) == {"in.txt": b"in", "out.txt": b"in"}
    assert set(await sandbox.download("/etc/debian_version", max_bytes=100)) == {"debian_version"}
    full = await sandbox.exec(["sh", "-c", "head -c 2M /dev/zero > /work/big"], timeout=20)
    assert b"No space left" in full.stderr


async def test_commit_saves_files_and_none_of_our_settings(docker: DockerBackend, base_image: str) -> None:
    api, tag = docker.daemon.client.api, f"verifactory/test:{uuid.uuid4().hex}"
    sandbox = await docker.start(SandboxSpec(image=base_image, env={"SECRET": "1"}))
    try:
        await _run(sandbox, "echo kept > /kept")
        image = await sandbox.commit(tag)
        had, base = api.inspect_image(image)["Config"], api.inspect_image(base_image)["Config"]
        assert had["Env"] == base["Env"]
        assert (had["Cmd"], had["Entrypoint"] or []) == (base["Cmd"], base["Entrypoint"] or [])
        assert had["Labels"]["org.verifactory.owner"] == ""
        again = await docker.start(SandboxSpec(image=tag))
        assert await _run(again, "cat /kept") == b"kept\n"
        await again.stop()
    finally:
        await sandbox.stop()
        if await docker.has_image(tag):
            api.remove_image(tag)
    assert not await docker.has_image(tag)


async def test_changes_are_those_since_the_image(sandbox: DockerSandbox) -> None:
    await _run(
        sandbox,
        "cd /usr/share/doc && rm -r apt && rm dpkg/copyright && echo mine > adduser/copyright && "
        "mkdir -p new/deep && printf 'a\\0b' > new/deep/bin && chmod 755 new/deep/bin && "
        "ln -s ../../etc/shadow new/link && echo x > new/left.pyc && ln new/deep/bin new/second",
    )
    found = await sandbox.changes(
        "/usr/share/doc", keep=lambda name: not name.endswith(".pyc"), max_bytes=10_000
    )
    assert found == {
        "apt": Changed(data=None),
        "dpkg/copyright": Changed(data=None),
        "adduser/copyright": Changed(data=b"mine\n"),
        "new/deep/bin": Changed(data=b"a\0b", executable=True),
        "new/second": Changed(data=b"a\0b", executable=True),
        "new/link": Changed(data=b"../../etc/shadow", link=True),
    }
    assert await _run(sandbox, "echo alive") == b"alive\n"


@pytest.mark.parametrize("script", ["mkfifo /opt/pipe", "head -c 20000 /dev/zero > /opt/big"])
async def test_changes_that_are_no_files_or_too_much_are_refused(sandbox: DockerSandbox, script: str) -> None:
    await _run(sandbox, script)
    with pytest.raises(ContentRefused, match="in the sandbox"):
        await sandbox.changes("/opt", keep=lambda _: True, max_bytes=10_000)
