"""What each subcommand of `undertow` does, besides running a study."""
