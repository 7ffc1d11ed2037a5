"""The migrations of auth's database."""
