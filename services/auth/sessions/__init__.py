"""Our own sessions and tokens: access tokens, refresh tokens and the keys that sign them."""
