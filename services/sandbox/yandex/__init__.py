"""Yandex ID: OAuth 2.0 with userinfo, without OpenID Connect."""
