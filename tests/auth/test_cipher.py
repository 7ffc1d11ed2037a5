"""The vault opens what was sealed, where it was sealed, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.cipher import Vault, VaultError

SECRET = "a secret of the tests, long enough"
OTHER = "another secret of the tests, as long"


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault(SECRET, previous=None)


class TestOpen:
    @given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_gives_back_what_was_sealed(self, vault: Vault, text: str) -> None:
        record = vault.seal(text, owner="owner", field="field")
        assert vault.open(record, owner="owner", field="field") == text

    def test_refuses_another_owner(self, vault: Vault) -> None:
        record = vault.seal("token", owner="owner", field="field")
        with pytest.raises(VaultError):
            vault.open(record, owner="thief", field="field")

    def test_refuses_another_field(self, vault: Vault) -> None:
        record = vault.seal("token", owner="owner", field="refresh_token")
        with pytest.raises(VaultError):
            vault.open(record, owner="owner", field="access_token")

    def test_refuses_every_truncation(self, vault: Vault) -> None:
        record = vault.seal("token", owner="owner", field="field")
        for length in range(len(record)):
            with pytest.raises(VaultError):
                vault.open(record[:length], owner="owner", field="field")

    def test_refuses_every_changed_byte(self, vault: Vault) -> None:
        record = vault.seal("token", owner="owner", field="field")
        for position in range(len(record)):
            changed = bytearray(record)
            changed[position] ^= 1
            with pytest.raises(VaultError):
                vault.open(bytes(changed), owner="owner", field="field")

    def test_refuses_a_record_of_another_secret(self, vault: Vault) -> None:
        record = Vault(OTHER, previous=None).seal("token", owner="owner", field="field")
        with pytest.raises(VaultError, match="neither SECRET_KEY nor SECRET_KEY_PREVIOUS"):
            vault.open(record, owner="owner", field="field")

    def test_opens_a_record_of_the_previous_secret(self, vault: Vault) -> None:
        record = vault.seal("token", owner="owner", field="field")
        assert Vault(OTHER, previous=SECRET).open(record, owner="owner", field="field") == "token"


class TestSeal:
    def test_makes_another_record_each_time(self, vault: Vault) -> None:
        records = {vault.seal("token", owner="owner", field="field") for _ in range(100)}
        assert len(records) == 100

    def test_uses_the_current_secret(self) -> None:
        rotated = Vault(OTHER, previous=SECRET)
        record = rotated.seal("token", owner="owner", field="field")
        assert record.startswith(rotated.header)
        assert Vault(OTHER, previous=None).open(record, owner="owner", field="field") == "token"

    def test_shows_nothing_of_the_secret_or_the_text(self, vault: Vault) -> None:
        record = vault.seal("a token", owner="owner", field="field")
        assert b"a token" not in record
        assert SECRET.encode() not in record
