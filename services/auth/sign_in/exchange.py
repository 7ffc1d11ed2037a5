"""The exchange of the code in a provider's response, and what is asked of the identity and the grant."""

import structlog

from services.auth.providers.base import (
    AuthenticationTooOldError,
    Consent,
    Provider,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from services.auth.sign_in.one_time_records import AuthorizationRequest
from services.auth.sign_in.outcomes import AuthorizationResponse, RefusedError, SignInError
from services.kit.context import remaining

log = structlog.get_logger()

# Seconds for all calls to the provider during one redirect; the gateway waits a little longer.
EXCHANGE_TIMEOUT = 8.0

# RFC 6749, section 4.1.2.1. Any other error of a provider is a provider_error.
_REDIRECT_ERRORS = {
    "access_denied": SignInError.ACCESS_DENIED,
    "server_error": SignInError.PROVIDER_UNAVAILABLE,
    "temporarily_unavailable": SignInError.PROVIDER_UNAVAILABLE,
}


async def exchange(provider: Provider, request: AuthorizationRequest, response: AuthorizationResponse) -> Consent:
    """Return the consent that the provider's response brings. Raises RefusedError."""
    if not provider.accepts_issuer(response.iss):
        log.warning("redirect names another issuer", provider=provider.name)
        raise RefusedError(SignInError.PROVIDER_ERROR)
    if response.error or not response.code:
        raise RefusedError(_REDIRECT_ERRORS.get(response.error, SignInError.PROVIDER_ERROR))
    try:
        identity, grant = await provider.exchange(
            response.code,
            code_verifier=request.code_verifier,
            nonce=request.nonce,
            max_age=request.max_age,
            timeout=remaining(EXCHANGE_TIMEOUT),
        )
    except AuthenticationTooOldError as error:
        raise RefusedError(SignInError.REAUTHENTICATION_REQUIRED) from error
    except ProviderError as error:
        raise RefusedError(_outcome_of(error, provider=provider.name)) from error
    # An absent claim decides nothing: an address never identifies a user.
    if identity.email_verified is False:
        raise RefusedError(SignInError.EMAIL_NOT_VERIFIED)
    if not provider.grants_mail(grant.scopes):
        raise RefusedError(SignInError.MISSING_SCOPE)
    return Consent(provider.name, identity, grant)


def _outcome_of(error: ProviderError, *, provider: str) -> SignInError:
    # A refusal of our client, secret or redirect URI affects every user, and only the operator can end it.
    level = log.error if isinstance(error, ProviderRefusedError) else log.warning
    level("code exchange failed", provider=provider, reason=str(error))
    if isinstance(error, ProviderUnavailableError):
        return SignInError.PROVIDER_UNAVAILABLE
    return SignInError.PROVIDER_ERROR
