"""Our client at a provider: authorization URLs, and calls with its credentials (RFC 6749, 7636)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

from services.auth.providers import oauth_responses
from services.auth.providers.oauth_responses import STANDARD, ErrorCodes
from services.kit.http.outbound import Egress, HttpResponse


@dataclass(frozen=True)
class RegisteredClient:
    """Our client as the provider registered it, and the scopes that it requests."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...]


class OAuthClient:
    """The calls of a registered client. With `basic` its credentials go into a header instead of the form."""

    def __init__(
        self, registered: RegisteredClient, *, egress: Egress, codes: ErrorCodes = STANDARD, basic: bool = False
    ) -> None:
        self._registered = registered
        self._egress = egress
        self._codes = codes
        self._basic = basic

    def authorization_url(
        self, endpoint: str, *, state: str, code_challenge: str, parameters: Mapping[str, str]
    ) -> str:
        """Return the URL for the browser, with PKCE; it keeps the parameters of the endpoint's configured URL."""
        base = urlsplit(endpoint)
        query = {
            **dict(parse_qsl(base.query, keep_blank_values=True)),
            "client_id": self._registered.client_id,
            "redirect_uri": self._registered.redirect_uri,
            "response_type": "code",
            "scope": " ".join(self._registered.scopes),
            "state": state,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        return base._replace(query=urlencode(query)).geturl()

    async def request_tokens(self, url: str, form: Mapping[str, str], *, timeout: float) -> dict[str, Any]:
        """Return the response of the token endpoint to a grant. Raises ProviderError."""
        answer = await self.post(url, form, timeout=timeout)
        document = answer.json_object()
        # Some providers name an error in each response, null or empty where there is none.
        if not answer.succeeded or document is None or document.get("error"):
            raise oauth_responses.failure(form["grant_type"], answer, self._codes)
        return document

    async def post(self, url: str, form: Mapping[str, str], *, timeout: float) -> HttpResponse:
        """Send the form with our credentials, which RFC 7009, section 2.1 requires for revocation too."""
        client_id, secret = self._registered.client_id, self._registered.client_secret
        if self._basic:
            # Both are encoded first (RFC 6749, section 2.3.1).
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
            basic = f"Basic {base64.b64encode(pair).decode()}"
            return await self._egress.send("POST", url, form=form, authorization=basic, timeout=timeout)
        credentials = {"client_id": client_id, "client_secret": secret}
        return await self._egress.send("POST", url, form={**form, **credentials}, timeout=timeout)
