"""How much faster a tree of agent episodes trains than its separate paths, and how near that is to the limit.

    python benchmarks/prefix_tree.py --tune            sweep the budgets; writes prefix_tree_budgets.json
    python benchmarks/prefix_tree.py --json            all shapes, the named one at the top level
    python benchmarks/prefix_tree.py --shape hundredth --model lean

The workload is a group of rollouts of one task: a prompt, then turns of generated and observed tokens.
Recorded request by request (what a gateway sees), every turn is a sample that repeats all before it. Both
baselines run the same model, kernels and loss, project only the tokens that supervised edges leave, and pack
micro-batches of the token budget that was fastest for them; `stitched` has one sample a rollout, as an
append-only recorder would leave. A step is forward, backward and AdamW; the tree's step also merges the
samples. Steps of the tree are run between parts of the baseline's, so that both meet the same load, and means
are compared.

The limit takes the shares of the baseline's step, measured in it, and what merging does to each:

    limit = 1 / (f_lin / rho + f_attn / alpha + f_edge / rho_e + f_fixed)

rho: tokens, alpha: pairs of attention, rho_e: supervised edges; all counted after micro-batches are made.
Pairs are those that the kernel computes, masked corners of its tiles included: short sequences waste more of
a tile, so a limit by the pairs that are wanted would be lower than what merging can reach. Exits with status
1 where less than 85 % of the limit is reached or gradients differ, 2 where more than 105 % is, since then the
limit is wrong.
Attention and the head are taken apart for the same reason: what they spend on a token, whatever it looks at
or predicts, falls by rho and counts as linear (`own_seconds`).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.model.attention import plan
from training.model.config import ModelConfig, preset
from training.model.model import Model
from training.objective import MtpLoss, Objective
from training.trees import step as steps
from training.trees.clock import Clock, timed_parts
from training.trees.edges import Sample
from training.trees.limit import Episodes, Work, limit_by_operations, limit_of, own_seconds, shares_elsewhere
from training.trees.merge import Batch, merged, side_by_side
from training.trees.split import micro_batches
from training.trees.verify import absolute_sample, gradients_of, relative_errors

BUDGETS_FILE = Path(__file__).with_name("prefix_tree_budgets.json")
BUDGETS = (1024, 2048, 4096, 8192, 16384)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
GATE, VOID, ERROR_LIMIT = 0.85, 1.05, 2e-5


SHAPES = {
    "hundredth": Episodes(200, 4, 6, turns=60, rollouts=16),  # the named shape: FULL over 100
    "fiftieth": Episodes(400, 8, 12, turns=60, rollouts=16),
}
FULL = Episodes(20_000, 400, 600, turns=60, rollouts=16)

# `lean` is declared for 40 times: wide experts and few heads keep attention under 5 % of the unmerged step.
# `even` has the proportions of the tests' model, with attention a large share, and MTP.
MODELS = {
    "lean": ModelConfig(
        vocab_size=512,
        hidden=384,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=32,
        rotary_dim=16,
        experts=16,
        experts_per_token=4,
        expert_hidden=576,
        mtp_depth=0,
    ),
    "even": ModelConfig(
        vocab_size=512,
        hidden=128,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=32,
        rotary_dim=16,
        experts=16,
        experts_per_token=4,
        expert_hidden=64,
        mtp_depth=1,
    ),
}


def workload(shape: Episodes, vocab: int, seed: int = 0) -> tuple[list[Sample], list[Sample]]:
    """The group as one sample a request and as one a rollout; both learn the same tokens."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, vocab, shape.prompt)
    turn = shape.generated + shape.observed
    weight = 1 / (shape.rollouts * shape.turns * shape.generated)
    requests, rollouts = [], []
    for _ in range(shape.rollouts):
        tokens = np.concatenate([prompt, rng.integers(0, vocab, shape.turns * turn - shape.observed)])
        every = np.zeros(len(tokens))
        for begin in range(shape.prompt, len(tokens), turn):
            end = begin + shape.generated
            every[begin:end] = weight
            one = np.zeros(end)
            one[begin:end] = weight
            requests.append(Sample(tokens[:end], one))
        rollouts.append(Sample(tokens, every))
    return requests, rollouts


