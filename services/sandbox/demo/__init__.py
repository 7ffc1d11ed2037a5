"""The demo frontend."""
