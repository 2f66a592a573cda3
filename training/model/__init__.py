"""The model: a decoder-only mixture of experts after MiniMax-M2, exact and readable.

`config` (no torch) says how large it is, `layout` how a batch is laid out, `model` puts together `attention`,
`experts` and `mtp`; `keymap` and `checkpoint` exchange weights with the Hugging Face layout.
"""
