"""Lineage: which models and data sets came from which others, and how each of these facts is known."""
