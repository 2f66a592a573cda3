"""Attacks on graders, kept as data: what each tries, and which careless grader it beats.

Everything here builds *submissions*. Nothing of it runs in the factory's own process: payloads are text that
is only ever executed inside sandboxes.
"""