class Trainer:
    """A model, its optimiser and a step of it."""

    def __init__(self, config: ModelConfig, now: Callable[[], float]) -> None:
        self.now, self.model = now, Model(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, weight_decay=0.0)
        self.objective = Objective(mtp=MtpLoss.TARGETS if config.mtp_depth else MtpLoss.NONE)

    def gradients(self, batches: Sequence[Batch]) -> float:
        """Seconds of forward and backward."""
        started = self.now()
        steps.run_step(self.model, batches, self.objective)
        return self.now() - started

    def update(self) -> float:
        """Seconds of the optimiser; the rate is 0, so that every step is of the same weights."""
        started = self.now()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.now() - started


@dataclass(frozen=True)
class Result:
    """One shape on one model."""

    shape: str
    model: str
    speedup_per_request: float
    speedup_stitched: float
    token_ratio: float
    limit: float
    of_limit: float
    max_rel_grad_error: float
    tokens_per_s: float
    limit_stitched: float
    attention_ratio: float
    edge_ratio: float
    attention_share: float
    shares: dict[str, float]
    seconds: dict[str, float]
    tokens: dict[str, int]
    budgets: dict[str, int]


def work_of(batches: Sequence[Batch], config: ModelConfig) -> Work:
    """What the micro-batches compute, attention counted in tiles."""
    width, device = config.heads * config.head_dim, torch.device("cpu")
    chunks = [chunk for batch in batches for chunk in plan(batch.forest, device, width)]
    tiles = sum((chunk.stop - chunk.start) * (chunk.outside + chunk.stop - chunk.start) for chunk in chunks)
    return replace(Work.of(batches), pairs=tiles)


def tune(trainer: Trainer, samples: Sequence[Sample], tree: bool, enough: int = 24_000) -> dict[int, float]:
    """Path tokens per second at each budget, of the first samples with `enough` tokens; trees whole."""
    longest = max(len(sample.tokens_S) for sample in samples)
    if not tree:
        held = np.cumsum([len(sample.tokens_S) for sample in samples])
        samples = samples[: int(np.searchsorted(held, enough)) + 1]
    rates = {}
    for budget in BUDGETS:
        if budget < longest:
            continue
        batches = micro_batches(samples, budget, merged if tree else side_by_side)
        trainer.gradients(batches[:1])
        seconds = min(trainer.gradients(batches) for _ in range(2))
        rates[budget] = round(sum(len(sample.tokens_S) for sample in samples) / seconds, 1)
    trainer.update()
    return rates


