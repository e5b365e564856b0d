"""The report page of a study: its matrix, figures and headlines."""
