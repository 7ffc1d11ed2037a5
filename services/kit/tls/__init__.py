"""Certificates that name services, the authority that issues them, and the authorities of public servers."""
