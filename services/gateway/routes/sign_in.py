"""Signing in through a provider, and linking further accounts."""

import time
from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import structlog
from fastapi import Query, Request, Response
from mailroom.auth.v1 import auth_pb2
from mailroom.mail.v1 import mail_pb2
from starlette.background import BackgroundTask
from starlette.responses import RedirectResponse

from services.gateway.bearer import MaybeCaller
from services.gateway.client_info import RequestClient
from services.gateway.clients import Services
from services.gateway.conversions import seconds_until, session_tokens
from services.gateway.dependencies import Backends, Keys
from services.gateway.openapi import problems
from services.gateway.problems.error_codes import OF_A_BODY
from services.gateway.requests.path_parameters import ProviderName
from services.gateway.requests.routing import CALLED_BY_PROVIDERS, Router
from services.gateway.responses import json_response_from
from services.gateway.schemas.sessions import SignInStart, Token, TokenRequest
from services.kit.context import act_for
from services.kit.errors import AppError, Kind, service_unavailable
from services.kit.jwks import KeysUnavailableError
from services.kit.rpc.client import call

router = Router(tags=["sign-in"])

# The client of a redirect is a browser, which cannot handle a problem document.
_SHOWN_TO_THE_FRONTEND = (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.RATE_LIMITED, Kind.INTERNAL)
_KEYS_MAX_AGE = 300
# Beside the standard's header, those of older browsers.
_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_SPECULATIONS = ("prefetch", "prerender", "preview")
# Seconds.
_REFRESH_TIMEOUT = 5.0
_LONGEST_AGE = 2**31 - 1

log = structlog.get_logger()


@router.get(
    "/auth/{provider}/start",
    response_model=SignInStart,
    responses=problems(
        "unknown_provider", "invalid_code_challenge", "client_proof_required", "invalid_token", "too_many_requests"
    ),
)
async def start_sign_in(
    services: Backends,
    caller: MaybeCaller,
    provider: ProviderName,
    code_challenge: Annotated[str, Query(description="The client's own PKCE challenge (RFC 7636)")] = "",
    max_age: Annotated[
        int | None,
        Query(
            ge=0,
            le=_LONGEST_AGE,
            description="Seconds that the authentication at the provider may be old (OpenID Connect)",
        ),
    ] = None,
    # Only one method is allowed.
    code_challenge_method: Annotated[Literal["S256"] | None, Query(description="The only one")] = None,  # noqa: ARG001
) -> Response:
    """Start a sign-in, or with an access token the link of another account: send the browser to the URL."""
    request = auth_pb2.StartSignInRequest(
        provider=provider,
        code_challenge=code_challenge,
        user_id=caller.user_id if caller else "",
        max_age_seconds=max_age,
    )
    answer = await call(services.sign_in.StartSignIn, request)
    return json_response_from(
        {
            "authorization_url": answer.authorization_url,
            "state": answer.state,
            "expires_in": seconds_until(answer.expire_time),
        }
    )


@router.get(
    "/auth/{provider}/callback",
    dependencies=[CALLED_BY_PROVIDERS],
    status_code=HTTPStatus.SEE_OTHER,
    response_class=RedirectResponse,
    responses={
        HTTPStatus.NO_CONTENT: {"description": "A speculative load, which leaves the sign-in alone"},
        **problems("unknown_provider", "too_many_requests"),
    },
)
async def complete_sign_in(
    request: Request,
    services: Backends,
    client: RequestClient,
    provider: ProviderName,
    state: Annotated[str, Query(description="Of the authorization request")] = "",
    code: Annotated[str, Query(description="The authorization code")] = "",
    error: Annotated[str, Query(description="Why there is no code")] = "",
    iss: Annotated[str, Query(description="The provider's issuer (RFC 9207)")] = "",
) -> Response:
    """Handle the provider's redirect, and send the browser to the frontend with `?state=` or `?error=`.

    At the end of a connect session the browser goes to the application, with `?session=` and `&code=` or `&error=`.
    """
    if _is_speculative(request):
        # The state is taken once, so that the browser's later load of the page would fail.
        return Response(status_code=HTTPStatus.NO_CONTENT)
    frontend: str = request.app.state.frontend_redirect_url
    completion = auth_pb2.CompleteSignInRequest(
        provider=provider, state=state, code=code, error=error, iss=iss, client=client
    )
    try:
        answer = await call(services.sign_in.CompleteSignIn, completion)
    except AppError as failure:
        if failure.kind not in _SHOWN_TO_THE_FRONTEND:
            raise
        log.warning("sign-in not completed", reason=failure.reason)
        return _see_other(_with_query(frontend, "error", "service_unavailable"))
    match answer.WhichOneof("outcome"):
        case "login_code":
            return _see_other(_with_query(frontend, "state", answer.login_code))
        case "authorization_url":
            return _see_other(answer.authorization_url)
        case "return_url":
            return _see_other(answer.return_url)
        case _:
            return _see_other(_with_query(frontend, "error", answer.error))


