"""Faults, counts and the audit log."""
