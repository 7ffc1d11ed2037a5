"""The cipher decrypts records for their owner and field only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.cipher import Cipher, DecryptionError

SECRET = "a secret of the tests, long enough"
OTHER = "another secret of the tests, as long"


@pytest.fixture(scope="module")
def cipher() -> Cipher:
    return Cipher(SECRET, previous=None)


class TestDecrypt:
    @given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_decrypts_its_own_records(self, cipher: Cipher, text: str) -> None:
        record = cipher.encrypt(text, owner="owner", field="field")
        assert cipher.decrypt(record, owner="owner", field="field") == text

    def test_refuses_another_owner(self, cipher: Cipher) -> None:
        record = cipher.encrypt("token", owner="owner", field="field")
        with pytest.raises(DecryptionError):
            cipher.decrypt(record, owner="thief", field="field")

    def test_refuses_another_field(self, cipher: Cipher) -> None:
        record = cipher.encrypt("token", owner="owner", field="refresh_token")
        with pytest.raises(DecryptionError):
            cipher.decrypt(record, owner="owner", field="access_token")

    def test_refuses_every_truncation(self, cipher: Cipher) -> None:
        record = cipher.encrypt("token", owner="owner", field="field")
        for length in range(len(record)):
            with pytest.raises(DecryptionError):
                cipher.decrypt(record[:length], owner="owner", field="field")

    def test_refuses_every_changed_byte(self, cipher: Cipher) -> None:
        record = cipher.encrypt("token", owner="owner", field="field")
        for position in range(len(record)):
            changed = bytearray(record)
            changed[position] ^= 1
            with pytest.raises(DecryptionError):
                cipher.decrypt(bytes(changed), owner="owner", field="field")

    def test_refuses_a_record_of_another_secret(self, cipher: Cipher) -> None:
        record = Cipher(OTHER, previous=None).encrypt("token", owner="owner", field="field")
        with pytest.raises(DecryptionError, match="neither the current nor the previous one"):
            cipher.decrypt(record, owner="owner", field="field")

    def test_decrypts_a_record_of_the_previous_secret(self, cipher: Cipher) -> None:
        record = cipher.encrypt("token", owner="owner", field="field")
        assert Cipher(OTHER, previous=SECRET).decrypt(record, owner="owner", field="field") == "token"


class TestEncrypt:
    def test_makes_another_record_each_time(self, cipher: Cipher) -> None:
        records = {cipher.encrypt("token", owner="owner", field="field") for _ in range(100)}
        assert len(records) == 100

    def test_uses_the_current_secret(self) -> None:
        rotated = Cipher(OTHER, previous=SECRET)
        record = rotated.encrypt("token", owner="owner", field="field")
        assert record.startswith(rotated.header)
        assert Cipher(OTHER, previous=None).decrypt(record, owner="owner", field="field") == "token"

    def test_shows_nothing_of_the_secret_or_the_text(self, cipher: Cipher) -> None:
        record = cipher.encrypt("a token", owner="owner", field="field")
        assert b"a token" not in record
        assert SECRET.encode() not in record
