"""The study file: its schema, its loader, and the edition of it that rehearses."""
