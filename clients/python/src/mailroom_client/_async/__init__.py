"""The asynchronous client. The folder `_sync` is made from this one: generate_sync.py."""
