"""Errors that several modules of auth raise."""

from services.kit.errors import AppError, Kind


def account_not_found() -> AppError:
    """Return the error of an account that does not exist, or is another user's."""
    return AppError(Kind.NOT_FOUND, "account_not_found", "There is no such account.")


def application_not_found() -> AppError:
    """Return the error of an application that does not exist."""
    return AppError(Kind.NOT_FOUND, "application_not_found", "There is no such application.")


def connect_session_not_found() -> AppError:
    """Return the error of a connect session that does not exist, or not for its caller."""
    return AppError(Kind.NOT_FOUND, "connect_session_not_found", "There is no such connect session, or it has expired.")


def invalid_page_token() -> AppError:
    """Return the error of a page token of another list."""
    return AppError(Kind.INVALID, "invalid_page_token", "The page token is not one of this list.")


def unknown_provider() -> AppError:
    """Return the error of a provider that has no client here, or is not the one of its connect session."""
    return AppError(Kind.INVALID, "unknown_provider", "There is no such provider.")


def user_not_found() -> AppError:
    """Return the error of a user that does not exist, or is another application's."""
    return AppError(Kind.NOT_FOUND, "user_not_found", "There is no such user.")
