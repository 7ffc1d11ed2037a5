"""Providers by a file alone: the examples of the documentation, wrong files, and a made-up provider."""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from services.auth.providers.base import AccessRefusedError, IdentityRefusedError, ProviderUnavailableError
from services.auth.providers.providers_file import ProviderTable, read_providers
from services.auth.providers.userinfo_oauth import UserinfoOAuth
from services.kit.http.outbound import Egress
from tests.support.auth.clock import Time

ROOT = Path(__file__).parents[3]
MADE_UP = """
[made-up]
client_id = "our id"
client_secret = "our secret"
client_authentication = "basic"
authorization_url = "https://made-up.example/authorize?tenant=7"
token_url = "https://made-up.example/token"
scopes = ["who", "mail"]
mail_scopes = ["mail"]
refresh_days = 30

[made-up.userinfo]
url = "https://made-up.example/who?v=2"
parameter = "token"
subject = ["account", "number"]
address = ["account", "mail", "primary"]
verified = ["account", "mail", "checked"]

[made-up.parameters]
authorization = {access = "lasting"}
choice = {chooser = "1"}

[made-up.revocation]
url = "https://made-up.example/end"
parameter = "ended"
takes = "access"
needless = ["gone"]

[made-up.errors]
grant = ["grant is over"]

[made-up.imap]
host = "imap.made-up.example"
mechanism = "OAUTHBEARER"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "providers.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Server:
    """The made-up provider: what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.who: object = {"account": {"number": 42, "mail": {"primary": "ada@made-up.example", "checked": True}}}
        self.who_status = 200
        self.token: object = {"access_token": "token", "refresh_token": "again", "token_type": "bearer"}
        self.token_status = 200

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        match request.url.path:
            case "/who":
                return httpx.Response(self.who_status, json=self.who)
            case "/token":
                return httpx.Response(self.token_status, json=self.token)
            case _:
                return httpx.Response(400, json={"error": "gone"})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def provider(server: Server, tmp_path: Path) -> AsyncIterator[UserinfoOAuth]:
    table = read_providers(written(tmp_path, MADE_UP))["made-up"]
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as http:
        yield UserinfoOAuth(
            "made-up",
            endpoints=table.endpoints,
            client=table.client(callback="https://mailroom.example/auth/made-up/callback"),
            dialect=table.dialect,
            egress=Egress(http, unavailable=ProviderUnavailableError),
            clock=Time().now,
        )


class TestExamples:
    @pytest.mark.parametrize("name", ["example", "mailru", "fastmail"])
    def test_of_the_documentation_are_whole(self, tmp_path: Path, name: str) -> None:
        page = (ROOT / "docs/any-imap.md").read_text(encoding="utf-8")
        [text] = [block for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if block.startswith(f"[{name}]")]
        (tmp_path / f"{name}.secret").write_text("the secret\n")
        table = read_providers(written(tmp_path, text))[name]
        client = table.client(callback="https://mailroom.example/callback")
        assert (client.client_secret, client.redirect_uri) == ("the secret", "https://mailroom.example/callback")
        assert table.imap.port == 993
        assert table.dialect.fields.subject

    def test_explain_every_field(self) -> None:
        page = (ROOT / "docs/any-imap.md").read_text(encoding="utf-8")
        tables = {name: field for name, field in ProviderTable.model_fields.items() if name != "client_secret_file"}
        assert [name for name in tables if f"{name}" not in page] == []


class TestFile:
    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (('client_id = "our id"', ""), "made-up.client_id: Field required"),
            (("[made-up]", "[made-up]\nhunter2 = 1"), "made-up.hunter2: Extra inputs are not permitted"),
            (('"https://made-up.example/token"', '"ftp://hunter2"'), "made-up.token_url: must be an http(s) URL"),
            (('mail_scopes = ["mail"]', 'mail_scopes = ["other"]'), "made-up: scopes must contain one of mail_scopes"),
            (('client_secret = "our secret"', ""), "made-up: needs client_secret or client_secret_file"),
            (
                ('client_secret = "our secret"', 'client_secret_file = "none"'),
                "made-up.client_secret_file cannot be read",
            ),
            (('host = "imap.made-up.example"', "port = 143"), "made-up.imap.host: Field required"),
            (("[made-up", "[google"), "'google' is no name for a provider"),
            (("[made-up", "[Made_Up"), "'Made_Up' is no name for a provider"),
            (('client_id = "our id"', "client_id = hunter2"), "cannot be read (TOMLDecodeError)"),
        ],
    )
    def test_that_is_wrong_is_refused_with_the_field_and_not_its_value(
        self, tmp_path: Path, change: tuple[str, str], line: str
    ) -> None:
        with pytest.raises(ValueError, match=re.escape(line)) as caught:
            read_providers(written(tmp_path, MADE_UP.replace(*change)))
        assert "ftp://hunter2" not in str(caught.value)
        assert "our secret" not in str(caught.value)


class TestMadeUpProvider:
    def test_gets_its_own_parameters_and_keeps_those_of_its_address(self, provider: UserinfoOAuth) -> None:
        url = provider.authorization_url(
            state="s", nonce="n", code_challenge="c", force_consent=False, choose_account=True, max_age=None
        )
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert query["redirect_uri"] == "https://mailroom.example/auth/made-up/callback"
        assert {"tenant": "7", "access": "lasting", "chooser": "1", "scope": "who mail"}.items() <= query.items()
        assert "prompt" not in query

    async def test_tells_the_identity_at_the_ends_of_its_paths(self, provider: UserinfoOAuth, server: Server) -> None:
        identity, grant = await provider.exchange("c", code_verifier="v", nonce="n", max_age=None, timeout=5)
        assert (identity.subject, identity.email, identity.email_verified) == ("42", "ada@made-up.example", True)
        assert grant.scopes == {"who", "mail"}
        token, who = server.requests
        credentials = base64.b64decode(token.headers["authorization"].removeprefix("Basic ")).decode()
        assert credentials == "our+id:our+secret"
        assert b"client_secret" not in token.content
        assert dict(who.url.params) == {"v": "2", "token": "token"}
        assert "authorization" not in who.headers

    @pytest.mark.parametrize("who", [{}, {"account": 7}, {"account": {"number": True}}, {"account": {"number": {}}}])
    async def test_without_an_identity_is_refused(self, provider: UserinfoOAuth, server: Server, who: object) -> None:
        server.who = who
        with pytest.raises(IdentityRefusedError):
            await provider.exchange("c", code_verifier="v", nonce="n", max_age=None, timeout=5)

    async def test_has_error_codes_of_its_own(self, provider: UserinfoOAuth, server: Server) -> None:
        server.token_status, server.token = 400, {"error": "grant is over"}
        with pytest.raises(Exception, match="grant is over") as caught:
            await provider.refresh("again", scopes=frozenset(), timeout=5)
        assert type(caught.value).__name__ == "GrantRefusedError"

    async def test_is_asked_about_tokens_that_the_mail_server_refused(
        self, provider: UserinfoOAuth, server: Server
    ) -> None:
        with pytest.raises(AccessRefusedError):
            await provider.is_dead("token", timeout=5)
        server.who_status = 401
        assert await provider.is_dead("token", timeout=5)

    async def test_ends_a_grant_in_its_own_form(self, provider: UserinfoOAuth, server: Server) -> None:
        _, grant = await provider.exchange("c", code_verifier="v", nonce="n", max_age=None, timeout=5)
        await provider.revoke(grant, timeout=5)
        assert server.requests[-1].content == b"ended=token"
        assert provider.refresh_age is not None
        assert provider.refresh_age.days == 30
