"""The mail providers' OAuth and OpenID Connect, one module per provider."""
