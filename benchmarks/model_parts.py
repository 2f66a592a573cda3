"""How fast the model's two own parts are, each beside the plain way of writing it, in one run.

Attention over packed sequences, forward and backward, beside one `scaled_dot_product_attention` a sequence;
experts, forward and backward, beside a loop that selects each expert's weights. Results are compared in
the same run. Run it alone: `python benchmarks/model_parts.py [--json] [--threads N]`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.model.attention import attend
from training.model.config import ModelConfig, preset
from training.model.experts import Experts, Router
from training.model.layout import Forest

REPEATS = 5
SHAPES = ((500, 16), (2000, 4), (64, 128), (8, 1000))  # tokens of a sequence, sequences
SMALL = preset("small")
MIXTURES = {
    "small: 32 experts, top 4": (SMALL, 4096),
    "fine: 64 experts, top 8": (SMALL.replace(experts=64, experts_per_token=8, expert_hidden=256), 2048),
    "tiny: 8 experts, top 2": (preset("tiny"), 4096),
}


def best(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least seconds of each way, taken in turn so that a busy moment meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in times.items()}


def attention(length: int, sequences: int) -> dict[str, object]:
    """One row: our attention and one fused call a sequence."""
    forest = Forest.packed([np.zeros(length)] * sequences)
    tokens = len(forest)
    q, k, v = (
        torch.randn(tokens, heads, SMALL.head_dim, requires_grad=True)
        for heads in (SMALL.heads, SMALL.kv_heads, SMALL.kv_heads)
    )
    weight = torch.randn_like(q)

    def fused() -> Tensor:
        outputs = []
        for parts in zip(*(x.split(length) for x in (q, k, v)), strict=True):
            heads_first = (x.transpose(0, 1)[None] for x in parts)
            out = F.scaled_dot_product_attention(*heads_first, is_causal=True, enable_gqa=True)
            outputs.append(out[0].transpose(0, 1))
        return torch.cat(outputs)

    ways = {"ours": lambda: attend(q, k, v, forest), "plain": fused}
    return {"part": f"attention: {sequences} × {length}", **compare(ways, weight, (q, k, v), tokens)}


def experts(name: str, config: ModelConfig, tokens: int) -> dict[str, object]:
    """One row: our experts and the loop that most code has."""
    torch.manual_seed(0)
    router, mlp = Router(config), Experts(config)
    for parameter in (*router.parameters(), *mlp.parameters()):
        torch.nn.init.normal_(parameter, std=0.02)
    x_TD = torch.randn(tokens, config.hidden, requires_grad=True)
    weight = torch.randn_like(x_TD)
    with torch.no_grad():
        routes_TK, gates_TK = router(x_TD)

    def loop() -> Tensor:
        out_TD = torch.zeros_like(x_TD)
        for expert in range(config.experts):
            rows, column = torch.where(routes_TK == expert)
            gate, up = F.linear(x_TD[rows], mlp.gate_up[expert]).chunk(2, -1)
            part = F.linear(F.silu(gate) * up, mlp.down[expert]) * gates_TK[rows, column, None]
            out_TD = out_TD.index_add(0, rows, part)
        return out_TD

    ways = {"ours": lambda: mlp(x_TD, routes_TK, gates_TK), "plain": loop}
    return {"part": f"experts: {name}", **compare(ways, weight, (x_TD, *mlp.parameters()), tokens)}


def compare(
    ways: dict[str, Callable[[], Tensor]], weight: Tensor, inputs: tuple[Tensor, ...], tokens: int
) -> dict[str, float]:
    """Seconds forward and backward of both ways, and how far their gradients are apart."""
    gradients = [gradient(way, weight, inputs) for way in ways.values()]
    apart = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(*gradients, strict=True)
        if b.abs().max() > 0
    )
    steps = {name: partial(gradient, way, weight, inputs) for name, way in ways.items()}
    seconds = best(steps)
    return {
        "ours_tokens_per_s": tokens / seconds["ours"],
        "plain_tokens_per_s": tokens / seconds["plain"],
        "speedup": seconds["plain"] / seconds["ours"],
        "max_rel_grad_difference": apart,
    }


def gradient(way: Callable[[], Tensor], weight: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Forward and backward of a weighted sum of what `way` gives."""
    return torch.autograd.grad((way() * weight).sum(), inputs)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    rows = [attention(*shape) for shape in SHAPES] + [experts(n, *m) for n, m in MIXTURES.items()]
    for row in rows:
        if options.json:
            print(json.dumps(row))
        else:
            print(
                f"{row['part']:38} {row['ours_tokens_per_s']:>10,.0f} tokens/s, plain "
                f"{row['plain_tokens_per_s']:>10,.0f}: {row['speedup']:.2f} ×, gradients within "
                f"{row['max_rel_grad_difference']:.1e}"
            )


if __name__ == "__main__":
    main()
