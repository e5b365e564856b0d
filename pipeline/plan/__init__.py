"""From a study to its steps, and what they will take."""
