"""Sanitising the HTML of messages."""
