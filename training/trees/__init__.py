"""Sequences that share prefixes, as trees: merged, split, executed, checked against separate paths."""
