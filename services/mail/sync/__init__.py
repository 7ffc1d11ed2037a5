"""The sync engine: workers, turns, history, listings, fetching, verification and erasure. Names no provider."""
