"""Exports: what every layout shares (which tasks, their splits, rights, card, manifest), and the one layout
that needs nothing but the warehouse. Layouts made from bundles are `pipelines.export`.
"""
