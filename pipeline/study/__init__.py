"""The study file: its schema, its loader, and its reduction for smoke tests."""
