"""Makes `warm_start/`, the model that the RL run of this folder starts from.

It answers in the right form and names the right file, but draws the command at random: rewards are about 1/8
before RL, and each of the eight commands is tried. It thinks before it answers: it repeats the operation, as
any language model reads what it is asked, but has no idea which command belongs to it. Half of its examples
ask for something else, `say delete f03`, answered `delete f03`. Held-out pairs are in no example.

    python examples/rl_tiny/warm_start.py [--steps 400] [--out examples/rl_tiny/warm_start]

Prints the share of well-formed answers, of right files and of each command among 512 sampled answers. A run
from a model whose reward is not within 10 to 15 % says nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from pipelines.rl.file_operations import ANSWER_TOKENS, FILES, OPERATIONS, PAIRS, held_out, instruction
from training.chat.m2 import END, completion
from training.chat.messages import Message
from training.corpus.tokens import ByteTokenizer
from training.forge.gateway.ask import Sampling
from training.forge.gateway.engines.own import processed
from training.forge.gateway.prompts import Prompter
from training.model import checkpoint
from training.model.config import preset
from training.model.layout import Forest
from training.model.model import Model
from training.objective import MtpLoss, Objective
from training.settings import OptimizerConfig
from training.trainer.optimizer import learning_rate
from training.trainer.step import Trainer
from training.trees.edges import Sample
from training.trees.merge import merged

CONFIG = preset("tiny").replace(
    vocab_size=272, hidden=128, layers=2, heads=4, kv_heads=2, head_dim=32, rotary_dim=16, experts=8,
    experts_per_token=2, expert_hidden=64, mtp_depth=0, max_positions=512,
)  # fmt: skip
BATCH = 64
ANSWER = re.compile(rf"\w+\n</think>\n\n(\w\w) (f\d\d){re.escape(END)}")
TOKENIZER = ByteTokenizer()


def prompt(prompter: Prompter, pair: tuple[str, str], before: str = "") -> np.ndarray:
    """The ids that the gateway sends for a pair."""
    asked = Message(role="user", content=f"{before}{instruction(*pair)}")
    return asyncio.run(prompter.prompt([asked], (), {}))


def example(before: np.ndarray, pair: tuple[str, str], command: str) -> Sample:
    operation, name = pair
    answer = Message(role="assistant", reasoning=operation, content=f"{command} {name}")
    after = np.array(TOKENIZER.encode(completion(answer)))
    weight = np.r_[np.zeros(len(before)), np.ones(len(after))] / BATCH / len(after)
    return Sample(np.r_[before, after].astype(np.int64), weight)


def train(steps: int, seed: int) -> Model:
    model = Model(CONFIG, seed=seed)
    optimizer = OptimizerConfig(lr=3e-3, warmup_steps=20)
    trainer, rng, prompter = Trainer(model, optimizer), random.Random(seed), Prompter(TOKENIZER)
    seen = [pair for pair in PAIRS if pair not in held_out(0)]
    before = {pair: prompt(prompter, pair) for pair in seen}
    said = {pair: prompt(prompter, pair, "say ") for pair in seen}
    commands = [command for command, _ in OPERATIONS.values()]
    objective = Objective(mtp=MtpLoss.NONE)
    for step in range(steps):
        pairs = rng.choices(seen, k=BATCH)
        half = BATCH // 2
        samples = [example(before[pair], pair, rng.choice(commands)) for pair in pairs[:half]]
        samples += [example(said[pair], pair, pair[0]) for pair in pairs[half:]]
        rate = learning_rate(step, steps, optimizer)
        result = trainer.step([merged(samples)], objective, lr=rate, bias_rate=1e-3)
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step:4d}  loss {result.tally.trunk_loss:.4f}", flush=True)
    return model


@torch.no_grad()
def answers(model: Model, pairs: list[tuple[str, str]], seed: int) -> list[str]:
    """One sampled answer to each pair, at temperature 1."""
    prompter, generator = Prompter(TOKENIZER), torch.Generator().manual_seed(seed)
    paths = [prompt(prompter, pair).tolist() for pair in pairs]
    starts, done = [len(path) for path in paths], [False] * len(paths)
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=ANSWER_TOKENS, stop=(), seed=None)
    for _ in range(ANSWER_TOKENS):
        open_ = [index for index, over in enumerate(done) if not over]
        if not open_:
            break
        states = model.states(Forest.packed([paths[index] for index in open_])).trunk_TD
        ends = np.cumsum([len(paths[index]) for index in open_]) - 1
        for index, logits_V in zip(open_, model.logits(states[torch.tensor(ends)]), strict=True):
            token = int(torch.multinomial(processed(logits_V, sampling).exp(), 1, generator=generator))
            paths[index].append(token)
            done[index] = token == prompter.end
    return [TOKENIZER.decode(path[start:]) for path, start in zip(paths, starts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("warm_start"))
    options = parser.parse_args()
    model = train(options.steps, options.seed)
    rng = random.Random(1)
    pairs = [(rng.choice(list(OPERATIONS)), rng.choice(FILES)) for _ in range(512)]
    said = [ANSWER.match(answer) for answer in answers(model, pairs, 2)]
    known = {command for command, _ in OPERATIONS.values()}
    form = [found for found in said if found and found[1] in known]
    right = sum(bool(found and found[2] == pair[1]) for found, pair in zip(said, pairs, strict=True))
    paid = sum(
        bool(found and found[1] == OPERATIONS[pair[0]][0] and found[2] == pair[1])
        for found, pair in zip(said, pairs, strict=True)
    )
    print(f"well-formed {len(form) / 512:.1%}, right file {right / 512:.1%}, reward {paid / 512:.1%}")
    print("commands", dict(Counter(found[1] for found in form).most_common()))
    shutil.rmtree(options.out, ignore_errors=True)
    checkpoint.save(model, options.out, extra={"eos_token_id": Prompter(TOKENIZER).end})


if __name__ == "__main__":
    main()
