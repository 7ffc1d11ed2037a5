"""Cancelling a sync, and retrying dead letters."""

from collections.abc import Callable

from tests.e2e.test_sync import await_progress, same_as
from tests.support.e2e.people import Person, Provider


class TestCancel:
    def test_ends_the_sync_and_keeps_stored_messages(
        self, new_person: Callable[..., Person], provider: Provider
    ) -> None:
        ada = new_person(messages=600)
        sync = ada.start_sync()
        await_progress(ada, sync, stored=20)
        answer = ada.delete(f"/emails/syncs/{sync['id']}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert ada.get(f"/emails/syncs/{sync['id']}").json()["pending"] == 0
        assert 20 <= len(ada.emails()) < 600
        ada.sync()
        same_as(provider, ada)


class TestRetry:
    def test_stores_dead_letters(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=5)
        poison = provider.truth(ada.email)[2].id
        provider.plan_faults(
            {
                "method": "gmail.messages.get",
                "path": poison,
                "kind": "error",
                "status": 400,
                "reason": "invalidArgument",
            }
        )
        failed = ada.sync()
        assert [letter["external_id"] for letter in failed["dead_letters"]] == [poison]
        [fired] = provider.end_faults()
        assert fired > 0
        answer = ada.post(f"/emails/syncs/{failed['id']}/retry", {})
        assert answer.status_code == 202
        assert ada.await_end(answer.json())["dead_letters"] == []
        same_as(provider, ada)
