"""The state of syncs: requests, progress, the fetch queue, listings and verifications."""
