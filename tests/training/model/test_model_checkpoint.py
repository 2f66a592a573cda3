"""Checkpoints: key map, round trips to the bit, transformers' log-probabilities, FP8, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.model import checkpoint
from training.model.checkpoint import CONFIG, INDEX, SINGLE
from training.model.config import ModelConfig, preset
from training.model.expansion import expand_mtp
from training.model.hf_config import from_hf, to_hf
from training.model.keymap import entries
from training.model.layout import Forest
from training.model.model import Model
from warehouse.errors import FactoryError

TINY = preset("tiny").replace(mtp_depth=2)
TOKENS = list(range(3, 40))


@pytest.fixture
def model() -> Model:
    made = Model(TINY, seed=4)
    for name, tensor in made.state_dict().items():
        if tensor.dim() == 1:  # norms and biases are not at their initial values
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(len(name))))
    return made


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    return checkpoint.save(model, tmp_path / "saved")


def assert_same(a: Model, b: Model) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert set(ours) == set(theirs)
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype, name
        assert torch.equal(ours[name], theirs[name]), name


def test_every_key_of_the_map() -> None:
    """Written out for a model of one layer, two experts and one MTP module, so that a typo cannot hide."""
    config = TINY.replace(layers=1, experts=2, mtp_depth=1)
    block = [
        "input_layernorm.weight",
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.o_proj.weight",
        "self_attn.q_norm.weight",
        "self_attn.k_norm.weight",
        "post_attention_layernorm.weight",
        "block_sparse_moe.gate.weight",
        "block_sparse_moe.e_score_correction_bias",
        "block_sparse_moe.experts.0.w1.weight",
        "block_sparse_moe.experts.0.w3.weight",
        "block_sparse_moe.experts.1.w1.weight",
        "block_sparse_moe.experts.1.w3.weight",
        "block_sparse_moe.experts.0.w2.weight",
        "block_sparse_moe.experts.1.w2.weight",
    ]
    assert [key for entry in entries(config) for key in entry.theirs] == [
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
        *(f"model.layers.0.{name}" for name in block),
        "model.layers.1.enorm.weight",
        "model.layers.1.hnorm.weight",
        "model.layers.1.eh_proj.weight",
        "model.layers.1.shared_head.norm.weight",
        *(f"model.layers.1.{name}" for name in block),
    ]


@pytest.mark.parametrize("config", [TINY, TINY.replace(tied=True), preset("m2")], ids=["tiny", "tied", "m2"])
def test_the_map_covers_the_model_and_no_key_is_twice(config: ModelConfig) -> None:
    table = entries(config)
    assert sorted(entry.ours for entry in table) == sorted(checkpoint.allocate(config, "meta").state_dict())
    keys = [key for entry in table for key in entry.theirs]
    assert len(set(keys)) == len(keys)


def test_every_entry_reads_back_what_it_writes(model: Model) -> None:
    tensors = model.state_dict()
    for entry in entries(TINY):
        tensor = tensors[entry.ours]
        parts = dict(entry.split(tensor))
        assert tuple(parts) == entry.theirs
        assert torch.equal(entry.join(list(parts.values())), tensor)
        blank = torch.empty_like(tensor)
        for i, part in enumerate(parts.values()):
            entry.part(blank, i).copy_(part)
        assert torch.equal(blank, tensor)


def test_gate_is_above_up_as_in_transformers(model: Model) -> None:
    entry = next(e for e in entries(TINY) if e.ours == "blocks.0.experts.gate_up")
    parts = dict(entry.split(model.state_dict()[entry.ours]))
    gate_up = model.state_dict()[entry.ours][3]
    assert torch.equal(parts["model.layers.0.block_sparse_moe.experts.3.w1.weight"], gate_up[:32])
    assert torch.equal(parts["model.layers.0.block_sparse_moe.experts.3.w3.weight"], gate_up[32:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_round_trip_is_equal_to_the_bit(model: Model, tmp_path: Path, dtype: torch.dtype) -> None:
    model = model.to(dtype)
    folder = checkpoint.save(model, tmp_path / "saved")
    assert_same(checkpoint.load(folder, dtype=dtype), model)
    assert json.loads((folder / CONFIG).read_text())["dtype"] == str(dtype).removeprefix("torch.")
    again = checkpoint.save(checkpoint.load(folder, dtype=dtype), tmp_path / "again")
    assert (again / SINGLE).read_bytes() == (folder / SINGLE).read_bytes()
    assert (again / CONFIG).read_bytes() == (folder / CONFIG).read_bytes()


def test_shards_read_as_one(model: Model, tmp_path: Path) -> None:
    folder = checkpoint.save(model, tmp_path / "saved", shard_bytes=100_000)
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((folder / INDEX).read_text())
    assert set(index["weight_map"].values()) == set(names)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in model.state_dict().values())
    assert all(sum(t.nbytes for t in load_file(folder / n).values()) <= 100_000 for n in names)
    assert_same(checkpoint.load(folder), model)


def test_transformers_gives_the_same_log_probabilities(model: Model, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra dev)")
    folder = checkpoint.save(model, tmp_path / "saved", shard_bytes=100_000, extra={"eos_token_id": 7})
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert theirs.config.eos_token_id == 7
    with torch.no_grad():
        found = model.logits(model.states(Forest.packed([TOKENS])).trunk_TD).log_softmax(-1)
        wanted = theirs(torch.tensor([TOKENS])).logits[0].log_softmax(-1)
    assert (found - wanted).abs().max() <= 1e-5


def test_what_transformers_saves_is_read(model: Model, saved: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra dev)")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = checkpoint.load(tmp_path / "theirs")
    assert loaded.config == TINY.replace(mtp_depth=0)  # transformers drops MTP weights
    wanted = {n: t for n, t in model.state_dict().items() if not n.startswith("mtp.")}
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


def test_the_published_config_is_read() -> None:
    """The keys of MiniMaxAI/MiniMax-M2's config.json; it names three MTP modules that were not published."""
    published = {
        "architectures": ["MiniMaxM2ForCausalLM"], "attn_type_list": [1] * 62, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 1536,
        "layernorm_full_attention_beta": 1.0, "max_position_embeddings": 196608,
        "mlp_intermediate_size": 8192, "model_type": "minimax_m2",
        "mtp_transformer_layers": 1, "num_attention_heads": 48, "num_experts_per_tok": 8,
        "num_hidden_layers": 62, "num_key_value_heads": 8, "num_local_experts": 256, "num_mtp_modules": 3,
        "qk_norm_type": "per_layer", "rms_norm_eps": 1e-6, "rope_theta": 5000000, "rotary_dim": 64,
        "scoring_func": "sigmoid", "tie_word_embeddings": False, "use_mtp": True, "use_qk_norm": True,
        "use_routing_bias": True, "vocab_size": 200064,
    }  # fmt: skip
    assert from_hf(published, "config.json") == preset("m2").replace(mtp_depth=0)


