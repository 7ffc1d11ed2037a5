"""The selected folder as a connection knows it: sequence numbers move only when the client is told."""

from bisect import bisect_left
from collections.abc import Iterator

from services.sandbox.imap import sequence_set
from services.sandbox.imap.flags import flags_of
from services.sandbox.imap.folders import Folder
from services.sandbox.mailboxes.mailbox import Message


class Selected:
    """A folder with the UIDs, in order, that the client was told of."""

    def __init__(self, folder: Folder, *, read_only: bool) -> None:
        self.folder = folder
        self.read_only = read_only
        self.uids = list(folder.uids)
        self.uidvalidity = folder.uidvalidity
        self._seen_version = folder.version
        # The mod-sequences up to which the client knows all flags, and those of single messages above it.
        self._known: dict[int, int] = {}
        self._modseq = max((folder.modseq_of(uid) for uid in folder.uids), default=1)

    def number_of(self, uid: int) -> int:
        """Return the sequence number of a UID that the client knows."""
        return bisect_left(self.uids, uid) + 1

    def find(self, text: str, *, by_uid: bool) -> list[tuple[int, int, Message]]:
        """Return number, UID and message for each member of a set that still exists. Raises ValueError."""
        if by_uid:
            uids = sequence_set.matching(text, self.uids)
        else:
            numbers = range(1, len(self.uids) + 1)
            uids = [self.uids[number - 1] for number in sequence_set.matching(text, numbers)]
        messages = self.folder.messages
        return [(self.number_of(uid), uid, messages[uid]) for uid in uids if uid in messages]

    def forget_flags(self, uid: int) -> None:
        """Note that the client has just been told the present flags of a message."""
        self._known[uid] = self.folder.modseq_of(uid)

    def changes(self, *, expunges: bool, vanished: bool, modseq: bool) -> Iterator[bytes]:
        """Yield the untagged responses that bring the client up to date, and count them as sent."""
        folder = self.folder
        if folder.version == self._seen_version:
            return
        if expunges:
            yield from self._expunges(vanished=vanished)
            self._seen_version = folder.version
        arrived = folder.uids[bisect_left(folder.uids, self.uids[-1] + 1) :] if self.uids else folder.uids
        known = len(self.uids)
        changed = [uid for uid in self.uids if uid in folder.messages and self._has_changed(uid)]
        if arrived:
            self.uids += arrived
            yield b"* %d EXISTS" % len(self.uids)
        for uid in changed:
            labels = folder.messages[uid].labels
            yield self.flags_line(uid, labels, modseq=modseq)
        if known or arrived:
            told = (folder.modseq_of(uid) for uid in (*changed, *arrived))
            self._modseq = max([self._modseq, *self._known.values(), *told])
            self._known.clear()

    def _has_changed(self, uid: int) -> bool:
        return self.folder.modseq_of(uid) > max(self._modseq, self._known.get(uid, 0))

    def flags_line(self, uid: int, labels: frozenset[str], *, modseq: bool) -> bytes:
        """Return an untagged FETCH with the flags of a message."""
        extra = f" MODSEQ ({self.folder.modseq_of(uid)})" if modseq else ""
        return f"* {self.number_of(uid)} FETCH (UID {uid} FLAGS ({' '.join(flags_of(labels))}){extra})".encode()

    def _expunges(self, *, vanished: bool) -> Iterator[bytes]:
        gone = [uid for uid in self.uids if uid not in self.folder.messages]
        if not gone:
            return
        if vanished:
            yield f"* VANISHED {sequence_set.compact(gone)}".encode()
        else:
            # From the end, so that earlier numbers stay.
            for uid in reversed(gone):
                yield b"* %d EXPUNGE" % self.number_of(uid)
                del self.uids[bisect_left(self.uids, uid)]
        self.uids = [uid for uid in self.uids if uid in self.folder.messages]
