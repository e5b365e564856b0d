"""Turns a study into steps, and estimates their time."""
