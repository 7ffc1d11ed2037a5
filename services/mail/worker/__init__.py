"""The worker process: builds the sync engine from settings and runs it."""
