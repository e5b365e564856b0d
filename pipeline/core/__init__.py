"""Shared foundations: errors, limits, the settings base class, readers of external files, chat templates."""
