"""Signing in through a provider, and linking further accounts."""
