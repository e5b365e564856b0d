"""Attestations: who signs that a step made an artifact, and of what; and whether a whole chain of them holds."""
