"""The public REST API as the console uses it."""
