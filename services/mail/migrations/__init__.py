"""The migrations of mail's database."""
