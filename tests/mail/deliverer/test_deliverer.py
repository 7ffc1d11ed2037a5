"""Events on their way from feeds to receivers: none is lost, their order is kept, and a gap shows."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from services.mail import events
from services.mail.deliverer.feed_reader import FeedReader
from services.mail.ids import PublicIds
from services.mail.model import FeedEvent, Label, Mailbox
from services.mail.store import changes, labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control import erasures, feed_heads, public_id_key
from services.mail.store.webhooks import cursors
from services.mail.webhooks.endpoints import RuleChanges
from services.mail.webhooks.model import DeliveryState, Endpoint
from tests.support.mail.running_deliverer import QUICK, DelivererOptions, WebhookStage, endpoint_secrets
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import HANG, RESET, Received, Receiver, receiving


async def feed_numbers(hooks: WebhookStage, mailbox: Mailbox, *, after: int = 0) -> list[int]:
    """Return the numbers of a feed's changes."""
    rows = await hooks.pool.fetch(
        "SELECT seq FROM message_changes WHERE mailbox_id = $1 AND seq > $2 ORDER BY seq", mailbox.mailbox_id, after
    )
    return [row["seq"] for row in rows]


async def delivered_numbers(hooks: WebhookStage, endpoint: Endpoint) -> list[int]:
    """Return the numbers of the changes that were delivered, in the order of their delivery."""
    rows = await hooks.pool.fetch(
        """
        SELECT seq FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 'delivered' AND seq IS NOT NULL
        ORDER BY ended_at, seq
        """,
        endpoint.endpoint_id,
    )
    return [row["seq"] for row in rows]


async def states(hooks: WebhookStage, endpoint: Endpoint) -> Counter[str]:
    """Count the deliveries by state, tests not counted."""
    rows = await hooks.pool.fetch(
        "SELECT state FROM webhook_deliveries WHERE endpoint_id = $1 AND event_type <> 'webhook.test'",
        endpoint.endpoint_id,
    )
    return Counter(row["state"] for row in rows)


def refusing(*external_ids: str, status: int) -> Callable[[Received], int]:
    """Return answers that refuse events of these messages."""

    def answer(event: Received) -> int:
        email = event.data.get("email") or {}
        return status if email.get("external_id") in external_ids else 200

    return answer


