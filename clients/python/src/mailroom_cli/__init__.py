"""The command `mailroom`. Only what a command uses is imported, so that help and completion come at once."""
