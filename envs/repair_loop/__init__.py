"""The repair loop: a model mends an environment that no rule could.

It is given the failure, a shell in a sandbox of the toolchain image (the base tree in /app, package
registries as the only network, bounded output) and one way out: a recipe. The recipe is data, checked field
by field, and is built from scratch by the ordinary builder and smoked like any other; nothing that was done
in the shell counts. Turns, tokens and minutes are limited by settings, and what does not end in an
environment ends in a reason code. The model never sees the gold tree, so no recipe can carry a part of it
into an image.
"""

from __future__ import annotations
