"""Connect sessions: their API, and their page."""
