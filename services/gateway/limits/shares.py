"""Users' shares of responses that are large, or occupy the gateway for as long as their clients take to read them."""

from services.kit.fair_share import FairShare


class Shares:
    """The shares of a process. An unread export holds up to 25 MB here and in mail, a download less than 1 MB."""

    def __init__(self) -> None:
        # A message has up to 8 MB, and while its response is built it is there several times.
        self.messages = FairShare(12, per_user=3, waiting=64, work="messages, threads or changes are being read")
        self.exports = FairShare(6, per_user=2, waiting=0, work="exports are running")
        # A page shows many pictures, each of them an attachment: they wait for each other.
        self.downloads = FairShare(64, per_user=8, waiting=64, work="downloads are running")
        # Each holds a connection, and a call of mail that waits.
        self.streams = FairShare(256, per_user=16, waiting=0, work="streams of changes are open")
