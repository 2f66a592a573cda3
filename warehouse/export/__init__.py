"""Exports that need nothing but the warehouse. Layouts made from bundles are `pipelines.export`."""
