"""The study file: its schema, its loader, and its small edition for smoke tests."""
