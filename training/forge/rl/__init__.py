"""Reinforcement learning: prompts in, rollouts through the gateway, batches from the pool, weights out."""
