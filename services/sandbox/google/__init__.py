"""Google's endpoints."""
