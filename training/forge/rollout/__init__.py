"""Inference engines for rollouts: vLLM as a process of its own, and the way weights get into it."""
