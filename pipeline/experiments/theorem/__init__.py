"""The paper's theorem: a small step on a teacher's outputs never moves a student of its initialisation away from it."""
