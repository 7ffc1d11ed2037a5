"""Certificates that name services, and the authority that issues them."""
