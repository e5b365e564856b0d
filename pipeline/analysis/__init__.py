"""Estimates and verdicts: pure functions on tables."""
