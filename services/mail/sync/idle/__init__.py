"""Mailboxes without known work: how often they are looked at for changes, and the looks."""
