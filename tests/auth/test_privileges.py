"""The privileges of auth's role. That they suffice is shown by the other tests, whose service enters with it."""

from collections.abc import Callable

import asyncpg
import pytest

from services.auth.settings import AuthSettings
from services.auth.store.privileges import AUTH
from services.auth.store.tables import metadata
from services.kit.stores.postgres import connect


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE security_events SET email = NULL",
        "UPDATE users SET login_subject = ''",
        "UPDATE accounts SET user_id = user_id",
        "UPDATE provider_tokens SET account_id = account_id",
        "UPDATE signing_keys SET public_jwk = '{}'",
        "UPDATE refresh_tokens SET session_id = session_id",
        "SELECT * FROM alembic_version",
        "DROP TABLE users CASCADE",
        "TRUNCATE security_events",
        "ALTER TABLE users ADD note text",
        "ALTER TABLE users OWNER TO CURRENT_USER",
        "CREATE TABLE own (number int)",
    ],
)
async def test_do_not_let_auth(make_settings: Callable[..., AuthSettings], statement: str) -> None:
    connection = await connect(make_settings().database)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


def test_name_every_table_of_the_service() -> None:
    assert AUTH.keys() == metadata.tables.keys()
