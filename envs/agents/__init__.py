"""Agents that work on a task: a scaffold drives a model, a workspace is where its commands run.

`attempt` lets a scaffold work; scaffolds are entry points `verifactory.agents`.
"""
