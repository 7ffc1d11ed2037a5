"""The auth service: users, sign-in, sessions, and the grants of mail providers. Imports no other service."""
