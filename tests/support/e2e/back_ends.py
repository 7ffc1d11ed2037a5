"""Back ends that act for their users with an API key, and the browsers of these users."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

# A redirect URL of applications in these tests.
RETURN = "https://shop.example/"


@dataclass(frozen=True, slots=True)
class BackEnd:
    """The holder of an API key."""

    http: httpx.Client
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of all requests."""
        return {"Authorization": f"Bearer {self.key}"}

    def get(self, path: str, **params: str | int) -> httpx.Response:
        return self.http.get(path, params=params, headers=self.headers)

    def post(self, path: str, body: object, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={**self.headers, **headers})

    def start(self, external_user_id: str, **fields: object) -> dict[str, Any]:
        """Create a connect session."""
        body = {"external_user_id": external_user_id, "redirect_url": RETURN, **fields}
        answer = self.post("/connect/sessions", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def complete(self, session: str, code: str) -> httpx.Response:
        """Complete a connect session."""
        return self.post(f"/connect/sessions/{session}/complete", {"code": code})

    def connected(self, external_user_id: str, email: str) -> dict[str, Any]:
        """Connect the mailbox of a user, from the session to its completion; return it."""
        back = consented(self.http, self.start(external_user_id)["url"], email)
        answer = self.complete(back["session"], back["code"])
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def sync(self, mailbox_id: str) -> None:
        """Copy a mailbox."""
        body = {"mailbox_id": mailbox_id, "count": "all"}
        answer = self.post("/emails/sync", body, Prefer="wait=60")
        assert (answer.status_code, answer.json()["state"]) == (200, "completed"), answer.text


def consented(http: httpx.Client, url: str, email: str, **form: object) -> dict[str, str]:
    """Open the page of a session, continue with Google and consent; return the parameters at the application."""
    page = http.get(url)
    assert page.status_code == 200, page.text
    [button] = [found for found in re.findall(r'formaction="([^"]+)"', page.text) if "provider=google" in found]
    begun = http.post(httpx.URL(url).join(unescape(button)), headers={"Sec-Fetch-Site": "same-origin"})
    assert begun.status_code == 303, begun.text
    place = begun.headers["location"]
    # Without a refresh token the user is asked a second time.
    while not place.startswith(f"{RETURN}?"):
        agreed = http.post(place, data={"account": email, "decision": "allow", **form})
        back = http.get(agreed.headers["location"])
        assert back.status_code == 303, back.text
        place = back.headers["location"]
    return {name: value for name, [value] in parse_qs(urlsplit(place).query).items()}
