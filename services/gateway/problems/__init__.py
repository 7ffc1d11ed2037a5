"""Error codes, and sentences for wrong fields."""
