"""Weights to and from the Hugging Face layout: `config.json` and safetensors files, one or several.

A folder is written whole beside its place and then put there by a rename, so that what stands under a name
is a whole checkpoint. It is read tensor by tensor into weights allocated once; files are mapped, never read
whole. Block-quantised FP8 weights (`weight` with `weight_scale_inv`) are dequantised on the way. Before a
weight is used, keys, shapes and types are compared with what `config.json` says, and each value must be
finite: what is wrong is told as one sentence that names file and key.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.model.config import ModelConfig
from training.model.hf_config import from_hf, read_config, to_hf
from training.model.keymap import Entry, entries
from training.model.model import Model
from warehouse.errors import FactoryError, storage_error

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 4 << 30
SCALE = "_scale_inv"  # of an FP8 weight: one factor for each block
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def save(
    model: Model,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Writes `model` to `folder`, which must not exist yet, and returns it.

    `dtype` casts on the way out; without it the files hold every bit of the weights. `extra` goes into
    `config.json` (for example `eos_token_id`).
    """
    if folder.exists():
        raise FactoryError(f"There is something at {folder} already; name a new folder for the checkpoint.")
    table = entries(model.config)
    tensors = model.state_dict()
    assert {entry.ours for entry in table} == set(tensors), "the key map does not cover the model"
    stored = dtype or next(model.parameters()).dtype
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        _write_shards(_outgoing(table, tensors, dtype), partial, shard_bytes)
        config = to_hf(model.config, str(stored).removeprefix("torch."), extra)
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        os.rename(partial, folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load(folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Model:
    """The model in `folder`, weights as `dtype`, with as many MTP modules as the files hold.

    Raises FactoryError where files, keys, shapes, types or values are not those of a whole M2 checkpoint.
    """
    content = read_config(folder / CONFIG)
    with ExitStack() as stack:
        config = from_hf(content, str(folder / CONFIG))
        files = _open(folder, _fp8_block(content, folder), stack)
        config = config.replace(mtp_depth=_mtp_layers(files, config.layers))
        table = entries(config)
        _check_keys(files, table, folder)
        model = allocate(config, "meta").to(dtype).to_empty(device=device)
        tensors = model.state_dict()
        with torch.no_grad():
            for entry in table:
                for i, key in enumerate(entry.theirs):
                    _fill(entry.part(tensors[entry.ours], i), files, key)
    return model


def allocate(config: ModelConfig, device: torch.device | str) -> Model:
    """A model whose weights have places on `device` but no values; on "meta" not even places."""
    with torch.device(device):
        return Model(config, seed=None)


def dequantise(weight: Tensor, scale: Tensor, block: tuple[int, int]) -> Tensor:
    """An FP8 matrix times its blocks' factors, in float32; blocks at the edges may be cut."""
    rows, columns = weight.shape
    wide = scale.float().repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
    return weight.float() * wide


def _outgoing(
    table: list[Entry], tensors: dict[str, Tensor], dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    for entry in table:
        for key, tensor in entry.split(tensors[entry.ours]):
            yield key, tensor.detach().to(device="cpu", dtype=dtype or tensor.dtype).contiguous()


def _write_shards(outgoing: Iterator[tuple[str, Tensor]], folder: Path, shard_bytes: int) -> None:
    """Files of at most `shard_bytes` (or one tensor), and an index of them if there is more than one."""
    shards: list[list[str]] = []
    pending: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(pending, folder / f"{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()

    for key, tensor in outgoing:
        if pending and size + tensor.nbytes > shard_bytes:
            flush()
            size = 0
        pending[key] = tensor.clone() if tensor._is_view() else tensor
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    if len(shards) == 1:
        os.rename(folder / "0.part", folder / SINGLE)
        return
    placed = {}
    for number, keys in enumerate(shards):
        name = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        os.rename(folder / f"{number}.part", folder / name)
        placed |= dict.fromkeys(keys, name)
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


class _Files:
    """The tensors of a checkpoint by key, in whichever file they are."""

    def __init__(self, opened: dict[Path, Any], placed: dict[str, Path], block: tuple[int, int]) -> None:
        self.opened, self.placed = opened, placed
        self.block = block  # rows and columns that share a factor, where weights are FP8

    def tensor(self, key: str) -> Tensor:
        path = self.placed[key]
        try:
            return self.opened[path].get_tensor(key)
        except (SafetensorError, RuntimeError) as error:
            raise FactoryError(f"{key} in {path} cannot be read: {error}; fetch that file again.") from error


def _fp8_block(content: dict[str, Any], folder: Path) -> tuple[int, int]:
    quantisation = content.get("quantization_config") or {}
    rows, columns = quantisation.get("weight_block_size") or (128, 128)
    if quantisation.get("quant_method", "fp8") != "fp8":
        raise FactoryError(
            f"{folder / CONFIG} says that weights are {quantisation['quant_method']}; only floating-point "
            "weights, or FP8 with block scales, can be loaded."
        )
    return rows, columns


def _open(folder: Path, block: tuple[int, int], stack: ExitStack) -> _Files:
    if (folder / INDEX).exists():
        try:
            names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
            placed = {key: folder / name for key, name in names.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactoryError(f"The index {folder / INDEX} is damaged; fetch that file again.") from error
    else:
        placed = None
    opened = {}
    for path in sorted(set(placed.values())) if placed is not None else [folder / SINGLE]:
        try:
            opened[path] = stack.enter_context(safe_open(path, "pt"))
        except FileNotFoundError:
            raise FactoryError(f"The checkpoint lacks {path}; fetch that file.") from None
        except (SafetensorError, OSError) as error:
            raise FactoryError(f"{path} is cut off or damaged ({error}); fetch that file again.") from error
    if placed is None:
        placed = dict.fromkeys(opened[folder / SINGLE].keys(), folder / SINGLE)
    return _Files(opened, placed, block)


def _mtp_layers(files: _Files, layers: int) -> int:
    """How many layers after the trunk's there are keys of."""
    numbers = {int(n) for key in files.placed if (n := _layer(key)).isdigit()}
    return max([n - layers + 1 for n in numbers if n >= layers], default=0)


def _layer(key: str) -> str:
    return key.removeprefix("model.layers.").partition(".")[0] if key.startswith("model.layers.") else ""


def _check_keys(files: _Files, table: list[Entry], folder: Path) -> None:
    wanted = {key for entry in table for key in entry.theirs}
    present = {key for key in files.placed if not key.endswith(SCALE)}
    strays = {key for key in files.placed if key.endswith(SCALE) and key.removesuffix(SCALE) not in present}
    for what, keys, mend in (
        ("lacks", wanted - present, "fetch its missing files, or correct the sizes in config.json"),
        (
            "holds unknown keys:",
            (present - wanted) | strays,
            "name a MiniMax-M2 checkpoint that fits its config.json",
        ),
    ):
        if keys:
            named = ", ".join(sorted(keys)[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise FactoryError(f"The checkpoint {folder} {what} {named}; {mend}.")


def _fill(target: Tensor, files: _Files, key: str) -> None:
    """Copies the checkpoint's tensor `key` into `target`, dequantised where it is FP8."""
    tensor, path = files.tensor(key), files.placed[key]
    if tensor.shape != target.shape:
        raise FactoryError(
            f"{key} in {path} has shape {list(tensor.shape)}, but config.json makes it "
            f"{list(target.shape)}; use the config.json that belongs to the weights."
        )
    scaled = key + SCALE in files.placed
    if tensor.dtype not in (FP8 if scaled else FLOATS) or (scaled and tensor.dim() != 2):
        raise FactoryError(
            f"{key} in {path} is {str(tensor.dtype).removeprefix('torch.')} with{'' if scaled else 'out'} a "
            f"{SCALE}; only floating-point weights, or FP8 matrices with block scales, can be loaded."
        )
    if scaled:
        tensor = dequantise(tensor, _scale(files, key, tensor), files.block)
    if not bool(torch.isfinite(tensor).all()):
        raise FactoryError(f"{key} in {path} holds values that are not finite; fetch that file again.")
    target.copy_(tensor)


def _scale(files: _Files, key: str, weight: Tensor) -> Tensor:
    scale = files.tensor(key + SCALE)
    block = files.block
    expected = [-(-size // b) for size, b in zip(weight.shape, block, strict=True)]
    if list(scale.shape) != expected:
        raise FactoryError(
            f"{key + SCALE} in {files.placed[key + SCALE]} has shape {list(scale.shape)}, but blocks of "
            f"{block[0]} × {block[1]} make it {expected}; the file does not belong to this checkpoint."
        )
    return scale
