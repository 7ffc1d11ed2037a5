"""Google's own Python client against a sandbox. Every response is validated against the discovery document."""

import base64
import json
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httplib2
import httpx
import pytest
from google.oauth2.credentials import Credentials
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from services.kit.tls.authorities import public_authorities
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.contract.discovery import Discovery

REDIRECT_URI = "http://localhost/callback"


class GoogleClient:
    """The `service` of one user, and the control API of the sandbox."""

    def __init__(self, url: str, discovery: Discovery, *, email: str, scope: str) -> None:
        self.url = url
        self.email = email
        self._discovery = discovery
        self._scope = scope
        self._http = httpx.Client(base_url=url, trust_env=False, verify=public_authorities(trust_env=False))
        self._transport = httplib2.Http(timeout=20)
        self.service: Any = None
        self.credentials: Any = None

    def close(self) -> None:
        """Close both connections."""
        self._http.close()
        self._transport.close()

    def control(self, verb: str, path: str, body: object = None) -> Any:
        """Call the control API. Returns the JSON of the response, if any."""
        answer = self._http.request(verb, f"/_sandbox{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def mailbox(self, verb: str, path: str, body: object = None) -> Any:
        """Call the control API for this user."""
        return self.control(verb, f"/users/{self.email}{path}", body)

    def truth(self, *, digests: bool = False) -> list[dict[str, Any]]:
        """Return the facts of all messages, newest first; with their SHA-256 on request."""
        answer = self._http.get(f"/_sandbox/users/{self.email}/messages", params={"sha256": int(digests)})
        return [json.loads(line) for line in answer.text.splitlines()]

    def raw(self, message_id: str) -> bytes:
        """Return the bytes of a message."""
        return self._http.get(f"/_sandbox/users/{self.email}/messages/{message_id}/raw").content

    def sign_in(self) -> None:
        """Consent by form, exchange the code, and build the service without an access token."""
        query = urlencode(
            {
                "client_id": DEV_CLIENT_ID,
                "redirect_uri": REDIRECT_URI,
                "response_type": "code",
                "scope": self._scope,
                "access_type": "offline",
                "prompt": "consent",
            }
        )
        answer = self._http.post(
            f"/o/oauth2/v2/auth?{query}", data={"account": self.email, "decision": "allow"}, follow_redirects=False
        )
        [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        client = {"client_id": DEV_CLIENT_ID, "client_secret": DEV_CLIENT_SECRET}
        exchange = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI}
        tokens = self._http.post("/token", data=client | exchange).json()
        self.credentials = Credentials(  # type: ignore[no-untyped-call]
            token=None, refresh_token=tokens["refresh_token"], token_uri=f"{self.url}/token", **client
        )
        http = AuthorizedHttp(self.credentials, http=self._transport)
        self.service = build("gmail", "v1", http=http, static_discovery=True, client_options={"api_endpoint": self.url})

    @property
    def users(self) -> Any:
        """The client's `users()` resource."""
        return self.service.users()

    def execute(self, request: Any) -> dict[str, Any]:
        """Run a request and validate its response against the document."""
        answer = request.execute()
        kind = self._discovery.methods[request.methodId].get("response", {}).get("$ref")
        if kind is None:
            assert answer in ("", b"", {}), answer
            return {}
        problems = self._discovery.problems(answer, kind)
        assert problems == [], problems[:5]
        result: dict[str, Any] = answer
        return result

    def refusal(self, request: Any) -> tuple[int, str, str]:
        """Run a request that must fail. Returns status, first reason and message."""
        with pytest.raises(HttpError) as refused:
            request.execute()
        details = httpx.Response(200, content=refused.value.content).json()["error"]
        assert details["code"] == refused.value.resp.status
        return details["code"], details["errors"][0]["reason"], details["message"]

    def batch(self, requests: list[Any]) -> dict[str, tuple[Any, HttpError | None]]:
        """Run requests in one batch. Returns response or error of each, in order."""
        out: dict[str, tuple[Any, HttpError | None]] = {}

        def collect(name: str, answer: Any, error: HttpError | None) -> None:
            out[name] = (answer, error)

        batch = self.service.new_batch_http_request(callback=collect)
        # The client takes the batch address from the document, not from the endpoint that the service was built for.
        batch._batch_uri = f"{self.url}/batch/gmail/v1"
        for i, request in enumerate(requests):
            batch.add(request, request_id=str(i))
        # The server closes connections after five idle seconds, and this client does not retry a POST on a closed one.
        for connection in self._transport.connections.values():
            connection.close()
        batch.execute()
        return out

    def every(self, resource: Any, name: str, **parameters: object) -> list[dict[str, Any]]:
        """Return all items of a listing, with the client's own `list_next`."""
        items: list[dict[str, Any]] = []
        request = resource.list(userId="me", **parameters)
        while request is not None:
            answer = self.execute(request)
            items += answer.get(name, [])
            request = resource.list_next(request, answer)
        return items


def decode(data: str) -> bytes:
    """Decode base64url with or without padding."""
    return base64.urlsafe_b64decode(data + "==")


def encode(raw: bytes) -> str:
    """Encode a message as the API takes it."""
    return base64.urlsafe_b64encode(raw).decode()


def raw_message(subject: str = "Hi", **headers: str) -> str:
    """Make a short message as the API takes it; underscores in names of further headers become hyphens."""
    message = EmailMessage()
    for name, value in {"From": "me@example.com", "To": "you@example.com", "Subject": subject, **headers}.items():
        message[name.replace("_", "-")] = value
    message.set_content("Some text.")
    return encode(message.as_bytes())


def leaves(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a payload that have no parts."""
    if not part.get("parts"):
        return [part]
    return [leaf for child in part["parts"] for leaf in leaves(child)]
