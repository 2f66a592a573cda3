"""Leaving nothing behind, and removing nothing of anybody else's.

Containers and networks carry their owner (see `owner`) and go when it is dead. Images stay, being what
makes the next run quick, until ours take more than the budget; then the ones used longest ago go first.
Nothing is ever pruned: each thing is removed by its name, and only when its labels say that this program
made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, ImageNotFound, NotFound

from envs.docker.daemon import Daemon
from envs.docker.owner import KIND, LABEL, OWNER, TAG, owner, owner_is_dead
from envs.docker.removal import remove_container
from warehouse.settings import Settings

_OURS = {"label": f"{LABEL}=1"}
_BELOW_OTHERS = {"base": 1, "proxy": 1, "debian": 2}  # removed last: everything stands on them


@dataclass(frozen=True)
class Reclaimed:
    """What was removed, by name."""

    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


async def reclaim(daemon: Daemon | None = None) -> Reclaimed:
    """Remove our containers and networks whose process is dead (a `kill -9`, a power cut)."""
    daemon = daemon or Daemon()
    return await daemon.run("the clean-up", remove_owned, daemon.client.api, owner_is_dead)


def remove_mine(api: APIClient) -> Reclaimed:
    """Remove what this process still owns."""
    me = owner()
    return remove_owned(api, lambda value: value == me)


def remove_owned(api: APIClient, chosen: Callable[[str], bool]) -> Reclaimed:
    """Remove our containers and networks whose owner is `chosen`.

    One that another process removes first is no error.
    """
    containers = [
        found["Id"]
        for found in api.containers(all=True, filters=_OURS)
        if chosen((found["Labels"] or {}).get(OWNER, ""))
    ]
    for container in containers:
        remove_container(api, container)
    networks: list[str] = []
    for network in api.networks(filters=_OURS):
        if not chosen((network["Labels"] or {}).get(OWNER, "")):
            continue
        try:
            api.remove_network(network["Id"])
            networks.append(network["Name"])
        except NotFound:
            continue
        except APIError as error:
            if "active endpoints" not in str(error.explanation):
                raise
            # a container that is not ours was put on it, or one is still going: the next clean-up takes it
    return Reclaimed(tuple(containers), tuple(networks))


def _record(settings: Settings, image: str) -> Path:
    return settings.cache / "images" / image.removeprefix("sha256:")


def mark_used(settings: Settings, image: str) -> None:
    """Remember that `image` (an id) was used now."""
    record = _record(settings, image)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.touch()


def mark_leftover(settings: Settings, api: APIClient, images: Iterable[str]) -> None:
    """Remember the step images of a failed build: they have no tag by which to know them as ours."""
    for image in list(images)[-1:]:  # the last one holds on to the ones before it
        try:
            found = api.inspect_image(image)
        except ImageNotFound:
            continue
        if not found["RepoTags"]:
            mark_used(settings, found["Id"])


@dataclass(frozen=True)
class _Image:
    id: str
    tags: tuple[str, ...]
    rank: int
    last_used: float
    size_bytes: int  # with every layer below it
    layers: tuple[tuple[Any, int], ...] = ()  # (what names the layer, bytes)


def _our_images(api: APIClient, settings: Settings) -> list[_Image]:
    """Images of ours, in the order in which they would go."""
    found = []
    for image in api.images(all=True, filters=_OURS):
        labels, tags = (
            image["Labels"] or {},
            tuple(t for t in image["RepoTags"] or () if t != "<none>:<none>"),
        )
        record = _record(settings, image["Id"])
        ours = labels.get(TAG) in tags if tags else record.exists()
        if not ours:
            continue
        last_used = record.stat().st_mtime if record.exists() else float(image["Created"])
        rank = _BELOW_OTHERS.get(labels.get(KIND, ""), 0) if tags else 0
        found.append(_Image(image["Id"], tags, rank, last_used, image["Size"]))
    return sorted(found, key=lambda image: (image.rank, image.last_used))


def _layers(api: APIClient, image: str) -> tuple[tuple[Any, int], ...]:
    """Layers from the bottom up, each named by all that is below it: shared layers get one name."""
    chain: tuple[Any, ...] = ()
    layers = []
    try:
        steps = api.history(image)
    except ImageNotFound:
        return ()  # removed by somebody since we listed it
    for step in reversed(steps):
        chain = (hash(chain), step["Created"], step["CreatedBy"], step["Size"])
        layers.append((hash(chain), step["Size"]))
    return tuple(layers)


def _disk_bytes(images: Iterable[_Image]) -> int:
    return sum(dict(layer for image in images for layer in image.layers).values())


async def enforce_disk_budget(settings: Settings, daemon: Daemon | None = None) -> list[str]:
    """Remove our images, longest unused first, until they take at most `disk_gb`.

    Returns what was removed. One question to the daemon as long as the sizes, shared layers counted each
    time, are within the budget: cheap enough for the start of every run.
    """
    daemon = daemon or Daemon()
    return await daemon.run("the disk budget", _enforce, daemon.client.api, settings)


def _enforce(api: APIClient, settings: Settings) -> list[str]:
    budget, images = settings.disk_gb * 1e9, _our_images(api, settings)
    if sum(image.size_bytes for image in images) <= budget:
        return []
    images = [replace(image, layers=_layers(api, image.id)) for image in images]
    removed: list[str] = []
    for image in _to_remove(images, budget):
        if _remove_image(api, image):
            removed.append(image.tags[0] if image.tags else image.id)
            _record(settings, image.id).unlink(missing_ok=True)
    return removed


def _to_remove(images: list[_Image], budget: float) -> list[_Image]:
    """The first of `images` (which come in the order in which they go) that bring the rest under `budget`."""
    for count in range(len(images)):
        if _disk_bytes(images[count:]) <= budget:
            return images[:count]
    return images


def _remove_image(api: APIClient, image: _Image) -> bool:
    """Remove by each of its names, never by force: one in use stays."""
    try:
        for name in image.tags or (image.id,):
            api.remove_image(name)
    except ImageNotFound:
        return True
    except APIError as error:
        if error.status_code == 409:
            return False
        raise
    return True
