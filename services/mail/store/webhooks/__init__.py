"""Webhooks: endpoints and their secrets, cursors in feeds, and deliveries. These tables hold no mail."""
