"""The synchronous client. Made from `_sync` by generate_sync.py: change nothing here."""
