"""Mailboxes in memory, the same for every provider."""
