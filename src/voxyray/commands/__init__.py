"""What the `voxyray` command does, one module for each subcommand and what they share."""
