"""Attacks on graders, kept as data: what each tries, which careless grader it beats, and that ours gives it nothing.

Everything here builds *submissions*. Nothing of it runs in the factory's own process: payloads are text that is
only ever executed inside sandboxes.
"""