@router.post(
    "/auth/token",
    response_model=Token,
    responses=problems(
        *OF_A_BODY,
        *("invalid_hand_off", "invalid_code_verifier", "link_of_another_user", "account_of_another_user"),
        *("no_offline_access", "invalid_token", "too_many_requests"),
    ),
)
async def redeem_sign_in(
    services: Backends, caller: MaybeCaller, client: RequestClient, body: TokenRequest
) -> Response:
    """Exchange the `state` that the frontend got for a session. It is valid once.

    The `state` of a link requires the access token of the user that started it, and returns that token: the session
    goes on.
    """
    request = auth_pb2.RedeemSignInRequest(
        login_code=body.state,
        code_verifier=body.code_verifier or "",
        user_id=caller.user_id if caller else "",
        client=client,
    )
    answer = await call(services.sign_in.RedeemSignIn, request)
    if caller and (linked := answer.linked_account_id):
        if await refresh_mailboxes(services, caller.user_id, caller.token, account_id=linked):
            raise AppError(
                Kind.INVALID, "invalid_hand_off", "The mailbox is being disconnected; start again in a moment."
            )
        return json_response_from(
            {
                "access_token": caller.token,
                "token_type": "Bearer",
                "expires_in": max(0, caller.expires_at - int(time.time())),
                "mailbox_id": linked,
                "account_id": linked,
            }
        )
    response = json_response_from(session_tokens(answer))
    if answer.user_id:
        response.background = BackgroundTask(refresh_mailboxes, services, answer.user_id, answer.access_token)
    return response


@router.get(
    "/.well-known/jwks.json",
    response_class=Response,
    responses={
        200: {"description": "A JWK set", "content": {"application/jwk-set+json": {"schema": {"type": "object"}}}},
        **problems("service_unavailable"),
    },
)
async def list_signing_keys(keys: Keys) -> Response:
    """List the keys that verify our access tokens (RFC 7517)."""
    try:
        document = await keys.document()
    except KeysUnavailableError as error:
        raise service_unavailable() from error
    headers = {"Cache-Control": f"public, max-age={_KEYS_MAX_AGE}"}
    return Response(document, headers=headers, media_type="application/jwk-set+json")


async def refresh_mailboxes(services: Services, user_id: str, token: str, *, account_id: str = "") -> bool:
    """Let mail learn of a sign-in, or that an account was linked or connected: it goes on where access is back.

    `token` proves the user or key. Returns whether the mailbox of the account is being disconnected, with which the
    link ends. Without this call mail finds out by itself, later: nothing fails or waits for long without mail.
    """
    act_for(token)
    request = mail_pb2.RefreshMailboxesRequest(user_id=user_id, account_id=account_id)
    try:
        return (await call(services.mailboxes.RefreshMailboxes, request, timeout=_REFRESH_TIMEOUT)).disconnected
    except AppError as error:
        log.warning("mail was not told of a sign-in", reason=error.reason)
        return False


def _is_speculative(request: Request) -> bool:
    """Return whether the browser loads the page in case the user goes there (Speculative loading, Sec-Purpose)."""
    return any(word in request.headers.get(name, "").lower() for name in _PURPOSES for word in _SPECULATIONS)


def _see_other(url: str) -> Response:
    return RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER)


def _with_query(url: str, name: str, value: str) -> str:
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), (name, value)]
    return urlunsplit(parts._replace(query=urlencode(query)))
