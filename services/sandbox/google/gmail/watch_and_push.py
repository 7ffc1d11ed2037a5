"""watch, stop, and delivery of notifications as Cloud Pub/Sub pushes them.

Source: "Push notifications" of the Gmail API guide; Pub/Sub "Push subscriptions".
"""

import asyncio
import json
import logging
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random

import httpx

from services.sandbox.clock import Clock
from services.sandbox.google.gmail.errors import NOT_FOUND, CallRefusedError, invalid_argument
from services.sandbox.google.gmail.methods.method_call import GmailCall
from services.sandbox.google.gmail.quota import google_time
from services.sandbox.google.gmail.resources import to_json
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.mailbox import Mailbox

WATCH_SECONDS = 7 * 86_400
EVENT_INTERVAL = 1.0
"""Seconds within which further events of a user are dropped."""
ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})
_BEHAVIORS = ("include", "exclude")
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")
_LOG = logging.getLogger("sandbox.push")


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Destination of notifications; none are sent while `endpoint` is None."""

    endpoint: str | None
    audience: str | None
    service_account: str
    subscription: str = "projects/sandbox/subscriptions/mail"
    ack_deadline: float = 10.0


@dataclass(frozen=True, slots=True)
class PushFaults:
    """Faults of delivery: percentages, drawn from a seeded generator, and seconds of delay."""

    drop: int = 0
    duplicate: int = 0
    delay: float = 0.0
    numeric_history_id: bool = False


@dataclass(slots=True)
class _Watch:
    sub: str
    email: str
    labels: frozenset[str]
    excludes: bool
    expires: float
    last_event: float = float("-inf")


class PushService:
    """Watches by user, and the queue of unacknowledged notifications."""

    def __init__(
        self,
        *,
        clock: Clock,
        users: SandboxUsers,
        target: PushTarget,
        random: Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.faults = PushFaults()
        self.sent = self.acknowledged = self.dropped = self.refused = 0
        self._clock = clock
        self._users = users
        self._target = target
        self._random = random
        self._sleep = sleep
        self._watches: dict[str, _Watch] = {}
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._deliveries: set[asyncio.Task[None]] = set()

    def watch(self, call: GmailCall) -> bytes:
        """users.watch: replace the previous watch, and notify at once."""
        body = call.json()
        topic = body.get("topicName")
        if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
            raise CallRefusedError(invalid_argument("Invalid topicName does not match projects/sandbox/topics/*"))
        labels = frozenset(call.strings(body, "labelIds", limit=100))
        if not labels <= call.mailbox.labels.keys():
            raise CallRefusedError(NOT_FOUND)
        excludes = _reads_exclusion(body)
        expires = call.clock.now() + WATCH_SECONDS
        watch = _Watch(call.user.sub, call.user.email, labels, excludes, expires)
        self._watches[call.user.sub] = watch
        history_id = call.mailbox.history.current_id
        self._notify(watch, history_id)
        return to_json({"historyId": str(history_id), "expiration": str(int(expires * 1000))})

    def stop(self, call: GmailCall) -> None:
        """users.stop."""
        self._watches.pop(call.user.sub, None)

    def forget(self, sub: str) -> None:
        """End the watch of an account that is deleted."""
        self._watches.pop(sub, None)

    def changed(self, mailbox: Mailbox, change: Change) -> None:
        """Notify the watcher of a changed mailbox, if the labels match."""
        watch = self._watches.get(mailbox.sub)
        if watch is None or watch.expires <= self._clock.now():
            return
        touched = change.labels | change.labels_added | change.labels_removed
        if watch.labels and bool(watch.labels & touched) == watch.excludes:
            return
        watch.email = mailbox.email
        self._notify(watch, change.id)

    def report(self) -> dict[str, object]:
        """Return watches and counts for the control API."""
        watches = {
            watch.email: {"expires": watch.expires, "labels": sorted(watch.labels)} for watch in self._watches.values()
        }
        return {
            "endpoint": self._target.endpoint,
            "watches": watches,
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            "refused": self.refused,
            "dropped": self.dropped,
        }

    def push_now(self, email: str, history_id: int) -> None:
        """Queue a notification regardless of watches, as a stray or repeated one."""
        self._queue.put_nowait(self._envelope(email, history_id))

    async def run(self) -> None:
        """Deliver until cancelled."""
        if self._target.endpoint is None:
            return
        async with httpx.AsyncClient(timeout=self._target.ack_deadline, trust_env=False) as client:
            try:
                while True:
                    task = asyncio.create_task(self._deliver(client, await self._queue.get()))
                    self._deliveries.add(task)
                    task.add_done_callback(self._deliveries.discard)
            finally:
                for task in self._deliveries:
                    task.cancel()
                await asyncio.gather(*self._deliveries, return_exceptions=True)

    def _notify(self, watch: _Watch, history_id: int) -> None:
        if self._target.endpoint is None:
            return
        now = self._clock.now()
        if now - watch.last_event < EVENT_INTERVAL or self._random.randrange(100) < self.faults.drop:
            self.dropped += 1
            return
        watch.last_event = now
        copies = 2 if self._random.randrange(100) < self.faults.duplicate else 1
        for _ in range(copies):
            self.push_now(watch.email, history_id)

    def _envelope(self, email: str, history_id: int) -> bytes:
        shown: str | int = history_id if self.faults.numeric_history_id else str(history_id)
        data = b64encode(json.dumps({"emailAddress": email, "historyId": shown}).encode()).decode()
        message_id = str(self._random.randrange(10**15, 10**16))
        published = google_time(self._clock.now())
        message = {
            "data": data,
            "messageId": message_id,
            "message_id": message_id,
            "publishTime": published,
            "publish_time": published,
        }
        return to_json({"message": message, "subscription": self._target.subscription})

    async def _deliver(self, client: httpx.AsyncClient, body: bytes) -> None:
        """Post until acknowledged, with a pause that doubles up to a minute."""
        pause = 0.5
        if self.faults.delay:
            await self._sleep(self.faults.delay)
        while not await self._post(client, body):
            await self._sleep(pause)
            pause = min(pause * 2, 60)

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> bool:
        endpoint = self._target.endpoint or ""
        audience = self._target.audience or endpoint
        token = self._users.push_token(audience=audience, service_account=self._target.service_account)
        self.sent += 1
        try:
            answer = await client.post(
                endpoint,
                content=body,
                headers={
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/json",
                    "From": "noreply@google.com",
                },
            )
        except httpx.HTTPError as error:
            _LOG.info("push not delivered: %s", type(error).__name__)
            return False
        if answer.status_code not in ACKNOWLEDGED:
            self.refused += 1
            return False
        self.acknowledged += 1
        return True


def _reads_exclusion(body: Mapping[str, object]) -> bool:
    """Return whether the labels are those to leave out; `labelFilterAction` is the older name of the field."""
    for name in ("labelFilterBehavior", "labelFilterAction"):
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or value.lower() not in _BEHAVIORS:
            raise CallRefusedError(invalid_argument(f"Invalid value at '{name}', \"{str(value)[:60]}\""))
        return value.lower() == "exclude"
    return False
