"""Runs in the container, and so imports nothing of this program. `structure` is read on the host, too."""
