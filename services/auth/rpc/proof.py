"""What the gateway proves of the API key that asks: its certificate alone manages no keys and makes no tokens."""

from collections.abc import Callable
from typing import Any

from services.kit.principals import PRINCIPAL_HEADER, Principal, Principals, key_subject, unproven_caller
from services.kit.rpc.server import Authenticate, Context

_PROVEN = (
    "/mailroom.auth.v1.ApiKeyService/",
    "/mailroom.auth.v1.ApplicationService/",
    "/mailroom.auth.v1.ConnectService/",
)
# The first one makes principals; the second one is asked by gateways for themselves, the others for browsers that have
# the token of a connect session.
_UNPROVEN = frozenset(
    {
        "/mailroom.auth.v1.ApiKeyService/VerifyApiKey",
        "/mailroom.auth.v1.ApiKeyService/ListRevocations",
        "/mailroom.auth.v1.ConnectService/GetConnectSession",
        "/mailroom.auth.v1.ConnectService/BeginConnectSession",
    }
)
# The field in which a request names the key, or the application, that asks; the first that it has.
_ASKING: dict[str, Callable[[Principal], str]] = {
    "manager_key_id": lambda principal: principal.subject,
    "operator_key_id": lambda principal: principal.subject,
    "acting_key_id": lambda principal: principal.subject,
    "application_id": lambda principal: str(principal.application_id),
}


def is_proven(method: str) -> bool:
    """Return whether an RPC (`/package.Service/Method`) needs the principal of an API key."""
    return method.startswith(_PROVEN) and method not in _UNPROVEN


def proven_by_key(principals: Principals) -> Authenticate:
    """Require of calls that manage keys, users and applications the principal of the key that they name."""

    async def authenticate(method: str, request: Any, context: Context) -> None:
        if not is_proven(method):
            return
        metadata = dict(context.invocation_metadata() or ())
        principal = await principals.read(str(metadata.get(PRINCIPAL_HEADER, "")))
        named = next(name for name in _ASKING if name in request.DESCRIPTOR.fields_by_name)
        value = getattr(request, named)
        if _ASKING[named](principal) != (value if named == "application_id" else key_subject(value)):
            raise unproven_caller()

    return authenticate
