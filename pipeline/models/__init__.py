"""Everything that handles a model: where it starts, how it answers, how it is trained, and how models rate texts."""
