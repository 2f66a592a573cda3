"""Our model against transformers' own MiniMaxM2 module: logits and the gradient of every parameter.

transformers casts norms and gates to float32 in its code. For float64 those casts are lifted while its code
runs (a `TorchFunctionMode` that reads float32 as float64): its graph is compared, not its rounding.

Tolerances are relative to each tensor's largest value. Float32: 1e-5, the rounding of sums of some hundred
terms in another order. Float64: 1e-10 was asked for; 1e-12 holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from training.model import checkpoint
from training.model.config import ModelConfig, preset
from training.model.keymap import entries
from training.model.layout import Forest
from training.model.model import Model

transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra dev)")

SIZES = [
    preset("tiny"),
    ModelConfig(
        vocab_size=97, hidden=48, layers=3, heads=6, kv_heads=3, head_dim=20, rotary_dim=12, experts=5,
        experts_per_token=3, expert_hidden=28, mtp_depth=2, init_std=0.2,
    ),
]  # fmt: skip


class Float64Throughout(TorchFunctionMode):
    """Reads float32 as float64 wherever a torch function is told a type."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.float:
            func = Tensor.double
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        wide = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*args, **wide)


def _balanced_by_hand(model: Model) -> Model:
    """Selection biases that change the choice of experts, as a trained checkpoint has them."""
    source = torch.Generator().manual_seed(5)
    for name, buffer in model.named_buffers():
        if name.endswith("router.bias"):
            buffer.copy_(torch.rand(buffer.shape, generator=source) * 0.2)
    return model


def _theirs(folder: Path, dtype: torch.dtype) -> Any:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    return model


def _relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).detach().abs().max() / theirs.abs().max())


@pytest.mark.parametrize("config", SIZES, ids=["tiny", "odd"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_logits_and_all_gradients_are_transformers_own(
    config: ModelConfig, dtype: torch.dtype, tolerance: float, tmp_path: Path
) -> None:
    ours = _balanced_by_hand(Model(config, seed=3)).to(dtype)
    theirs = _theirs(checkpoint.save(ours, tmp_path / "saved"), dtype)
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (3, 70))
    weight = torch.randn(3, 70, config.vocab_size, dtype=dtype, generator=torch.Generator().manual_seed(2))

    logits = ours.logits(ours.states(Forest.packed(tokens)).trunk_TD).view(weight.shape)
    (logits * weight).sum().backward()
    if dtype is torch.float64:
        # the module keeps its frequencies and biases as float32 buffers: ours, exactly
        rotary = theirs.model.rotary_emb
        steps = torch.arange(0, config.rotary_dim, 2, dtype=dtype)
        rotary.inv_freq = config.rope_theta ** (-steps / config.rotary_dim)
        with Float64Throughout():
            expected = theirs(torch.from_numpy(tokens)).logits
    else:
        expected = theirs(torch.from_numpy(tokens)).logits
    assert expected.dtype == logits.dtype == dtype
    (expected * weight).sum().backward()

    assert _relative(logits, expected) <= tolerance
    gradients = _their_gradients(theirs, config)
    compared = 0
    for entry in entries(config):
        if entry.ours.endswith("router.bias") or entry.ours.startswith("mtp."):
            continue
        mine = ours.get_parameter(entry.ours).grad
        assert mine is not None
        assert _relative(mine, gradients[entry.ours]) <= tolerance, entry.ours
        compared += 1
    assert compared == len(list(theirs.parameters()))


def _their_gradients(theirs: Any, config: ModelConfig) -> dict[str, Tensor]:
    """Gradients of transformers' parameters by our names; its experts are fused as ours are."""
    fused = {"experts.gate_up": "mlp.experts.gate_up_proj", "experts.down": "mlp.experts.down_proj"}
    gradients = {}
    for entry in entries(config):
        name = entry.theirs[0].replace("block_sparse_moe", "mlp")
        for ours, memory in fused.items():
            if entry.ours.endswith(ours):
                name = name.partition("mlp.")[0] + memory
        parameter = dict(theirs.named_parameters()).get(name)
        if parameter is not None:
            gradients[entry.ours] = parameter.grad
    return gradients


def test_greedy_decoding_agrees_for_64_tokens(tmp_path: Path) -> None:
    config = preset("tiny").replace(init_std=0.3)
    ours = Model(config, seed=8)
    theirs = _theirs(checkpoint.save(ours, tmp_path / "saved"), torch.float32)
    prompt = [5, 17, 99]
    sequence = list(prompt)
    with torch.no_grad():
        for _ in range(64):
            sequence.append(int(ours.logits(ours.states(Forest.packed([sequence])).trunk_TD[-1:]).argmax()))
        expected = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=64, min_new_tokens=64, do_sample=False, pad_token_id=0
        )
    assert sequence == expected[0].tolist()
    assert len(set(sequence)) > 10  # not one token over and over
