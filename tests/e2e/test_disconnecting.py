"""Giving up an address, or everything, while processes die."""

from collections.abc import Callable

import httpx

from tests.e2e.people import Person, Provider
from tests.e2e.running_stack import RunningStack
from tests.e2e.test_sync import same_as, wait_for


def is_erased(person: Person, path: str) -> Callable[[], bool]:
    """Whether a repeated DELETE finds nothing left."""

    def ask() -> bool:
        answer = person.delete(path)
        assert answer.status_code in (202, 204), answer.text
        return answer.status_code == 204

    return ask


class TestDisconnect:
    def test_ends_access_and_erases_the_mail(
        self, http: httpx.Client, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=20)
        sync = ada.sync()
        path = f"/emails/addresses/{ada.address()['account_id']}"
        message = ada.emails()[0]
        assert ada.delete(path).status_code in (202, 204)
        assert ada.get(f"/emails?user_email={ada.email}").status_code == 404
        assert ada.get(f"/emails/{message['id']}").status_code == 404
        assert ada.get(f"/emails/syncs/{sync['id']}").status_code == 404
        assert ada.get("/emails/addresses").json() == {"addresses": []}
        wait_for(is_erased(ada, path), seconds=30)
        again = Person.sign_in(http, ada.email)
        again.sync()
        same_as(provider, again)
        assert message["id"] not in {email["id"] for email in again.emails()}

    def test_is_finished_after_the_worker_was_killed(
        self, stack: RunningStack, new_person: Callable[..., Person]
    ) -> None:
        ada = new_person(messages=300)
        ada.sync()
        path = f"/emails/addresses/{ada.address()['account_id']}"
        try:
            stack.kill("worker")
            assert ada.delete(path).status_code == 202
            assert ada.get("/emails/addresses").json() == {"addresses": []}
            assert ada.delete(path).status_code == 202
        finally:
            stack.start("worker")
        wait_for(is_erased(ada, path), seconds=30)


class TestDeleteUser:
    def test_erases_everything_and_the_next_sign_in_is_another_user(
        self, http: httpx.Client, new_person: Callable[..., Person]
    ) -> None:
        ada = new_person(messages=5)
        ada.sync()
        user_id = ada.get("/auth/me").json()["user_id"]
        wait_for(is_erased(ada, "/auth/me"), seconds=30)
        assert ada.get("/auth/me").status_code == 404
        again = Person.sign_in(http, ada.email)
        assert again.get("/auth/me").json()["user_id"] != user_id
        assert again.address()["message_count"] == 0
