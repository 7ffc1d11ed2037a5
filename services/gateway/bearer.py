"""The caller of a request, by its bearer token: a user's access token, or an API key."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.gateway.access_tokens import AccessTokens
from services.gateway.api_keys import ApiKeys
from services.gateway.caller import Caller, admit
from services.gateway.client_info import client_of
from services.gateway.limits.rate_limits import RateLimit
from services.gateway.limits.standings import standings_of
from services.gateway.revocations import Revocations
from services.kit.api_key import PREFIX
from services.kit.context import act_for
from services.kit.errors import AppError, Kind
from services.kit.http.client_address import client_address, client_networks

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="The access token of POST /auth/token")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def caller_of(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Caller:
    """Return the caller that the bearer token names, for whom further calls are made.

    Raises AppError missing_token, invalid_token, malformed_api_key, invalid_api_key, network_not_allowed,
    insufficient_scope, wrong_credential.
    """
    if credentials is None:
        raise AppError(
            Kind.UNAUTHENTICATED, "missing_token", "Send an access token or an API key: Authorization: Bearer <token>."
        )
    token = credentials.credentials
    if token.startswith(PREFIX):
        caller = await _caller_of_key(request, token)
    else:
        tokens: AccessTokens = request.app.state.access_tokens
        caller = await tokens.read(token)
    revocations: Revocations = request.app.state.revocations
    await revocations.check(caller)
    admit(caller, request.scope)
    act_for(caller.token)
    return caller


async def _caller_of_key(request: Request, text: str) -> Caller:
    keys: ApiKeys = request.app.state.api_keys
    proxies = request.app.state.trusted_proxies
    address = str(client_address(request.scope, trusted_proxies=proxies) or "")
    known = keys.known(text, address=address)
    if known is not None:
        return known
    # Each look-up is a call of auth, which made-up keys must not make many of.
    limit: RateLimit | None = request.app.state.address_limit
    if limit is not None:
        await limit.take(client_networks(request.scope, trusted_proxies=proxies)[0])
    return await keys.verify(text, address=address, client=client_of(request))


async def _caller(request: Request, credentials: Credentials) -> Caller:
    """Return the caller, and count the request towards their limit."""
    caller = await caller_of(request, credentials)
    limit: RateLimit | None = request.app.state.user_limit
    if limit is not None:
        await limit.take(caller.user_id, standings=standings_of(request.scope))
    return caller


async def _caller_if_any(request: Request, credentials: Credentials) -> Caller | None:
    # An invalid token is refused: without a token the request has another meaning.
    return await caller_of(request, credentials) if "authorization" in request.headers else None


RequestCaller = Annotated[Caller, Depends(_caller)]
MaybeCaller = Annotated[Caller | None, Depends(_caller_if_any)]
