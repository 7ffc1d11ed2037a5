"""Conversion of requests' fields to the domain."""

from collections.abc import Iterable
from uuid import UUID

from mailroom.auth.v1 import auth_pb2

from services.auth.model import Client
from services.kit.errors import AppError, Kind
from services.kit.scopes import Scope

_LONGEST_TEXT = 100


def uuid_or_none(value: str) -> UUID | None:
    """Return the id in a field; None if it is absent or no UUID."""
    try:
        return UUID(value)
    except ValueError:
        return None


def scopes_of(values: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names. Raises AppError invalid_key_rules."""
    try:
        return frozenset(map(Scope, values))
    except ValueError as error:
        raise AppError(Kind.INVALID, "invalid_key_rules", "There is no such scope.") from error


def client_of(info: auth_pb2.ClientInfo) -> Client:
    """Return the client of a request; longer texts than a gateway sends are cut."""
    return Client(info.address[:_LONGEST_TEXT], info.user_agent[:_LONGEST_TEXT])


def user_id_of(value: str) -> UUID:
    """Return the user's id in a field. Raises AppError invalid_user_id."""
    user_id = uuid_or_none(value)
    if user_id is None:
        raise AppError(Kind.INVALID, "invalid_user_id", "user_id must be a UUID.")
    return user_id


def account_id_of(value: str) -> UUID:
    """Return the account's id in a field. Raises AppError invalid_account_id."""
    account_id = uuid_or_none(value)
    if account_id is None:
        raise AppError(Kind.INVALID, "invalid_account_id", "The id of a mailbox is a UUID.")
    return account_id
