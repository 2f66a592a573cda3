"""The pool: a fresh sandbox per lease, ready beforehand; reuse only on request, and clean."""

from __future__ import annotations

import asyncio

import pytest

from envs.docker.backend import DockerBackend
from envs.docker.pool import SandboxPool
from envs.sandbox import SandboxSpec
from warehouse.errors import FactoryError

pytestmark = pytest.mark.docker


async def test_every_lease_is_fresh(docker: DockerBackend, base_image: str) -> None:
    seen = set()
    async with SandboxPool(docker, SandboxSpec(image=base_image), 2) as pool:
        for _ in range(3):
            async with pool.lease() as sandbox:
                seen.add(sandbox.id)
                assert not (await sandbox.exec(["test", "-e", "/mark"], timeout=20)).ok
                await sandbox.exec(["touch", "/mark"], timeout=20)
        await pool.ready()
    assert len(seen) == 3
    for each in seen:
        assert not docker.daemon.client.api.containers(all=True, filters={"id": each})


async def test_reuse_ends_processes_and_empties_scratch(docker: DockerBackend, base_image: str) -> None:
    async with SandboxPool(docker, SandboxSpec(image=base_image), 1, scratch=("/tmp", "/scratch")) as pool:
        async with pool.lease(reuse=True) as first:
            script = (
                "mkdir -p /scratch/.d; touch /tmp/.a /scratch/.d/b /kept; setsid sleep 1010 >/dev/null 2>&1 &"
            )
            await first.exec(["sh", "-c", script], timeout=20, user="root")
        async with pool.lease(reuse=True) as second:
            assert second.id == first.id
            found = await second.exec(["sh", "-c", "find /tmp /scratch -mindepth 1; ls /kept"], timeout=20)
            assert found.stdout == b"/kept\n"
            shown = await second.exec(["sh", "-c", "cat /proc/[0-9]*/cmdline"], timeout=20)
            assert b"1010" not in shown.stdout


async def test_a_sandbox_that_cannot_be_cleaned_is_not_used_again(
    docker: DockerBackend, base_image: str
) -> None:
    async with SandboxPool(docker, SandboxSpec(image=base_image), 1) as pool:
        async with pool.lease(reuse=True) as first:
            hostile = "ln -sf /bin/true /bin/sh; setsid sleep 1011 > /dev/null 2>&1 &"
            await first.exec(["bash", "-c", hostile], timeout=20)
        async with pool.lease(reuse=True) as second:
            assert second.id != first.id


async def test_a_failed_lease_is_removed_and_leases_run_side_by_side(
    docker: DockerBackend, base_image: str
) -> None:
    async with SandboxPool(docker, SandboxSpec(image=base_image), 1) as pool:
        ids: list[str] = []

        async def work() -> None:
            async with pool.lease(reuse=True) as sandbox:
                ids.append(sandbox.id)
                raise ValueError

        results = await asyncio.gather(work(), work(), return_exceptions=True)
        assert [type(r) for r in results] == [ValueError, ValueError]
        assert len(set(ids)) == 2
        async with pool.lease(reuse=True) as sandbox:
            assert sandbox.id not in ids


async def test_an_image_that_is_not_here_shows_at_the_lease(docker: DockerBackend) -> None:
    async with SandboxPool(docker, SandboxSpec(image="verifactory/none:1"), 1) as pool:
        with pytest.raises(FactoryError, match="not on this machine"):
            async with pool.lease():
                pass
