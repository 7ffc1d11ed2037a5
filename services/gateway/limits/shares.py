"""Callers' shares of responses that are large, or occupy the gateway for as long as their clients take to read them."""

from contextlib import AbstractAsyncContextManager

from services.gateway.caller import Caller
from services.kit.fair_share import FairShare


class CallerShare:
    """Slots of callers. The keys of one application, and the users for whom they act, hold three quarters at most."""

    def __init__(self, slots: int, *, per_user: int, waiting: int = 0, work: str) -> None:
        self._share = FairShare(slots, per_user=per_user, per_group=slots * 3 // 4, waiting=waiting, work=work)

    def of(self, caller: Caller) -> AbstractAsyncContextManager[None]:
        """Hold a slot while the block lasts. Raises AppError too_many_requests."""
        return self._share.of(caller.user_id, group=caller.application_id)


class Shares:
    """The shares of a process. An unread export holds up to 25 MB here and in mail, a download less than 1 MB."""

    def __init__(self) -> None:
        # A message has up to 8 MB, and while its response is built it is there several times.
        self.messages = CallerShare(12, per_user=3, waiting=64, work="messages, threads or changes are being read")
        self.exports = CallerShare(6, per_user=2, work="exports are running")
        # A page shows many pictures, each of them an attachment: they wait for each other.
        self.downloads = CallerShare(64, per_user=8, waiting=64, work="downloads are running")
        # Each holds a connection, and a call of mail that waits.
        self.streams = CallerShare(256, per_user=16, work="streams of changes are open")
