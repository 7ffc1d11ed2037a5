"""The commands of the key that encrypts records, and of those that sign tokens."""

from datetime import UTC, datetime

import structlog

from services.auth.cipher import cipher_of
from services.auth.command_settings import AuthKeySettings
from services.auth.reencrypt import Reencryption
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.store.transaction import Store
from services.kit.stores.engine import create_engine

log = structlog.get_logger()


async def reencrypt(settings: AuthKeySettings) -> bool:
    """Reencrypt all records under SECRET_KEY; return whether all of them could be decrypted."""
    engine = create_engine(settings.database, application_name="mailroom-auth-reencrypt", pool_size=1)
    try:
        reencrypted = await Reencryption(store=Store(engine), cipher=cipher_of(settings)).run()
    finally:
        await engine.dispose()
    log.info("reencrypted", records=reencrypted.done, failed=reencrypted.failed)
    return reencrypted.failed == 0


async def rotate_signing_keys(settings: AuthKeySettings) -> bool:
    """Create the next signing key unless one exists that does not sign yet."""
    engine = create_engine(settings.database, application_name="mailroom-auth-rotate", pool_size=1)
    try:
        keys = SigningKeys(store=Store(engine), cipher=cipher_of(settings), clock=lambda: datetime.now(UTC))
        made = await keys.rotate()
    finally:
        await engine.dispose()
    log.info("rotated the signing keys", made=made)
    return True
