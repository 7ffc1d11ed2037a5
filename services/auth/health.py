"""Whether a process of auth can work, and the words for what keeps it from that."""

import asyncio

import structlog
from sqlalchemy.exc import DBAPIError

from services.auth.cipher import DecryptionError
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from services.kit.observe.postgres_capacity import PostgresCapacity

log = structlog.get_logger()


async def is_ready(*, store: Store, signing_keys: SigningKeys, capacity: PostgresCapacity) -> bool:
    """Return whether the database responds and the signing key can be decrypted; log the reason otherwise.

    Without Redis only sign-ins, or refreshes of provider tokens, fail: sessions and tokens that are valid go on.
    """
    try:
        async with asyncio.timeout(3), store.transaction() as transaction:
            await transaction.ping()
        await signing_keys.current()
    except DecryptionError as error:
        log.error("not ready: the signing key does not open; is SECRET_KEY another one now?", reason=str(error))
    except DBAPIError as error:
        log.warning("not ready: is the database migrated?", reason=str(error.orig))
    except (AppError, OSError) as error:
        log.warning("not ready", reason=str(error))
    else:
        return capacity.fits
    return False


async def check_writes(store: Store) -> None:
    """Check that the database can be written to. Raises ReadOnlyError, AppError."""
    async with store.transaction() as transaction:
        await transaction.write()


async def allowed_connections(store: Store) -> tuple[str, int]:
    """Return an id of the database's server, and how many connections it allows all processes of this role together."""
    async with store.transaction() as transaction:
        return await transaction.allowed_connections()


def explain(error: Exception) -> str | None:
    """Return the reason of an expected failure, without the SQL statement, whose values can be secrets."""
    if isinstance(error, AppError):
        return error.reason
    return f"is the database migrated? {error.orig}" if isinstance(error, DBAPIError) else None
