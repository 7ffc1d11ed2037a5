"""The control API below `/_sandbox/`."""
