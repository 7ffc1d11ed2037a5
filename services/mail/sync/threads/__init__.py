"""Threads made from references, where the provider has none: see docs/decisions/threads-from-references.md."""