@pytest.mark.parametrize("config", [TINY, preset("small"), preset("m2")], ids=["tiny", "small", "m2"])
def test_a_config_reads_back(config: ModelConfig) -> None:
    assert from_hf(to_hf(config, "float32"), "here") == config.replace(mtp_depth=0)


def fp8(weight: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """A matrix in FP8 with a factor for each block, as published checkpoints hold it."""
    rows, columns = (-(-size // block) for size in weight.shape)
    scale = torch.empty(rows, columns)
    quantised = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    for r in range(rows):
        for c in range(columns):
            at = (slice(r * block, (r + 1) * block), slice(c * block, (c + 1) * block))
            scale[r, c] = weight[at].abs().max() / torch.finfo(torch.float8_e4m3fn).max
            quantised[at] = (weight[at] / scale[r, c]).to(torch.float8_e4m3fn)
    return quantised, scale


def test_fp8_blocks_are_dequantised(model: Model, saved: Path) -> None:
    """Blocks of 24 do not divide 64 × 32: those at the edges are cut."""
    tensors, wanted = load_file(saved / SINGLE), {}
    for key in [k for k in tensors if ".experts." in k or "_proj" in k]:
        quantised, scale = fp8(tensors[key], 24)
        wide = scale.repeat_interleave(24, 0).repeat_interleave(24, 1)
        wanted[key] = quantised.float() * wide[: quantised.shape[0], : quantised.shape[1]]
        assert (wanted[key] - tensors[key]).abs().max() <= tensors[key].abs().max() / 16
        tensors[key], tensors[key + "_scale_inv"] = quantised, scale
    save_file(tensors, saved / SINGLE)
    change_config(saved, quantization_config={"quant_method": "fp8", "weight_block_size": [24, 24]})
    loaded = checkpoint.load(saved)
    state, compared = loaded.state_dict(), 0
    for entry in entries(loaded.config):
        for key, part in entry.split(state[entry.ours]):
            assert torch.equal(part, wanted.get(key, tensors[key])), key
            compared += key in wanted
    assert compared == len(wanted) > 50
    assert state["blocks.0.experts.down"].dtype == torch.float32


def change_config(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(content))


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(folder / SINGLE)
    change(tensors)
    save_file(tensors, folder / SINGLE)


def cut_off(folder: Path) -> None:
    content = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(content[: len(content) // 2])


NORM = "model.norm.weight"
GATE = "model.layers.1.block_sparse_moe.gate.weight"
Q = "model.layers.0.self_attn.q_proj.weight"


def put(key: str, value: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[key] = value(tensors.get(key, torch.zeros(1)))

    return lambda folder: change_weights(folder, change)


def without(key: str) -> Callable[[Path], None]:
    return lambda folder: change_weights(folder, lambda tensors: tensors.__delitem__(key))


def configured(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change_config(folder, **changes)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_off, r"model\.safetensors is cut off or damaged .*; fetch that file again"),
        (lambda folder: (folder / SINGLE).unlink(), r"lacks .*model\.safetensors; fetch that file"),
        (lambda folder: (folder / SINGLE).write_bytes(b""), "is cut off or damaged"),
        (lambda folder: (folder / CONFIG).unlink(), r"There is no config\.json in"),
        (lambda folder: (folder / CONFIG).write_text("{"), "cannot be read"),
        (lambda folder: (folder / CONFIG).write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / INDEX).write_text("{}"), "index .* is damaged"),
        (without(NORM), "lacks model.norm.weight; fetch its missing files"),
        (without("model.layers.2.enorm.weight"), "lacks model.layers.2.enorm.weight"),
        (put("model.layers.0.mlp.up.weight", torch.zeros_like), r"unknown keys: model\S+up.weight;"),
        (put(NORM + "_scale_inv", lambda _: torch.ones(1, 1)), "is float32 with a _scale_inv; only"),
        (put(Q, lambda t: t.to(torch.int8)), rf"{Q} in .* is int8 without a _scale_inv; only floating-point"),
        (put(Q, lambda t: t.to(torch.float8_e4m3fn)), rf"{Q} in .* is float8_e4m3fn without a _scale_inv"),
        (put(Q, lambda t: t[:-1].clone()), r"has shape \[63, 64\], but config.json makes it \[64, 64\]"),
        (put(GATE, lambda t: t.fill_(float("nan"))), f"{GATE} in .* holds values that are not finite"),
        (configured(vocab_size=999), r"embed_tokens.weight in .* \[320, 64\], .* makes it \[999, 64\]"),
        (configured(model_type="mixtral"), 'has model_type = "mixtral", but only "minimax_m2"'),
        (configured(scoring_func="softmax"), 'has scoring_func = "softmax"'),
        (configured(attn_type_list=[0, 1]), "layers without full attention"),
        (configured(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6}), "scales its rotary positions"),
        (configured(quantization_config={"quant_method": "awq"}), "says that weights are awq"),
        (configured(num_key_value_heads=3), "heads = 4 must be a multiple of kv_heads = 3"),
        (configured(num_hidden_layers="two"), "does not fit: layers"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_one_sentence(
    saved: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(saved)
    with pytest.raises(FactoryError, match=sentence) as raised:
        checkpoint.load(saved)
    assert "\n" not in str(raised.value)


def test_a_missing_shard_is_named(model: Model, tmp_path: Path) -> None:
    folder = checkpoint.save(model, tmp_path / "saved", shard_bytes=100_000)
    sorted(folder.glob("*.safetensors"))[1].unlink()
    with pytest.raises(FactoryError, match=r"lacks .*model-00002-of-.*; fetch that file"):
        checkpoint.load(folder)


def test_nothing_is_written_over(model: Model, saved: Path) -> None:
    with pytest.raises(FactoryError, match=r"something at .* already"):
        checkpoint.save(model, saved)
    assert [path.name for path in saved.parent.iterdir()] == ["saved"]


def test_a_failed_save_leaves_nothing(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FactoryError, match="Cannot write"):
        checkpoint.save(model, tmp_path / "file" / "saved")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_expanded_modules_are_copies_and_the_rest_is_shared(model: Model) -> None:
    one = Model(TINY.replace(mtp_depth=1), seed=1)
    three = expand_mtp(one, 3)
    assert three.config == TINY.replace(mtp_depth=3)
    assert three.embedding is one.embedding
    assert three.mtp[0] is one.mtp[0]
    for depth in (2, 3):
        for a, b in zip(three.depth(1).parameters(), three.depth(depth).parameters(), strict=True):
            assert torch.equal(a, b)
            assert a is not b
    hidden = three.states(Forest.packed([TOKENS]))
    assert torch.equal(hidden.trunk_TD, one.states(Forest.packed([TOKENS])).trunk_TD)
    assert len(hidden.mtp_TD) == 3


def test_modules_can_be_copied_from_the_trunk(tmp_path: Path) -> None:
    none = Model(TINY.replace(mtp_depth=0), seed=1)
    three = expand_mtp(none, 3)
    for depth in (1, 2, 3):
        for a, b in zip(none.blocks[-1].parameters(), three.depth(depth).block.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a is not b
    with pytest.raises(FactoryError, match="no MTP module to copy"):
        expand_mtp(none, 1, "mtp")
    with pytest.raises(FactoryError, match="has 3 MTP modules already"):
        expand_mtp(three, 3)
    assert_same(checkpoint.load(checkpoint.save(three, tmp_path / "saved")), three)
