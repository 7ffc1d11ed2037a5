"""An application that connects mailboxes of its users by connect sessions, and the browsers of these users."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from mailroom.auth.v1 import auth_pb2

from services.kit.principals import PRINCIPAL_HEADER
from tests.support.auth.client import Client
from tests.support.auth.stand_in import Person, StandIn

RETURN = "https://shop.example/connected?lang=ru"


@dataclass(frozen=True)
class Shop:
    """The application, as its back end: it has the principal of its key."""

    client: Client
    stand_in: StandIn
    application_id: str
    principal: str

    @property
    def proof(self) -> tuple[tuple[str, str], ...]:
        """The metadata of calls for the key."""
        return ((PRINCIPAL_HEADER, self.principal),)

    async def create(self, external_user_id: str = "42", **fields: object) -> auth_pb2.CreateConnectSessionResponse:
        """Create a session."""
        defaults = {"redirect_url": RETURN, "access": ["read"]}
        return await self.client.connections.CreateConnectSession(
            auth_pb2.CreateConnectSessionRequest(
                application_id=self.application_id,
                external_user_id=external_user_id,
                **(defaults | fields),  # type: ignore[arg-type]  # fields of several types
            ),
            metadata=self.proof,
        )

    async def page(self, token: str) -> auth_pb2.GetConnectSessionResponse:
        """Open the page in a browser."""
        return await self.client.connections.GetConnectSession(auth_pb2.GetConnectSessionRequest(token=token))

    async def begin(self, token: str, *, provider: str = "google") -> str:
        """Begin in a browser; return the provider's URL."""
        request = auth_pb2.BeginConnectSessionRequest(token=token, provider=provider)
        return (await self.client.connections.BeginConnectSession(request)).authorization_url

    async def consent(self, authorization_url: str, person: Person, *, granted: str | None = None) -> dict[str, str]:
        """Consent in a browser; return the parameters with which it comes back to the application."""
        response = self.stand_in.consent(authorization_url, person, granted=granted)
        return returned(await self.client.complete(**response))

    async def consented(self, person: Person, external_user_id: str = "42") -> dict[str, str]:
        """Create a session and let the person consent; return the parameters with which the browser comes back."""
        made = await self.create(external_user_id)
        return await self.consent(await self.begin(made.token), person)

    async def complete(self, session: str, code: str) -> auth_pb2.CompleteConnectSessionResponse:
        """Complete a session by the key of the application."""
        return await self.client.connections.CompleteConnectSession(
            auth_pb2.CompleteConnectSessionRequest(application_id=self.application_id, session_id=session, code=code),
            metadata=self.proof,
        )

    async def connected(self, person: Person, external_user_id: str = "42") -> auth_pb2.Account:
        """Connect the person's mailbox for a user, from the session to its completion."""
        back = await self.consented(person, external_user_id)
        return (await self.complete(back["session"], back["code"])).account


def returned(outcome: auth_pb2.CompleteSignInResponse) -> dict[str, str]:
    """Return the parameters of the URL to which the browser is sent, which is the application's."""
    assert outcome.return_url.startswith(f"{RETURN}&")
    return {name: value for name, [value] in parse_qs(urlsplit(outcome.return_url).query).items() if name != "lang"}
