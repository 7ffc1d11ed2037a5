"""The console: pages for people over the public REST API."""
