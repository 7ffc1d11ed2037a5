"""OAuth of Yandex ID: OAuth 2.0 with userinfo, without OpenID Connect.

Sources: yandex.com/dev/id, "OAuth for web services" (codes, refresh, revocation) and "User data".
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.auth.providers.base import Provider
from services.auth.providers.call_names import Addresses
from services.auth.providers.oauth_client import RegisteredClient
from services.auth.providers.oauth_responses import ErrorCodes
from services.auth.providers.registration import Clock, Registration, text_of
from services.auth.providers.userinfo_oauth import Dialect, Endpoints, Revocation, UserinfoFields, UserinfoOAuth
from services.auth.settings import AuthSettings
from services.kit.http.outbound import Egress

NAME: Final = "yandex"
MAIL_SCOPES: Final = frozenset({"mail:imap_ro", "mail:imap_full"})
# A year is the lifetime of both tokens, and Yandex asks for a refresh about every three months.
_REFRESH_AGE = timedelta(days=90)
_DEVICE_NAME = "Mailroom"
# `invalid_scope`: the registered rights of the client have changed, which ends the tokens of all users.
_CODES = ErrorCodes(
    grant=frozenset({"expired_token"}),
    client=frozenset({"invalid_scope", "Basic auth required", "Malformed Authorization header"}),
)
# The first is the answer for a token without a device: the user has to end that grant at Yandex.
_NEEDLESS_REVOCATIONS = frozenset({"unsupported_token_type", "invalid_token", "invalid_grant", "expired_token"})


def device_id_of(secret: str, client_id: str) -> str:
    """Return the id of this installation as a "device" of its users at Yandex, 32 hexadecimal digits.

    Yandex revokes the tokens of devices only, keeps the 20 newest of a user and client, and asks for an id that is made
    once and sent with each request. The account is unknown until its user has consented, so the id is the
    installation's: an account that is connected again gets its own device again, whoever signs in.
    """
    info = f"mailroom yandex device v1 {client_id}".encode()
    return HKDF(SHA256(), length=16, salt=None, info=info).derive(secret.encode()).hex()


def yandex(
    *,
    endpoints: Endpoints,
    client: RegisteredClient,
    device_id: str,
    egress: Egress,
    clock: Callable[[], datetime],
) -> UserinfoOAuth:
    """Return the provider named `yandex`."""
    device = {"device_id": device_id, "device_name": _DEVICE_NAME}
    dialect = Dialect(
        mail_scopes=MAIL_SCOPES,
        fields=UserinfoFields(subject=("id",), address=("default_email",), client_id=("client_id",)),
        authorization=device,
        consent={"force_confirm": "yes"},
        # Without it the account that the browser is signed in with returns at once.
        choice={"force_confirm": "yes"},
        exchange=device,
        userinfo_scheme="OAuth",
        revocation=Revocation("access_token", takes_access_token=True, needless=_NEEDLESS_REVOCATIONS),
        codes=_CODES,
        refresh_age=_REFRESH_AGE,
    )
    return UserinfoOAuth(NAME, endpoints=endpoints, client=client, dialect=dialect, egress=egress, clock=clock)


def _endpoints(settings: AuthSettings) -> Endpoints:
    return Endpoints(
        authorization_url=settings.yandex_auth_url,
        token_url=settings.yandex_token_url,
        userinfo_url=settings.yandex_userinfo_url or "",
        revoke_url=settings.yandex_revoke_url,
    )


def _addresses(settings: AuthSettings) -> Mapping[str, Addresses]:
    return {NAME: _endpoints(settings).by_name()} if settings.yandex_client_id else {}


def _providers(settings: AuthSettings, egress: Egress, clock: Clock) -> Mapping[str, Provider]:
    if not settings.yandex_client_id:
        return {}
    client = RegisteredClient(
        client_id=settings.yandex_client_id,
        client_secret=text_of(settings.yandex_client_secret),
        redirect_uri=settings.yandex_redirect_uri or settings.callback_of(NAME),
        scopes=tuple(settings.yandex_scopes.split()),
    )
    device_id = device_id_of(settings.secret_key.get_secret_value(), settings.yandex_client_id)
    endpoints = _endpoints(settings)
    return {NAME: yandex(endpoints=endpoints, client=client, device_id=device_id, egress=egress, clock=clock)}


YANDEX = Registration(addresses=_addresses, providers=_providers)
