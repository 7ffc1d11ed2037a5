"""Which redirect URIs a client without registered ones may use."""

import pytest

from services.sandbox.oauth.clients import Client


@pytest.mark.parametrize(
    ("uri", "is_allowed"),
    [
        ("http://localhost:8000/auth/google/callback", True),
        ("https://localhost:8443/auth/google/callback", True),
        ("https://[::1]/callback", True),
        ("https://elsewhere.example/callback", False),
        ("https://localhost@elsewhere.example/callback", False),
        ("ftp://localhost/callback", False),
    ],
)
def test_are_those_of_this_machine(uri: str, *, is_allowed: bool) -> None:
    assert Client("us", "secret").allows_redirect(uri) is is_allowed