def measure(name: str, model: str, budgets: dict[str, int], parts: int, now: Callable[[], float]) -> Result:
    """Run one shape: the per-request step in parts, a tree step and a stitched step after each."""
    trainer = Trainer(MODELS[model], now)
    requests, rollouts = workload(SHAPES[name], MODELS[model].vocab_size)
    unmerged = micro_batches(requests, budgets["per_request"], side_by_side)
    stitched = micro_batches(rollouts, budgets["stitched"], side_by_side)
    tree = micro_batches(requests, budgets["tree"])
    trainer.gradients([*tree, *stitched, *unmerged[:2]])  # to be warm
    trainer.update()
    clock, whole_s = Clock(now=now), 0.0
    attention: list[tuple[float, int, int]] = []  # seconds, amount, tokens of each micro-batch
    edges: list[tuple[float, int, int]] = []
    seconds: dict[str, list[float]] = {"stitched": [], "tree": [], "merge": []}
    reference: list[Tensor] | None = None
    for part in np.array_split(np.arange(len(unmerged)), parts):
        for batch in (unmerged[index] for index in part):
            before = clock.attention, clock.edges
            with timed_parts(trainer.model, clock):
                whole_s += trainer.gradients([batch])
            work = work_of([batch], MODELS[model])
            attention.append((clock.attention - before[0], work.pairs, work.tokens))
            edges.append((clock.edges - before[1], work.edges, work.tokens))
        kept = [parameter.grad for parameter in trainer.model.parameters()]
        reference = _added(reference, kept)
        trainer.optimizer.zero_grad(set_to_none=True)
        stitched = micro_batches(rollouts, budgets["stitched"], side_by_side)
        seconds["stitched"].append(trainer.gradients(stitched) + trainer.update())
        started = now()
        tree = micro_batches(requests, budgets["tree"])
        seconds["merge"].append(now() - started)
        seconds["tree"].append(trainer.gradients(tree))
        clock.fixed = trainer.update()
    merge_s = float(np.mean(seconds["merge"]))
    tree_s = float(np.mean(seconds["tree"])) + merge_s + clock.fixed
    stitched_s = float(np.mean(seconds["stitched"]))
    assert reference is not None
    return _result(
        name,
        model,
        budgets,
        tuple(work_of(batches, MODELS[model]) for batches in (unmerged, stitched, tree)),
        {"per_request": whole_s + clock.fixed, "stitched": stitched_s, "tree": tree_s, "merge": merge_s},
        {"attention": own_seconds(attention), "edges": own_seconds(edges), "fixed": clock.fixed},
        clock.attention,
        gradient_error(trainer, reference, requests, tree),
    )


def _added(total: list[Tensor] | None, more: Sequence[Tensor | None]) -> list[Tensor]:
    grads = [torch.zeros(()) if gradient is None else gradient for gradient in more]
    return grads if total is None else [a + b for a, b in zip(total, grads, strict=True)]


def gradient_error(
    trainer: Trainer, reference: list[Tensor], requests: Sequence[Sample], tree: list[Batch]
) -> float:
    """The largest error of a parameter's gradient, as in `training.trees.verify`."""
    names = [name for name, _ in trainer.model.named_parameters()]
    _, merged_gradients = gradients_of(trainer.model, tree, trainer.objective)
    whole = [merged([absolute_sample(sample) for sample in requests])]
    _, absolute = gradients_of(trainer.model, whole, trainer.objective)
    errors = relative_errors(merged_gradients, dict(zip(names, reference, strict=True)), absolute)
    return max(errors.values())


def _result(
    name: str,
    model: str,
    budgets: dict[str, int],
    works: tuple[Work, ...],
    seconds: dict[str, float],
    parts: dict[str, float],
    attention_s: float,
    error: float,
) -> Result:
    unmerged, stitched, tree = works
    whole = seconds["per_request"]
    shares = {name: part / whole for name, part in parts.items()}
    shares = {"linear": 1 - sum(shares.values()), **shares}
    limit = limit_of(shares, unmerged, tree)
    speedup = whole / seconds["tree"]
    return Result(
        shape=name,
        model=model,
        speedup_per_request=speedup,
        speedup_stitched=seconds["stitched"] / seconds["tree"],
        token_ratio=unmerged.tokens / tree.tokens,
        limit=limit,
        of_limit=speedup / limit,
        max_rel_grad_error=error,
        tokens_per_s=unmerged.tokens / seconds["tree"],
        limit_stitched=limit_of(shares_elsewhere(shares, unmerged, stitched), stitched, tree),
        attention_ratio=unmerged.pairs / tree.pairs,
        edge_ratio=unmerged.edges / tree.edges,
        attention_share=attention_s / whole,
        shares=shares,
        seconds=seconds,
        tokens={"per_request": unmerged.tokens, "stitched": stitched.tokens, "tree": tree.tokens},
        budgets=budgets,
    )


