"""The page that shows a study: its matrix, figures and headlines."""
