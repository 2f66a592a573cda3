"""From rows to batches of tokens.

`sources` reads rows, `cleaning` and `distillation` choose from them, `tokens` encodes;
`corpus.read_corpus` does all of it, and `mixture` draws a stage's batches.
"""
