"""Defaults that make Prefect quiet, offline and patient; a value set by the user always wins.

An ephemeral server needs more than Prefect's default 20 s to start on a cold machine; telemetry is off; logs
stay local, because an ephemeral server is gone before the last of them are sent.
"""

from __future__ import annotations

import os

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
}


def configure_prefect() -> None:
    """Set each default that the environment does not set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
