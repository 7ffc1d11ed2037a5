"""The routes that disconnect an address or delete the user."""

import pytest
from mailroom.auth.v1 import auth_pb2

from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway, bearer

ADA = "ada@example.com"
ADDRESS = f"/emails/addresses/account-of-{ADA}"
MAILBOX = f"/mailboxes/account-of-{ADA}"


@pytest.mark.parametrize("path", [MAILBOX, ADDRESS])
class TestDisconnect:
    async def test_is_accepted_and_the_address_is_not_found(self, gateway: Gateway, path: str) -> None:
        gateway.mail.connect("ada", ADA)
        headers = gateway.as_user("ada")
        answer = await gateway.http.delete(path, headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await gateway.http.get("/emails/addresses", headers=headers)).json() == {"addresses": []}

    async def test_repeated_answers_204_once_all_is_erased(self, gateway: Gateway, path: str) -> None:
        gateway.mail.connect("ada", ADA)
        answers = [await gateway.http.delete(path, headers=gateway.as_user("ada")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 204]

    async def test_of_another_user_does_not_exist(self, gateway: Gateway, path: str) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.delete(path, headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")
        assert gateway.mail.mailboxes["ada"]

    @pytest.mark.parametrize("reason", ["reauthentication_required", "invalid_token"])
    async def test_needs_a_recent_sign_in_and_a_session_that_goes_on(
        self, gateway: Gateway, path: str, reason: str
    ) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.auth.refusals["old"] = reason
        answer = await gateway.http.delete(path, headers=bearer(gateway.auth.access_token("ada", sid="old")))
        assert (answer.status_code, answer.json()["code"]) == (401, reason)
        assert gateway.mail.mailboxes["ada"]
        assert gateway.auth.verifications == [auth_pb2.VerifyRecentSignInRequest(user_id="ada", session_id="old")]

    async def test_names_the_challenge_for_a_new_sign_in(self, gateway: Gateway, path: str) -> None:
        gateway.auth.refusals["old"] = "reauthentication_required"
        answer = await gateway.http.delete(path, headers=bearer(gateway.auth.access_token("ada", sid="old")))
        assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]

    async def test_needs_a_token(self, gateway: Gateway, path: str) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")


class TestDeleteUser:
    async def test_gives_up_all_addresses_and_ends_all_sessions(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.connect("ada", "ada@example.org")
        gateway.mail.connect("grace", "grace@example.org")
        answers = [await gateway.http.delete("/auth/me", headers=gateway.as_user("ada")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 204]
        assert gateway.mail.mailboxes.keys() == {"grace"}
        ended = {(ended.user_id, ended.all, ended.user_deletion) for ended in gateway.auth.revocations}
        assert ended == {("ada", True, True)}

    @pytest.mark.parametrize("reason", ["reauthentication_required", "invalid_token"])
    async def test_needs_a_recent_sign_in_and_a_session_that_goes_on(self, gateway: Gateway, reason: str) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.auth.refusals["old"] = reason
        answer = await gateway.http.delete("/auth/me", headers=bearer(gateway.auth.access_token("ada", sid="old")))
        assert (answer.status_code, answer.json()["code"]) == (401, reason)
        assert gateway.mail.mailboxes["ada"]
        assert gateway.auth.revocations == []
        [verification] = gateway.auth.verifications
        assert verification.user_deletion

    async def test_ends_no_session_while_mail_is_down(self, gateway: Gateway) -> None:
        gateway.mail.failure = AppError(Kind.UNAVAILABLE, "service_unavailable", "Mail is down.")
        answer = await gateway.http.delete("/auth/me", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert gateway.auth.revocations == []

    async def test_needs_a_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.delete("/auth/me")).status_code == 401
