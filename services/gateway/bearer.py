"""The caller of a request, by its bearer token."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.gateway.access_tokens import AccessTokens, Caller
from services.kit.errors import AppError, Kind

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="The access token of POST /auth/token")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def caller_of(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    """Return the caller that the bearer token names. Raises AppError missing_token, invalid_token."""
    if credentials is None:
        raise AppError(Kind.UNAUTHENTICATED, "missing_token", "Send an access token: Authorization: Bearer <token>.")
    tokens: AccessTokens = request.app.state.access_tokens
    return await tokens.read(credentials.credentials)


async def _caller(request: Request, credentials: Credentials) -> Caller:
    return await caller_of(request, credentials)


async def _caller_if_any(request: Request, credentials: Credentials) -> Caller | None:
    # An invalid token is refused: without a token the request has another meaning.
    return await caller_of(request, credentials) if "authorization" in request.headers else None


SignedIn = Annotated[Caller, Depends(_caller)]
MaybeCaller = Annotated[Caller | None, Depends(_caller_if_any)]
