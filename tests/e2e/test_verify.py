"""Verifying that the copy equals the provider's mailbox."""

import hashlib
from collections.abc import Callable

from tests.support.e2e.people import Person, Provider


def digest_at(provider: Provider, person: Person) -> str:
    """Compute the digest of a true copy from the provider's side, as the contract describes it."""
    digest = 0
    for item in provider.truth(person.email):
        line = f"{item.id} {','.join(sorted(item.labels))}"
        digest ^= int.from_bytes(hashlib.sha256(line.encode()).digest()[:16])
    return f"{digest:032x}"


class TestVerify:
    def test_tells_that_a_copy_is_complete(self, new_person: Callable[..., Person], provider: Provider) -> None:
        ada = new_person(messages=10)
        refused = ada.post("/emails/verify", {"email": ada.email})
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_verify")
        ada.sync()
        answer = ada.post("/emails/verify", {"email": ada.email}, Prefer="wait=60")
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")
        found = {"missing": 0, "extra": 0, "drift": 0}
        assert answer.json()["verification"] == {"done": True, **found, "digest": digest_at(provider, ada)}
