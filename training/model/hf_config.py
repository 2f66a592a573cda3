"""A model's sizes as the `config.json` of a Hugging Face checkpoint, both ways. Takes no torch.

What is written is what transformers and vLLM read for `minimax_m2`. What is read must describe a model that
this one is; a part of another kind is an error that names it, since weights that load into the wrong graph
train without a word.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.model.config import ModelConfig
from warehouse.errors import FactoryError

SIZES = {  # ours → theirs
    "vocab_size": "vocab_size",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "experts": "num_local_experts",
    "experts_per_token": "num_experts_per_tok",
    "expert_hidden": "intermediate_size",
    "rms_eps": "rms_norm_eps",
    "max_positions": "max_position_embeddings",
    "init_std": "initializer_range",
    "tied": "tie_word_embeddings",
}
KINDS = {  # the one value of each that this model is
    "model_type": "minimax_m2",
    "hidden_act": "silu",
    "scoring_func": "sigmoid",
    "use_routing_bias": True,
    "use_qk_norm": True,
    "qk_norm_type": "per_layer",
    "mtp_transformer_layers": 1,
}
OPTIONAL = ("head_dim", "init_std", "tied")  # have the defaults of transformers
DEFAULTS = {"init_std": 0.02, "tied": False}


def to_hf(config: ModelConfig, dtype: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of `config.json`; `extra` adds keys, such as `eos_token_id`."""
    written: dict[str, Any] = {"architectures": ["MiniMaxM2ForCausalLM"], **KINDS, "dtype": dtype}
    written |= {theirs: getattr(config, ours) for ours, theirs in SIZES.items()}
    written |= {
        "rope_theta": config.rope_theta,
        "rotary_dim": config.rotary_dim,
        "partial_rotary_factor": config.rotary_dim / config.head_dim,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rope_theta,
            "partial_rotary_factor": config.rotary_dim / config.head_dim,
        },
        "attn_type_list": [1] * config.layers,
        # not M2's `use_mtp`: transformers 5.23 takes that for a setting of `generate`, and fails
        "num_mtp_modules": config.mtp_depth,
        "attention_dropout": 0.0,
        "router_jitter_noise": 0.0,
        "router_aux_loss_coef": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    return written | (extra or {})


def read_config(path: Path) -> dict[str, Any]:
    """The content of the `config.json` at `path`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FactoryError(f"There is no {path.name} in {path.parent}; name a checkpoint's folder.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FactoryError(f"The model config {path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise FactoryError(f"The model config {path} is not a JSON object; name a checkpoint's config.json.")
    return content


def from_hf(content: dict[str, Any], where: str) -> ModelConfig:
    """The sizes in a `config.json`, without MTP: M2's names 3 modules and ships none, so the weights tell."""
    _check_kinds(content, where)
    missing = [t for o, t in SIZES.items() if t not in content and o not in OPTIONAL]
    if missing:
        raise FactoryError(
            f"The model config {where} lacks {', '.join(missing)}; add what the weights were made with."
        )
    sizes = {o: content[t] for o, t in SIZES.items() if content.get(t) is not None}
    sizes.setdefault("head_dim", content["hidden_size"] // content["num_attention_heads"])
    rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
    theta = rope.get("rope_theta", content.get("rope_theta"))
    factor = rope.get("partial_rotary_factor", content.get("partial_rotary_factor", 1.0))
    rotary = content.get("rotary_dim") or int(sizes["head_dim"] * factor)
    if theta is None:
        raise FactoryError(
            f"The model config {where} lacks rope_theta; add the base of its rotary frequencies."
        )
    try:
        return ModelConfig.model_validate(
            DEFAULTS | sizes | {"rope_theta": theta, "rotary_dim": rotary, "mtp_depth": 0}
        )
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FactoryError(f"The model config {where} does not fit: {problems}.") from error


def _check_kinds(content: dict[str, Any], where: str) -> None:
    for key, ours in KINDS.items():
        if content.get(key, ours) != ours:
            raise FactoryError(
                f"The model config {where} has {key} = {json.dumps(content[key])}, but only "
                f"{json.dumps(ours)} can be loaded; name a MiniMax-M2 checkpoint."
            )
    if content.get("model_type") is None:
        raise FactoryError(f"The model config {where} has no model_type; name a MiniMax-M2 checkpoint.")
    if set(content.get("attn_type_list") or [1]) != {1}:
        raise FactoryError(
            f"The model config {where} has layers without full attention; only full attention can be loaded."
        )
    rope = content.get("rope_parameters") or content.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise FactoryError(
            f"The model config {where} scales its rotary positions; only unscaled ones can be loaded."
        )
