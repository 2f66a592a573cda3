"""The trainer: `step` is one optimiser step of any loss; `sft` is a run of them over stages of data.

`optimizer` (AdamW and its schedule), `phases` (MTP modules alone, then all), `start` (the first weights),
`state` (what resumes a run), `metrics` (what is recorded of a step), `plots` (what a person looks at),
`interruption` (Ctrl-C between steps). With several processes: `workers` (their lives), `sharding` (weights
and sums over them), `shares` (what each computes of a step).
"""
