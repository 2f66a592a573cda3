"""Verification by test suites: what a bundle holds, how its tests are run, and what their outcomes are worth.

`inside/` runs in the container and is copied into every bundle; the modules here run in the factory.
"""
