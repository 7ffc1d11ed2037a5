"""Sign-ins of mailboxes: few of them, and none that locks the account."""

from services.mail.model import SyncState
from services.mail.sync.accounts.access import Patience
from tests.support.imap.mailbox_stage import ImapStage, open_imap_stage
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually
from tests.support.sandbox.imap_servers import EMAIL

AT_ONCE = Patience(denials=1, seconds=0, pause=0.01, lasting_pause=0.01)


async def switch_imap(stage: ImapStage, *, on: bool) -> None:
    """Let the user switch IMAP on or off."""
    await stage.imap.control("PUT", f"users/{EMAIL}/yandex", {"imap": on})
    if not on:
        await stage.imap.control("DELETE", f"users/{EMAIL}/connections")


class TestSignIn:
    async def test_is_made_once_for_many_turns(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", messages=20) as stage:
            await stage.sync(count=5)
            await stage.sync(count=None)
            for _ in range(3):
                await stage.hint()
                await stage.until_idle()
            assert (await stage.imap.account())["logins"] == 1

    async def test_of_a_mailbox_without_imap_tells_what_the_user_must_do(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", patience=AT_ONCE) as stage:
            assert stage.accounts is not None
            await switch_imap(stage, on=False)
            report = await stage.sync(count=5)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "access_denied")
            assert report.mailbox.access_denied_reason == "imap_disabled"
            assert stage.accounts.token == stage.imap.token
            await switch_imap(stage, on=True)
            await stage.imap.deliver(subject="hello")
            assert (await stage.sync(count=5)).sync.state is SyncState.COMPLETED
            assert stage.accounts.denials[-1] == ""

    async def test_with_a_dead_token_asks_for_a_sign_in_of_the_user(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", patience=AT_ONCE) as stage:
            await stage.imap.control_api.revoke(stage.imap.token)
            report = await stage.sync(count=5)
            assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "reauth_required")
            assert (await stage.imap.account())["refused_logins"] == 1

    async def test_that_is_refused_again_and_again_locks_no_account(self, servers: Servers) -> None:
        async with open_imap_stage(servers, "yandex", patience=AT_ONCE) as stage:
            await stage.imap.control("PATCH", "imap", {"refusals_before_lock": 20})
            await stage.sync(count=1)
            await switch_imap(stage, on=False)

            async def is_paused() -> bool:
                await stage.hint()
                refused: int = (await stage.imap.account())["refused_logins"]
                # With the first sign-in these are all that five minutes have.
                return refused == 9

            await eventually(is_paused)

            async def is_at_rest() -> bool:
                return bool(
                    await stage.fetchval(
                        "SELECT bool_and(lease_owner IS NULL AND due_at > now()) FROM mailbox_schedule"
                    )
                )

            for _ in range(20):
                await stage.hint()
                await eventually(is_at_rest)
            account = await stage.imap.account()
            assert (account["refused_logins"], account["locked"]) == (9, False)
