"""The end of a container of ours."""

from __future__ import annotations

from docker import APIClient
from docker.errors import APIError, NotFound


def remove_container(api: APIClient, container: str) -> None:
    """Remove a container of ours, running or not; one that is gone, or going, is as good as removed."""
    try:
        api.remove_container(container, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if "already in progress" not in str(error.explanation):
            raise
