"""The mail service and its workers: copies of mailboxes, kept current and served. Imports no other service."""
