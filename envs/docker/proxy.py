"""The image that the filtering proxy runs from: our Debian, Python, and `proxy_server.py`."""

from __future__ import annotations

from pathlib import Path

from docker import DockerClient

from envs import images
from envs.docker.daemon import Daemon
from warehouse.settings import Settings

SUITE = "bookworm"
_SERVER = Path(__file__).with_name("proxy_server.py")


async def ensure_proxy_image(
    settings: Settings, daemon: Daemon, progress: images.Progress | None = None
) -> str:
    """The tag of the proxy's image, built when it is missing."""
    base = await images.ensure_base(SUITE, settings, daemon=daemon, progress=progress)
    return await daemon.run("the build of the filtering proxy", _build, daemon.client, base, settings)


def _build(client: DockerClient, base: str, settings: Settings) -> str:
    dockerfile = (
        f"FROM {base}\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends python3 "
        "&& rm -rf /var/lib/apt/lists/*\n"
        "COPY proxy_server.py /proxy_server.py\n"
    )
    files = {"Dockerfile": dockerfile.encode(), "proxy_server.py": _SERVER.read_bytes()}
    return images.build_own(client, "proxy", files, settings)
