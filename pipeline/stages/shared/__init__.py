"""What several stages share, or one stage keeps beside its file."""
