"""Tokens, scopes and refusals, through Google's own client."""

from tests.contract.conftest import NewClient
from tests.support.contract.google_client import GoogleClient

READONLY = "https://www.googleapis.com/auth/gmail.readonly"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"


class TestSignIn:
    def test_the_client_gets_an_access_token_from_its_refresh_token(self, reader: GoogleClient) -> None:
        assert reader.execute(reader.users.getProfile(userId="me"))["emailAddress"] == reader.email
        assert reader.credentials.token
        assert not reader.credentials.expired

    def test_it_refreshes_and_repeats_when_the_token_dies(self, writer: GoogleClient) -> None:
        writer.execute(writer.users.getProfile(userId="me"))
        before = writer.credentials.token
        writer.mailbox("POST", "/tokens/expire")
        writer.execute(writer.users.getProfile(userId="me"))
        assert writer.credentials.token != before


class TestRefusals:
    def test_another_user_is_delegation_denied(self, reader: GoogleClient) -> None:
        code, _, message = reader.refusal(reader.users.getProfile(userId="somebody@example.com"))
        assert (code, message) == (403, f"Delegation denied for {reader.email}")
        reader.execute(reader.users.getProfile(userId=reader.email.upper()))

    def test_a_reading_scope_does_not_write(self, new_client: NewClient) -> None:
        client = new_client(messages=1, scope=READONLY)
        name = client.truth()[0]["id"]
        client.execute(client.users.messages().get(userId="me", id=name, format="raw"))
        refusal = client.refusal(client.users.messages().trash(userId="me", id=name))
        assert refusal == (403, "insufficientPermissions", "Request had insufficient authentication scopes.")

    def test_the_metadata_scope_gives_no_bodies_and_no_search(self, new_client: NewClient) -> None:
        client = new_client(messages=1, scope=METADATA)
        name = client.truth()[0]["id"]
        get = client.users.messages().get
        client.execute(get(userId="me", id=name, format="metadata"))
        assert client.refusal(get(userId="me", id=name))[2] == "Metadata scope doesn't allow format FULL"
        refusal = client.refusal(client.users.messages().list(userId="me", q="x"))
        assert refusal[2] == "Metadata scope does not support 'q' parameter"

    def test_a_quota_error_is_one_that_the_client_waits_for_and_repeats(self, writer: GoogleClient) -> None:
        rule = {
            "method": "gmail.profile.get",
            "kind": "error",
            "status": 403,
            "reason": "rateLimitExceeded",
            "count": 1,
        }
        writer.control("PUT", "/faults", {"rules": [rule | {"user": writer.email}]})
        request = writer.users.getProfile(userId="me")
        request._sleep = lambda _: None
        assert request.execute(num_retries=1)["emailAddress"] == writer.email
        [counted] = writer.control("GET", "/faults")["rules"]
        assert counted["fired"] == 1
        writer.control("DELETE", "/faults")
