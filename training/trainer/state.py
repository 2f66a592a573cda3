"""What a run needs to go on exactly where it stopped: weights, optimiser, and how many steps are done.

Batches, rates, phases and stages are functions of the step and of the metrics before it, so the step is the
position in the data as well. The file is put in place by one rename, so it is whole or the one before it.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from training.trainer.sharding import share_of, whole
from training.trainer.step import Trainer
from warehouse.errors import FactoryError, storage_error
from warehouse.files import renamed_file

# What a cut or foreign checkpoint or log raises when it is read.
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, pickle.UnpicklingError)


def save(path: Path, trainer: Trainer, run_id: str, step: int) -> None:
    """Weights and optimiser after `step` steps, whole or not at all.

    The first of several workers writes what one process would, and the others must call this too.
    """
    content = {
        "run_id": run_id,
        "step": step,
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
    }
    content = whole(content, trainer.group)
    if trainer.group.first:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write(path, buffer.getvalue())


def read(path: Path, run_id: str) -> dict[str, Any]:
    """What `save` wrote. Raises one of `UNREADABLE`."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["run_id"] != run_id:
        raise ValueError(f"it is of run {state['run_id']}")
    return state


def restore(state: dict[str, Any], trainer: Trainer) -> None:
    """Puts a state into `trainer`. Raises one of `UNREADABLE` where it does not fit."""
    wanted, found = trainer.model.state_dict(), state["model"]
    for what, names in (
        ("lacks", wanted.keys() - found.keys()),
        ("holds unknown", found.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(f"checkpoint.pt {what} {', '.join(sorted(names)[:3])}")
    for name, tensor in wanted.items():
        if (found[name].dtype, found[name].shape) != (tensor.dtype, tensor.shape):
            raise ValueError(
                f"{name} is {found[name].dtype} {list(found[name].shape)}, but the run's weights are "
                f"{tensor.dtype} {list(tensor.shape)}"
            )
    trainer.model.load_state_dict({name: share_of(found[name], like) for name, like in wanted.items()})
    moments = state["optimizer"]["state"]
    for number, weight in enumerate(w for group in trainer.optimizer.param_groups for w in group["params"]):
        for name, tensor in moments.get(number, {}).items():
            if tensor.shape == weight.shape:  # all but the count of steps
                moments[number][name] = share_of(tensor, weight)
    trainer.optimizer.load_state_dict(state["optimizer"])


def damaged(folder: Path, error: BaseException) -> FactoryError:
    """The error of a run that cannot go on."""
    why = str(error).partition("\n")[0]
    return FactoryError(
        f"The training run in {folder} cannot be continued ({why}); delete it to start afresh."
    )


def write(path: Path, content: bytes) -> None:
    """Puts a file in place whole."""
    try:
        with renamed_file(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise storage_error(error, path) from error
