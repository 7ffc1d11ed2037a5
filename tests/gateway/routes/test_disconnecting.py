"""The routes that disconnect an address or delete the user."""

from services.kit.errors import AppError, Kind
from tests.gateway.conftest import Gateway

ADA = "ada@example.com"
ADDRESS = f"/emails/addresses/account-of-{ADA}"


class TestDisconnect:
    async def test_is_accepted_and_the_address_is_not_found(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        headers = gateway.as_user("ada")
        answer = await gateway.http.delete(ADDRESS, headers=headers)
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await gateway.http.get("/emails/addresses", headers=headers)).json() == {"addresses": []}

    async def test_repeated_answers_204_once_all_is_erased(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answers = [await gateway.http.delete(ADDRESS, headers=gateway.as_user("ada")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 204]

    async def test_of_another_user_does_not_exist(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.delete(ADDRESS, headers=gateway.as_user("grace"))
        assert (answer.status_code, answer.json()["code"]) == (404, "mailbox_not_found")
        assert gateway.mail.mailboxes["ada"]

    async def test_needs_a_token(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        answer = await gateway.http.delete(ADDRESS)
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")


class TestDeleteUser:
    async def test_gives_up_all_addresses_and_ends_all_sessions(self, gateway: Gateway) -> None:
        gateway.mail.connect("ada", ADA)
        gateway.mail.connect("ada", "ada@example.org")
        gateway.mail.connect("grace", "grace@example.org")
        answers = [await gateway.http.delete("/auth/me", headers=gateway.as_user("ada")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 204]
        assert gateway.mail.mailboxes.keys() == {"grace"}
        assert {(ended.user_id, ended.all) for ended in gateway.auth.revocations} == {("ada", True)}

    async def test_ends_no_session_while_mail_is_down(self, gateway: Gateway) -> None:
        gateway.mail.failure = AppError(Kind.UNAVAILABLE, "service_unavailable", "Mail is down.")
        answer = await gateway.http.delete("/auth/me", headers=gateway.as_user("ada"))
        assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
        assert gateway.auth.revocations == []

    async def test_needs_a_token(self, gateway: Gateway) -> None:
        assert (await gateway.http.delete("/auth/me")).status_code == 401
