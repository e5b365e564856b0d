"""Code shared by several stages, and helpers of single ones."""
