"""Google's google-auth-library for Node: ID tokens, token information, refreshing and revocation."""

from typing import Any

import pytest

from services.sandbox.settings import DEV_CLIENT_ID
from tests.support.e2e.people import Provider
from tests.support.peers.node import run_node

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def email(provider: Provider) -> str:
    return provider.new_user(name="Ada Lovelace", hd="example.com")


@pytest.fixture(scope="module")
def facts(sandbox_url: str, email: str) -> Any:
    return run_node("identity", sandbox=sandbox_url, email=email)


def test_an_id_token_verifies_by_the_published_certificates(facts: Any, sandbox_url: str, email: str) -> None:
    payload = facts["payload"]
    assert (payload["iss"], payload["aud"]) == (sandbox_url, DEV_CLIENT_ID)
    assert (payload["email"], payload["email_verified"], payload["hd"]) == (email, True, "example.com")
    assert payload["name"] == "Ada Lovelace"


def test_a_forged_token_and_another_audience_are_refused(facts: Any) -> None:
    assert "Invalid token signature" in facts["refusals"]["forged"]
    assert "Wrong recipient" in facts["refusals"]["audience"]


def test_cached_certificates_verify_after_an_announced_rotation(facts: Any, email: str) -> None:
    assert facts["rotated"] == email
    assert not facts["sameKey"]


def test_token_info_has_scopes_and_address(facts: Any, email: str) -> None:
    assert {"openid", "https://mail.google.com/"} <= set(facts["scopes"])
    assert facts["infoEmail"] == email


def test_a_token_is_refreshed_until_the_grant_is_revoked(facts: Any) -> None:
    assert facts["isRefreshed"]
    assert facts["afterRevocation"] == "invalid_grant"
