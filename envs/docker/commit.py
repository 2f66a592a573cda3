"""A container's file system as an image, with the configuration of the image it came from."""

from __future__ import annotations

import json
from typing import Any

from docker import APIClient

from envs.docker.owner import image_labels


def commit(api: APIClient, container: str, tag: str) -> str:
    """Save `container` as image `tag`; returns its id. It runs our command as our user."""
    original = api.inspect_image(api.inspect_container(container)["Image"])["Config"]
    repository, _, version = tag.rpartition(":") if ":" in tag.rpartition("/")[2] else (tag, "", "latest")
    changes = list(_restored(original, tag))
    return str(api.commit(container, repository, version, pause=True, changes=changes)["Id"])


def _restored(original: dict[str, Any], tag: str) -> list[str]:
    labels = " ".join(f"{key}={json.dumps(value)}" for key, value in image_labels("commit", tag).items())
    changes = [f"LABEL {labels}", f"CMD {json.dumps(original.get('Cmd') or ['/bin/sh'])}"]
    if original.get("Entrypoint"):
        changes.append(f"ENTRYPOINT {json.dumps(original['Entrypoint'])}")
    if original.get("User"):
        changes.append(f"USER {original['User']}")
    return changes
