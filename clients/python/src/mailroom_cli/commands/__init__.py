"""The commands, each with what it prints."""
