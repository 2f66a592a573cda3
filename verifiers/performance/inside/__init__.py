"""Runs in the container, and so imports nothing of this program. `significance` is read on the host, too."""
