"""Applications, their users and their API keys."""
