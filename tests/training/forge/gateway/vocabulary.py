"""A byte-pair vocabulary learnt on the spot, and samples of it that no tokenizer would give."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.chat import m2
from training.corpus.tokens import MARKS, FileTokenizer


@cache
def trained(folder: Path, size: int = 1500) -> FileTokenizer:
    """Byte-level BPE over our own sources, as M2's is, with the marks of the chat format."""
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = [path.read_text() for path in sorted(Path(m2.__file__).parents[1].rglob("*.py"))[:40]]
    fast.train_from_iterator(texts, trainer)
    fast.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    path = folder / "tokenizer.json"
    fast.save(str(path))
    return FileTokenizer(path)


def odd(tokenizer: FileTokenizer, text: str, rng: random.Random) -> list[int]:
    """Ids of `text` as a model may sample them: cut at places where no tokenizer would cut."""
    ids: list[int] = []
    while text:
        mark = next((mark for mark in MARKS if text.startswith(mark)), None)
        size = len(mark) if mark else rng.randint(1, 12)
        if not mark:  # a mark is never cut
            ahead = [at for other in MARKS if (at := text.find(other)) > 0]
            size = min([size, *ahead])
        ids += tokenizer.encode(text[:size])
        text = text[size:]
    return ids
