"""The pages of studies and of family audits: matrix, figures, headlines, findings."""
