"""The gateway: what any agent takes for a model's endpoint, and what owns the tokens of every rollout.

`server` speaks HTTP, `dialects` translate four published interfaces to one internal form (`ask`), `session`
keeps the turns of one rollout as a tree, `prompts` makes a request's token ids, `output` reads what the model
wrote, `engines` produce tokens, `recorder` keeps them. docs/gateway.md explains the whole.
"""