def report(results: Sequence[Result], at_m2: dict[str, float]) -> None:
    """The results as lines."""
    for found in results:
        shares = ", ".join(f"{part} {share:.1%}" for part, share in found.shares.items())
        print(
            f"{found.shape} on {found.model}: {found.tokens['per_request']} tokens as "
            f"{found.tokens['tree']} ({found.token_ratio:.1f}x)\n  "
            f"unmerged step: {shares}; attention in all {found.attention_share:.1%}\n"
            f"  {found.speedup_per_request:.1f}x of at most {found.limit:.1f}x ({found.of_limit:.0%}) "
            f"against one sample a request\n  {found.speedup_stitched:.2f}x of at most "
            f"{found.limit_stitched:.2f}x against stitched\n  {found.tokens_per_s:.0f} path tokens/s; "
            f"largest gradient error {found.max_rel_grad_error:.1e}"
        )
    print(
        f"M2's sizes, unscaled workload: attention {at_m2['attention_share']:.0%} of the operations, "
        f"limit {at_m2['limit']:.1f}x (tokens {at_m2['token_ratio']:.1f}x)"
    )


def verdict(results: Sequence[Result]) -> int:
    """The exit status: 2 where the limit is broken, 1 where a gate is missed, else 0."""
    if any(found.of_limit > VOID for found in results):
        return 2
    return int(any(found.of_limit < GATE or found.max_rel_grad_error > ERROR_LIMIT for found in results))


def tuned(shapes: Sequence[str], models: Sequence[str], now: Callable[[], float]) -> dict[str, Any]:
    """Sweeps of all pairs, and the fastest budget of each side."""
    sweeps = {}
    for name in shapes:
        for model in models:
            trainer = Trainer(MODELS[model], now)
            requests, rollouts = workload(SHAPES[name], MODELS[model].vocab_size)
            rates = {
                "per_request": tune(trainer, requests, tree=False),
                "stitched": tune(trainer, rollouts, tree=False),
                "tree": tune(trainer, requests, tree=True),
            }
            fastest = {side: max(found, key=found.__getitem__) for side, found in rates.items()}
            sweeps[f"{name}/{model}"] = {"budgets": fastest, "path_tokens_per_s": rates}
            print(f"{name} on {model}: {fastest}", file=sys.stderr, flush=True)
    return sweeps


def main() -> int:
    """Tune, or measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON, the named shape at the top level")
    parser.add_argument("--tune", action="store_true", help="sweep the budgets and write them down")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="only these shapes")
    parser.add_argument("--model", choices=MODELS, action="append", help="only these models")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--parts", type=int, default=6, help="parts of the unmerged step")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a machine that is not idle")
    options = parser.parse_args()
    now = CLOCKS[options.clock]
    torch.set_num_threads(options.threads)
    shapes, models = options.shape or list(SHAPES), options.model or list(MODELS)
    stored = json.loads(BUDGETS_FILE.read_text()) if BUDGETS_FILE.exists() else {}
    missing = [f"{s}/{m}" for s in shapes for m in models if f"{s}/{m}" not in stored]
    if options.tune or missing:
        stored |= tuned(shapes, models, now)
        BUDGETS_FILE.write_text(json.dumps(stored, indent=2) + "\n")
        if options.tune:
            return 0
    results = []
    for name in shapes:
        for model in models:
            budgets = {side: int(budget) for side, budget in stored[f"{name}/{model}"]["budgets"].items()}
            results.append(measure(name, model, budgets, options.parts, now))
            print(f"{name} on {model}: done", file=sys.stderr, flush=True)
    at_m2 = limit_by_operations(preset("m2"), FULL)
    if options.json:
        machine = {
            "cpu": platform.processor() or platform.machine(),
            "threads": options.threads,
            "clock": options.clock,
        }
        all_of_them = [asdict(found) for found in results]
        print(
            json.dumps(all_of_them[0] | {"m2": at_m2, "machine": machine, "results": all_of_them}, indent=2)
        )
    else:
        report(results, at_m2)
    return verdict(results)


if __name__ == "__main__":
    sys.exit(main())
