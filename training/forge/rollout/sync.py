"""Weights from the trainer into running engines, through vLLM's weight-transfer API.

One update is: pause (answers in the making are finished with the old weights) → start → the trainer
broadcasts the parcels while each engine receives them → finish, which stamps the version → empty the prefix
cache, whose keys are of the old weights → resume. The trunk only: MTP modules are a draft model's weights.

The trainer is rank 0 of one group of all engines' workers. Each step has a deadline and names the engine: a
collective runs in a thread of its own, so that an engine which dies in the middle is an error here, not a
wait. After an error the engines are paused, in an unknown state: start them again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from datetime import timedelta
from typing import Any

import requests
import torch.distributed as dist
from torch import Tensor

from training.forge.rollout.parcels import PARCEL_BYTES, Item, pack, parcels
from training.forge.rollout.server import EngineError
from training.model.keymap import entries
from training.model.model import Model


class WeightSync:
    """The trainer's end. `push` may be called again and again."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        seconds: float = 120,
        parcel_bytes: int = PARCEL_BYTES,
        host: str = "127.0.0.1",
    ) -> None:
        """Connects to the engines at `urls`; `host` is this machine as they reach it."""
        self.urls, self.seconds, self.parcel_bytes = tuple(urls), seconds, parcel_bytes
        self.patience = timedelta(seconds=seconds)
        self.group = self._connect(host)

    def push(self, model: Model, version: int) -> None:
        """Gives the engines the trunk of `model` as `version`. Raises EngineError."""
        items, tensors = trunk(model)
        update = {
            "names": [item.name for item in items],
            "dtype_names": [str(item.dtype).removeprefix("torch.") for item in items],
            "shapes": [list(item.shape) for item in items],
            "parcel_bytes": self.parcel_bytes,
        }
        self._each("pause?mode=wait", None)
        self._each("start_weight_update", None)
        waiting = {url: self._post(url, "update_weights", {"update_info": update}) for url in self.urls}
        waiting["the trainer's broadcast"] = _aside(lambda: self._broadcast(items, tensors))
        self._gather(waiting, "update_weights")
        self._each("finish_weight_update", {"weight_version": str(version)})
        self._each("reset_prefix_cache", None)
        self._each("resume", None)

    def versions(self) -> list[str]:
        """The version stamp of each engine's weights. Raises EngineError."""
        return [self._version(url) for url in self.urls]

    def _version(self, url: str) -> str:
        try:
            answer = requests.get(f"{url}/weight_info", timeout=self.seconds)
            answer.raise_for_status()
            return str(answer.json()["weight_version"])
        except (requests.RequestException, KeyError) as error:
            raise EngineError(f"The engine at {url} does not tell its weights' version: {error}.") from error

    def _connect(self, host: str) -> Any:
        sizes = [self._world(url) for url in self.urls]
        world = 1 + sum(sizes)
        store = dist.TCPStore(host, 0, world, True, self.patience, wait_for_workers=False)
        waiting: dict[str, Future[Any]] = {}
        first = 1
        for url, size in zip(self.urls, sizes, strict=True):
            place = {"host": host, "port": store.port, "world_size": world, "rank_offset": first,
                     "seconds": self.seconds}  # fmt: skip
            waiting[url] = self._post(url, "init_weight_transfer_engine", {"init_info": place})
            first += size
        joined = _aside(
            lambda: dist.ProcessGroupGloo(dist.PrefixStore("weights", store), 0, world, self.patience)
        )
        self._gather(waiting | {"the trainer's group": joined}, "init_weight_transfer_engine")
        return joined.result()

    def _world(self, url: str) -> int:
        try:
            answer = requests.get(f"{url}/get_world_size", timeout=self.seconds)
            answer.raise_for_status()
            return int(answer.json()["world_size"])
        except requests.RequestException as error:
            raise EngineError(
                f"The engine at {url} does not tell how many workers it has: {error}."
            ) from error

    def _broadcast(self, items: list[Item], tensors: Iterator[Tensor]) -> None:
        for parcel in parcels(items, self.parcel_bytes):
            self.group.broadcast(pack([next(tensors) for _ in parcel]), 0).wait()

    def _each(self, path: str, body: dict[str, Any] | None) -> None:
        self._gather({url: self._post(url, path, body) for url in self.urls}, path)

    def _post(self, url: str, path: str, body: dict[str, Any] | None) -> Future[Any]:
        def post() -> None:
            answer = requests.post(f"{url}/{path}", json=body, timeout=self.seconds)
            if not answer.ok:
                raise EngineError(f"HTTP {answer.status_code}: {answer.text[:300]}")

        return _aside(post)

    def _gather(self, waiting: dict[str, Future[Any]], step: str) -> None:
        """Until all are done; the first that fails, or is late, is the error."""
        done, late = wait(waiting.values(), self.seconds + 5, return_when=FIRST_EXCEPTION)
        for name, future in waiting.items():
            if future in done and (error := future.exception()) is not None:
                raise EngineError(f"{_peer(name)} failed at {step}: {error}") from error
        for name, future in waiting.items():
            if future in late:
                raise EngineError(f"{_peer(name)} did not finish {step} within {self.seconds:g} s.")


def trunk(model: Model) -> tuple[list[Item], Iterator[Tensor]]:
    """What an engine loads, in the Hugging Face layout: its list, and the tensors in that order."""
    table = entries(model.config.replace(mtp_depth=0))
    weights = model.state_dict()
    items = [
        Item(key, part.dtype, tuple(part.shape))
        for entry in table
        for key, part in entry.split(weights[entry.ours])
    ]
    return items, (part for entry in table for _, part in entry.split(weights[entry.ours]))


def _peer(name: str) -> str:
    return f"The engine at {name}" if "://" in name else name[0].upper() + name[1:]


def _aside(task: Callable[[], Any]) -> Future[Any]:
    """`task` in a thread that does not keep the program alive."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(task())
        except BaseException as error:  # whoever waits gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
