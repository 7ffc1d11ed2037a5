"""Limits of clients: rate limits by address and user, and long polls."""
