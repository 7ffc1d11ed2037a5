"""Conversion of requests' fields to the domain."""

from uuid import UUID

from services.kit.errors import AppError, Kind


def uuid_or_none(value: str) -> UUID | None:
    """Return the id in a field; None if it is absent or no UUID."""
    try:
        return UUID(value)
    except ValueError:
        return None


def user_id_of(value: str) -> UUID:
    """Return the user's id in a field. Raises AppError invalid_user_id."""
    user_id = uuid_or_none(value)
    if user_id is None:
        raise AppError(Kind.INVALID, "invalid_user_id", "user_id must be a UUID.")
    return user_id
