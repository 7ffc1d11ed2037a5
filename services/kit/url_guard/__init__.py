"""Requests to URLs that users and applications give: by address, and only where the policy lets them go."""
