"""A provider that only PROVIDERS_FILE knows, from the consent to the end of the grant."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from services.kit.rpc.errors import from_rpc_error
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET
from tests.support.auth.client import Client, OpenService
from tests.support.auth.yandex_browser import Browser

# The sandbox's Yandex under another name.
_FILE = """
[made-up]
client_id = "{client_id}"
client_secret = "{client_secret}"
client_authentication = "basic"
authorization_url = "{origin}/yandex/authorize"
token_url = "{origin}/yandex/token"
scopes = ["login:email", "mail:imap_full"]
mail_scopes = ["mail:imap_full"]
refresh_days = 90

[made-up.userinfo]
url = "{origin}/yandex/info"
scheme = "OAuth"
subject = "id"
address = ["default_email"]

[made-up.parameters]
authorization = {{device_id = "made-up device"}}
choice = {{force_confirm = "yes"}}

[made-up.revocation]
url = "{origin}/yandex/revoke_token"
parameter = "access_token"
takes = "access"

[made-up.imap]
host = "imap.made-up.example"
"""


@pytest.fixture(scope="module")
def file(yandex_origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("providers") / "providers.toml"
    path.write_text(_FILE.format(client_id=DEV_CLIENT_ID, client_secret=DEV_CLIENT_SECRET, origin=yandex_origin))
    return path


@pytest.fixture(scope="module")
async def service(open_service: OpenService, file: Path) -> AsyncIterator[Client]:
    """Auth with a provider by a file."""
    async with open_service(providers_file=file) as client:
        yield client


class TestProviderByFile:
    async def test_signs_users_in_and_out(self, service: Client, browser: Browser) -> None:
        email = await browser.new_user()
        user = await browser.sign_in(service, email, provider="made-up")
        [account] = await service.list_accounts(user.user_id)
        assert (account.provider, account.email) == ("made-up", email)
        assert (await browser.sign_in(service, email, provider="made-up")).account_id == user.account_id

        token = (await service.provider_token(user)).access_token
        with pytest.raises(aio.AioRpcError) as caught:
            await service.provider_token(user, refused_token=token)
        assert from_rpc_error(caught.value).metadata["denial"] == "imap_disabled"
        await browser.control("POST", f"users/{email}/tokens/expire")
        assert (await service.provider_token(user, refused_token=token)).access_token != token

        await service.disconnect(user.account_id, user.user_id)
        assert (await browser.calls(email))["yandex.revoke_token"] == 1
