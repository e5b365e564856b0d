"""From numbers to estimates to verdicts: pure functions on tables."""
