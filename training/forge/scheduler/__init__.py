"""Which prompts roll out, which finished groups train: policies with proved bounds, and a simulator.

Nothing here takes torch or a clock: the rollout loop and the simulator drive the same queue and the same
policy objects.
"""