class TestDelivery:
    async def test_follows_the_feed_from_the_endpoint_on(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer() as running:
            await hooks.change(mailbox, 3)
            await receiver.until(3)
            assert receiver.types() == ["message.created"] * 3
            assert receiver.broken_chains() == []
            assert [each.data["chain_start"] for each in receiver.of(str(mailbox.account_id))] == [True, False, False]
            await until_caught_up(hooks, mailbox)
            assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)

            async def are_counted() -> bool:
                # The first one is the test.
                return running.count("events_total", outcome="delivered") == 4

            await eventually(are_counted)
            assert receiver.refused_signatures == 0

    async def test_begins_with_a_test(self, hooks: WebhookStage, receiver: Receiver) -> None:
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():

            async def is_taken() -> bool:
                return [each.event_type for each in receiver.taken] == ["webhook.test"]

            await eventually(is_taken)
            assert receiver.taken[0].data == {"webhook_id": str(endpoint.endpoint_id)}

    async def test_has_a_summary_and_no_body(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
        [event] = receiver.of(str(mailbox.account_id))
        email = event.data["email"]
        assert email["id"] == event.data["email_id"]
        assert {"subject", "from", "snippet", "labels", "thread_id", "has_attachments"} <= email.keys()
        assert (email["is_read"], email["marks"]) == (True, ["seen"])
        assert not {"text", "html", "headers", "attachments"} & email.keys()
        assert len(event.body) < 20_000

    async def test_goes_to_wanted_types_and_mailboxes_only(self, hooks: WebhookStage, receiver: Receiver) -> None:
        one, other = await hooks.mailbox(), await hooks.mailbox()
        await hooks.endpoint(receiver, event_types=["message.deleted"], account_ids=[one.account_id])
        async with hooks.deliverer():
            for mailbox in (other, one):
                await hooks.change(mailbox, 2)
                async with hooks.pool.acquire() as connection:
                    await messages.delete(connection, mailbox.mailbox_id, ["first"])
                    await events.announce(connection, mailbox.mailbox_id)
            await receiver.until(1)
            await hooks.change(one)
            await hooks.change(other)
            await until_caught_up(hooks, one)
        assert receiver.types() == ["message.deleted"]
        [event] = receiver.of(str(one.account_id))
        assert (event.data["email"], event.data["chain_start"]) == (None, True)

    async def test_of_all_kinds_names_what_has_changed(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        await hooks.endpoint(receiver)
        async with hooks.pool.acquire() as connection:
            await record_each_kind(connection, mailbox)
            await events.announce(connection, mailbox.mailbox_id)
        async with hooks.deliverer():
            await receiver.until(6)
        by_type = {each.event_type: each.data for each in receiver.of(str(mailbox.account_id))}
        assert by_type["label.updated"]["label"] == {"id": "L1", "name": "Work", "type": "user", "role": "none"}
        assert by_type["mailbox.connected"]["again"] is False
        assert by_type["mailbox.access_denied"]["reason"] == "admin_policy"
        assert by_type["sync.failed"]["error"] == "access_denied"
        assert by_type["sync.failed"]["sync_id"] == by_type["sync.completed"]["sync_id"] != "7"
        assert receiver.broken_chains() == []

    async def test_of_other_applications_does_not_exist(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        await hooks.pool.execute("UPDATE feed_heads SET application_id = gen_random_uuid()")
        await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            other = await hooks.mailbox()
            await hooks.change(other)
            await receiver.until(1)
        assert {each.mailbox for each in receiver.taken if each.mailbox} == {str(other.account_id)}


async def record_each_kind(connection: Connection, mailbox: Mailbox) -> None:
    """Record events and a change of a label."""
    mailbox_id = mailbox.mailbox_id
    await labels.record(connection, mailbox_id, [Label(label_id="L1", name="Work", type="user")], confirm_seconds=0)
    await changes.record_event(connection, mailbox_id, FeedEvent.MAILBOX_CONNECTED, {"again": False})
    await changes.record_event(connection, mailbox_id, FeedEvent.REAUTH_REQUIRED)
    await changes.record_event(connection, mailbox_id, FeedEvent.ACCESS_DENIED, {"reason": "admin_policy"})
    await changes.record_event(connection, mailbox_id, FeedEvent.SYNC_COMPLETED, {"sync_id": 7})
    await changes.record_event(connection, mailbox_id, FeedEvent.SYNC_FAILED, {"sync_id": 7, "error": "access_denied"})


async def until_caught_up(hooks: WebhookStage, mailbox: Mailbox) -> None:
    """Wait until the cursors of a mailbox are at its head."""

    async def is_caught_up() -> bool:
        return bool(
            await hooks.pool.fetchval(
                """
                SELECT bool_and(c.seq = h.seq AND c.lease_until IS NULL)
                FROM webhook_cursors c JOIN feed_heads h USING (mailbox_id) WHERE mailbox_id = $1
                """,
                mailbox.mailbox_id,
            )
        )

    await eventually(is_caught_up)


class TestFirstSync:
    async def test_sends_everything_with_backfill(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox(is_live=False)
        await hooks.change(mailbox, 150)
        await hooks.endpoint(receiver, backfill=True)
        async with hooks.deliverer():
            await receiver.until(151)
        assert Counter(receiver.types()) == {"message.created": 151}
        assert receiver.broken_chains() == []


class TestOutage:
    @pytest.mark.parametrize("status", [500, 503, 429, 408, 302, RESET, HANG])
    async def test_loses_nothing_and_keeps_the_order(
        self, hooks: WebhookStage, receiver: Receiver, status: int
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda _: status
        async with hooks.deliverer(DelivererOptions(seconds=0.2)):
            await hooks.change(mailbox, 5)

            async def is_failing() -> bool:
                return (await states(hooks, endpoint))["failing"] == 1

            await eventually(is_failing)
            receiver.answer = lambda _: 200
            await receiver.until(5)
        assert receiver.broken_chains() == []
        assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)
        # Each try of an event has its id.
        tries = Counter(each.event_id for each in receiver.received if each.mailbox)
        assert len(tries) == 5

    async def test_follows_the_schedule_within_its_jitter(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda _: 500
        async with hooks.deliverer(DelivererOptions(rules=replace(QUICK, down=(3600.0,)))):
            await hooks.change(mailbox)
            await until_state(hooks, endpoint, "failing")
        pause = await hooks.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM webhook_cursors")
        assert 3600 * 0.9 - 10 < pause < 3600 * 1.1

    async def test_waits_as_long_as_the_receiver_asks(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer, receiver.answer_headers = (lambda _: 503), {"Retry-After": "5000"}
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await until_state(hooks, endpoint, "failing")
        pause = await hooks.pool.fetchval("SELECT extract(epoch FROM due_at - now())::float8 FROM webhook_cursors")
        assert 4900 < pause < 5001

    async def test_of_one_costs_others_nothing(self, hooks: WebhookStage, receiver: Receiver) -> None:
        async with receiving() as dead:
            mailboxes = [await hooks.mailbox() for _ in range(12)]
            await hooks.endpoint(dead)
            dead.answer = lambda _: HANG
            await hooks.endpoint(receiver)
            async with hooks.deliverer(DelivererOptions(slots=8, slots_per_endpoint=2, seconds=30)):
                for mailbox in mailboxes:
                    await hooks.change(mailbox)
                await receiver.until(12)
                assert dead.most_waiting <= 2

    async def test_ends_for_all_mailboxes_with_the_first_delivery(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailboxes = [await hooks.mailbox() for _ in range(5)]
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda _: 503
        async with hooks.deliverer(DelivererOptions(rules=replace(QUICK, down=(3600.0,)))):
            for mailbox in mailboxes:
                await hooks.change(mailbox)

            async def all_fail() -> bool:
                return (await states(hooks, endpoint))["failing"] == 5

            await eventually(all_fail)
            receiver.answer = lambda _: 200
            await hooks.change(last := await hooks.mailbox())
            await receiver.until(6)
        assert receiver.of(str(last.account_id))

    async def test_of_a_week_disables_tells_and_loses_nothing(self, hooks: WebhookStage, receiver: Receiver) -> None:
        async with receiving() as other:
            mailbox = await hooks.mailbox()
            endpoint = await hooks.endpoint(receiver)
            await hooks.endpoint(other, event_types=["webhook.disabled"])
            receiver.answer = lambda _: 500
            async with hooks.deliverer() as running:
                await hooks.change(mailbox, 3)
                await until_noted_as_failing(hooks, endpoint)
                await hooks.shift("failing_since", "webhook_endpoints", timedelta(days=7))
                await other.until(1)
                assert running.count("endpoints_disabled_total", reason="failing") == 1
                told = next(each for each in other.taken if each.event_type == "webhook.disabled")
                assert told.data["webhook_id"] == str(endpoint.endpoint_id)
                found = await hooks.webhooks.get(hooks.application_id, endpoint.endpoint_id)
                assert found.disabled_reason == "failing"
                await hooks.change(mailbox, 3)
                tried = len(receiver.received)
                receiver.answer = lambda _: 200
                await hooks.webhooks.enable(hooks.application_id, endpoint.endpoint_id)
                await receiver.until(6)
                assert tried < len(receiver.received)
        assert receiver.broken_chains() == []
        assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)

    async def test_beyond_the_kept_changes_ends_with_one_call_to_resync(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
            await until_caught_up(hooks, mailbox)
        await hooks.change(mailbox, 5)
        await hooks.shift("changed_at", "message_changes", timedelta(days=31))
        await hooks.change(mailbox, 2)
        receiver.answer = lambda _: 500 if len(receiver.received) < 4 else 200
        async with hooks.deliverer():
            await receiver.until(2)
            await hooks.change(mailbox)
            await receiver.until(3)
        assert receiver.types() == ["message.created", "mailbox.resync_required", "message.created"]
        resync = receiver.of(str(mailbox.account_id))[1]
        assert resync.data["chain_start"]
        assert receiver.broken_chains() == []
        assert endpoint.disabled_reason == ""


async def until_state(hooks: WebhookStage, endpoint: Endpoint, state: str) -> None:
    """Wait until a delivery of an endpoint has this state."""

    async def is_there() -> bool:
        return (await states(hooks, endpoint))[state] > 0

    await eventually(is_there)


async def until_noted_as_failing(hooks: WebhookStage, endpoint: Endpoint) -> None:
    """Wait until an endpoint is known to take nothing."""

    async def is_noted() -> bool:
        found = await hooks.webhooks.get(hooks.application_id, endpoint.endpoint_id)
        return found.failing_since is not None

    await eventually(is_noted)


class TestRefusal:
    async def test_parks_the_event_after_three_tries_and_shows_the_gap(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox, other = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = refusing("m2", status=400)
        async with hooks.deliverer() as running:
            await hooks.change(mailbox, 3)
            await hooks.change(other, 1)
            await receiver.until(3)
            assert (await states(hooks, endpoint))["parked"] == 1
            assert running.count("events_total", outcome="parked") == 1
            refused = [each for each in receiver.received if each.status == 400]
            assert len(refused) == 3
            # The event behind it names it, which the receiver never took.
            assert len(receiver.broken_chains()) == 1
            [parked] = await hooks.webhooks.deliveries(
                hooks.application_id, endpoint.endpoint_id, state=DeliveryState.PARKED, before=None, limit=10
            )
            receiver.answer = lambda _: 200
            await hooks.webhooks.retry(hooks.application_id, endpoint.endpoint_id, parked.delivery_id)
            await receiver.until(4)
        again = receiver.of(str(mailbox.account_id))[-1]
        assert (again.event_id, again.data["replayed"]) == (refused[0].event_id, True)

    async def test_of_everything_parks_three_and_then_waits(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda _: 404
        async with hooks.deliverer(DelivererOptions(rules=replace(QUICK, down=(3600.0,)))):
            await hooks.change(mailbox, 6)

            async def waits() -> bool:
                return await states(hooks, endpoint) == {"parked": 3, "failing": 1}

            await eventually(waits)
            due = await hooks.pool.fetchval("SELECT due_at > now() + interval '50 minutes' FROM webhook_cursors")
            assert due

    async def test_by_a_defect_of_one_event_lets_others_pass_after_hours(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox, other = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = refusing("m1", status=500)
        async with hooks.deliverer():
            await hooks.change(mailbox, 2)
            await until_state(hooks, endpoint, "failing")
            await hooks.change(other)
            await receiver.until(1)
            assert (await states(hooks, endpoint))["parked"] == 0
            await hooks.shift("failing_since", "webhook_cursors", timedelta(hours=3))
            await receiver.until(2)
            assert (await states(hooks, endpoint))["parked"] == 1

    async def test_keeps_its_schedule_while_others_fail_and_pass(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox, other = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = refusing("m1", status=400)
        async with hooks.deliverer(DelivererOptions(rules=replace(QUICK, refused=(3600.0, 3600.0)))):
            await hooks.change(mailbox)
            await until_state(hooks, endpoint, "failing")
            # Each of these passes after a failure, which wakes what waits.
            await hooks.change(other, 5)
            await receiver.until(5)
        assert len([each for each in receiver.received if each.status == 400]) == 1
        assert await hooks.pool.fetchval(
            "SELECT due_at > now() + interval '30 minutes' FROM webhook_cursors WHERE mailbox_id = $1",
            mailbox.mailbox_id,
        )

    async def test_with_410_disables_the_endpoint(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda event: 410 if event.mailbox else 200
        async with hooks.deliverer():
            await hooks.change(mailbox)

            async def is_gone() -> bool:
                found = await hooks.webhooks.get(hooks.application_id, endpoint.endpoint_id)
                return found.disabled_reason == "gone"

            await eventually(is_gone)
        assert len([each for each in receiver.received if each.mailbox]) == 1


class TestUnwantedChanges:
    async def test_move_the_cursor_and_prolong_its_lease(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, event_types=["sync.completed"])
        await hooks.change(mailbox, 250)
        reader = FeedReader(hooks.pool, ids=await public_ids(hooks), secrets=endpoint_secrets(), lease_seconds=3600)
        async with hooks.pool.acquire() as connection:
            lease = await cursors.claim(
                connection, endpoint.endpoint_id, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60
            )
        assert lease is not None
        run = await reader.open(lease, is_stopping=lambda: False)
        assert run is not None
        assert [page async for page in reader.pages(run)] == []
        row = await hooks.pool.fetchrow(
            "SELECT seq, lease_until > now() + interval '30 minutes' AS is_prolonged FROM webhook_cursors"
        )
        # The last page, of the ten changes behind 241, is kept when the cursor is given back.
        assert row is not None
        assert (row["seq"], row["is_prolonged"], run.seq) == (241, True, 251)


class TestSeveralDeliverers:
    async def test_deliver_each_event_once_and_in_order(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailboxes = [await hooks.mailbox() for _ in range(6)]
        await hooks.endpoint(receiver)
        # On a slow machine a shorter lease can end.
        options = DelivererOptions(lease_seconds=60.0)
        async with hooks.deliverer(options), hooks.deliverer(options), hooks.deliverer(options):
            for _ in range(10):
                await asyncio.gather(*(hooks.change(mailbox, 2) for mailbox in mailboxes))
            await receiver.until(120)
        assert receiver.broken_chains() == []
        assert receiver.repeated() == {}

    async def test_reject_one_that_comes_back_late(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        options = DelivererOptions(lease_seconds=0.3, seconds=5.0)
        held = [True]

        def answer(event: Received) -> int:
            if event.mailbox and held:
                held.clear()
                return HANG
            return 200

        receiver.answer = answer
        async with hooks.deliverer(options), hooks.deliverer(options):
            await hooks.change(mailbox, 3)
            await receiver.until(3)
        assert receiver.broken_chains() == []
        assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)


class TestChanges:
    async def test_of_the_filter_begin_a_new_chain(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver, event_types=["message.created"])
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
            await until_caught_up(hooks, mailbox)
            changed = RuleChanges(event_types=["message.created", "message.deleted"])
            await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, changed)
            await hooks.change(mailbox)
            await receiver.until(2)
        first, second = receiver.of(str(mailbox.account_id))
        assert second.data["chain_start"]
        assert second.data["previous_position"] == first.data["position"]

    async def test_of_the_status_stop_deliveries_and_let_them_go_on(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda event: HANG if event.mailbox else 200
        async with hooks.deliverer(DelivererOptions(seconds=600.0, lease_seconds=600.0)) as running:
            await hooks.change(mailbox, 3)

            async def hangs() -> bool:
                return receiver.waiting == 1

            await eventually(hangs)
            disabled = await hooks.webhooks.change(
                hooks.application_id, endpoint.endpoint_id, RuleChanges(is_enabled=False)
            )
            assert disabled.disabled_reason == "requested"
            await running.kill()
        receiver.answer = lambda _: 200
        async with hooks.deliverer():
            await hooks.change(other := await hooks.mailbox())
            await hooks.webhooks.test(hooks.application_id, endpoint.endpoint_id)

            async def is_tested() -> bool:
                return [each.event_type for each in receiver.taken].count("webhook.test") == 2

            await eventually(is_tested)
            assert receiver.types() == []
            await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, RuleChanges(is_enabled=True))
            await receiver.until(4)
        assert receiver.of(str(other.account_id))
        assert sorted(await delivered_numbers(hooks, endpoint)) == [2, 2, 3, 4]
        assert receiver.broken_chains() == []

    async def test_of_the_past_are_replayed_with_the_same_ids(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox, 4)
            await receiver.until(4)
            await until_caught_up(hooks, mailbox)
            first = receiver.of(str(mailbox.account_id))[0]
            since = (await public_ids(hooks)).parse_position(first.data["position"])
            assert since is not None
            await hooks.webhooks.replay(hooks.application_id, endpoint.endpoint_id, since=since)

            async def are_repeated() -> bool:
                return len(receiver.repeated()) == 3

            await eventually(are_repeated)
            replayed = [each for each in receiver.received if each.data.get("replayed")]
            assert [each.data["chain_start"] for each in replayed] == [True, False, False]
            assert replayed[0].data["previous_position"] == first.data["position"]
            await hooks.change(mailbox)
            await receiver.until(5)
            assert not receiver.received[-1].data["replayed"]
        assert receiver.broken_chains() == []

    async def test_of_the_past_are_replayed_since_a_moment(self, hooks: WebhookStage, receiver: Receiver) -> None:
        one, other = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            for mailbox in (one, other):
                await hooks.change(mailbox, 2)
            await receiver.until(4)
            for mailbox in (one, other):
                await until_caught_up(hooks, mailbox)
            await hooks.webhooks.replay(hooks.application_id, endpoint.endpoint_id, since=endpoint.created_at)

            async def are_repeated() -> bool:
                return len(receiver.repeated()) == 4

            await eventually(are_repeated)
        assert receiver.broken_chains() == []


async def public_ids(hooks: WebhookStage) -> PublicIds:
    """Return the spelling of positions."""
    async with hooks.pool.acquire() as connection:
        return await public_id_key.load(connection)


class TestDisconnectedMailbox:
    async def test_is_told_last_also_after_its_erasure(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
            await until_caught_up(hooks, mailbox)
        # What is pending of its mail is dropped.
        await hooks.change(mailbox, 3)
        await disconnect(hooks, mailbox)
        async with hooks.deliverer():
            await receiver.until(2)
            await hooks.change(other := await hooks.mailbox())
            await receiver.until(3)
        told = receiver.of(str(mailbox.account_id))
        assert [each.event_type for each in told] == ["message.created", "mailbox.disconnected"]
        assert receiver.broken_chains() == []
        assert receiver.of(str(other.account_id))


async def disconnect(hooks: WebhookStage, mailbox: Mailbox) -> None:
    """Disconnect a mailbox and erase it."""
    async with hooks.pool.acquire() as connection, connection.transaction():
        await erasures.hide(connection, mailbox.user_id, mailbox.mailbox_id)
        latest = await changes.position(connection, mailbox.mailbox_id)
        await feed_heads.end(connection, mailbox.mailbox_id, seq=latest.seq + 1, incarnation=latest.incarnation)
        await connection.execute("DELETE FROM mailboxes WHERE mailbox_id = $1", mailbox.mailbox_id)
