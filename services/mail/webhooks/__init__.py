"""Webhooks: what applications ask for, and events on their way to them. The change feed is the queue."""
