"""Reads of stored mail for users: lists, threads, whole messages, downloads, and queries as SQL. Writes nothing."""
