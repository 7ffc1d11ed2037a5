"""Parts of OAuth 2.0 that the stand-ins of all providers share."""
