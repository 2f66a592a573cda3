"""vLLM as a process of its own, in its own environment (`make rollout-env`), with a beginning and an end.

It is asked for tokens by tokens (`POST /inference/v1/generate`) and holds no tokenizer, so there is nothing
it could render or re-tokenise. Every wait has a deadline and names the engine; its output is in a file whose
last words are part of the error.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import requests

from training.forge.rollout import keeper
from training.forge.rollout.settings import EngineConfig
from warehouse.errors import FactoryError

# What vLLM is told through its environment: nothing is sent anywhere, weights are on this machine.
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_SERVER_DEV_MODE": "1"}
CPU = {"OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
LAST_WORDS = 12  # lines of the log that an error repeats
POLL = 0.2


class EngineError(FactoryError):
    """An engine that does not start, answer or take weights."""


class Server:
    """One engine. `with Server(config, folder, log) as engine:` has it ready, and ends it."""

    def __init__(self, config: EngineConfig, model: Path, log: Path, *, number: int = 0) -> None:
        self.config, self.model, self.log, self.number = config, model, log, number
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it and waits until it answers. Raises EngineError when it ends or takes too long."""
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Starts the process, and no more: several engines can then come up side by side."""
        if not self.config.python.exists():
            raise EngineError(f"There is no vLLM at {self.config.python}: run `make rollout-env`.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log.open("ab")
        grace = str(self.config.stop_seconds)
        keeping = [sys.executable, keeper.__file__, grace]
        self._process = subprocess.Popen(
            [*keeping, *self.config.command(self.model, self.port)],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C is ours to handle
        )

    def _environment(self) -> dict[str, str]:
        of_device = CPU if self.config.device == "cpu" else self.config.device_of(self.number)
        return {**os.environ, **QUIET, **of_device}

    def wait_ready(self) -> None:
        """Until it answers. Raises EngineError."""
        deadline = time.monotonic() + self.config.start_seconds
        while time.monotonic() < deadline:
            self.require_alive()
            with suppress(requests.RequestException):
                if requests.get(f"{self.url}/health", timeout=5).ok:
                    return
            time.sleep(POLL)
        raise EngineError(
            f"The engine at {self.url} was not ready after {self.config.start_seconds:g} s: "
            f"{self.last_words()}"
        )

    def require_alive(self) -> None:
        """Raises EngineError with its last words when it has ended."""
        status = self._process.poll() if self._process else None
        if self._process is None or status is not None:
            raise EngineError(f"The engine at {self.url} ended with status {status}: {self.last_words()}")

    def stop(self) -> None:
        """Ends it, and waits until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()  # the keeper ends it
            try:
                process.wait(self.config.stop_seconds + 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None

    def last_words(self) -> str:
        """The end of its output."""
        with suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            return " | ".join(lines[-LAST_WORDS:])[-2000:]
        return "it wrote nothing"


class Remote:
    """An engine that somebody else started, and ends."""

    def __init__(self, url: str, seconds: float) -> None:
        self.url, self.seconds = url, seconds

    def require_alive(self) -> None:
        """Raises EngineError when it does not say that it is well."""
        try:
            answer = requests.get(f"{self.url}/health", timeout=self.seconds)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise EngineError(f"The engine at {self.url} does not answer: {error}.") from error


def start_all(servers: Sequence[Server]) -> None:
    """Starts engines side by side; when one fails, none is left."""
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_ready()
    except BaseException:
        for server in servers:
            server.stop()
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
