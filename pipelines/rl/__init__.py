"""Domains of RL runs: where prompts come from and what attempts at them are worth."""
