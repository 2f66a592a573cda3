"""Transformations: new tasks made of validated ones, each knowing its parent (spec/report.md §1, step 6)."""
