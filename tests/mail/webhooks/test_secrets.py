"""Signatures of deliveries: the reference libraries verify them, with both secrets during a rotation."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook as Standard
from svix.webhooks import Webhook as Svix

from services.kit.cipher import DecryptionError
from services.mail.webhooks.secrets import EndpointSecrets, signed_headers, webhook_cipher

BODY = b'{"type":"message.created","data":{"subject":"\xc3\xa4"}}'
OURS = EndpointSecrets(webhook_cipher("k" * 32, previous=None))
LIBRARIES: list[Callable[[str], Standard | Svix]] = [Standard, Svix]


@pytest.mark.parametrize("library", LIBRARIES)
class TestSignature:
    def test_verifies_with_each_secret_of_a_rotation(self, library: Callable[[str], Standard | Svix]) -> None:
        new, old = OURS.make(), OURS.make()
        headers = signed_headers("msg_1", BODY, at=datetime.now(UTC), secrets=[new, old])
        for secret in (new, old):
            library(secret).verify(BODY, headers)
        with pytest.raises(Exception, match="signature"):
            library(OURS.make()).verify(BODY, headers)

    def test_refuses_a_changed_byte(self, library: Callable[[str], Standard | Svix]) -> None:
        secret = OURS.make()
        headers = signed_headers("msg_1", BODY, at=datetime.now(UTC), secrets=[secret])
        for body, changed in ((BODY[:-1] + b" ", headers), (BODY, headers | {"webhook-id": "msg_2"})):
            with pytest.raises(Exception, match="signature"):
                library(secret).verify(body, changed)

    @pytest.mark.parametrize("minutes", [-6, 6])
    def test_is_refused_five_minutes_off(self, library: Callable[[str], Standard | Svix], minutes: int) -> None:
        secret = OURS.make()
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        headers = signed_headers("msg_1", BODY, at=at, secrets=[secret])
        with pytest.raises(Exception, match="timestamp"):
            library(secret).verify(BODY, headers)


class TestEncryption:
    def test_binds_a_secret_to_its_webhook(self) -> None:
        endpoint_id = uuid4()
        record = OURS.encrypt(secret := OURS.make(), endpoint_id)
        assert OURS.decrypt(record, endpoint_id) == secret
        assert secret.encode() not in record
        with pytest.raises(DecryptionError):
            OURS.decrypt(record, uuid4())

    def test_opens_with_the_previous_key(self) -> None:
        endpoint_id = uuid4()
        record = OURS.encrypt(secret := OURS.make(), endpoint_id)
        rotated = EndpointSecrets(webhook_cipher("n" * 32, previous="k" * 32))
        assert rotated.decrypt(record, endpoint_id) == secret
