"""The names that messages and labels of a provider have in a copy, restated here without Mailroom's code."""

import base64
import hashlib
from collections.abc import Mapping, Sequence

from services.sandbox.imap.profiles import Profile

_MARKS = {"UNREAD": "mark:unseen", "STARRED": "mark:flagged", "DRAFT": "mark:draft"}
_ROLES = frozenset({"INBOX", "SENT", "DRAFT", "SPAM", "TRASH"})
_ARCHIVE = "ARCHIVE"
_FOLDER = "folder:"


class GmailTerms:
    """Ids of messages, threads and labels are those of the provider."""

    has_threads = True

    def id_of(self, message_id: str, raw: bytes) -> str:  # noqa: ARG002 - other providers' ids come from the bytes
        """Return the id that a message has in the copy."""
        return message_id

    def labels_of(self, labels: frozenset[str], names: Mapping[str, str]) -> frozenset[str]:  # noqa: ARG002
        """Return the labels that a message with these labels at the sandbox has; `names` are those of its labels."""
        return labels

    def stored_labels(self, label_ids: frozenset[str], names: Mapping[str, str]) -> frozenset[str]:  # noqa: ARG002
        """Return the same of a stored message; `names` are those of the stored labels."""
        return label_ids

    def label_names(self, names: Mapping[str, str]) -> Mapping[str, str]:
        """Return labels by the key that they have in the copy."""
        return names

    def threads(self, threads: Mapping[str, str], linked: Sequence[tuple[str, str]]) -> Mapping[str, str]:  # noqa: ARG002
        """Return the threads of messages with these threads at the sandbox, of which some pairs are linked."""
        return threads


class ImapTerms(GmailTerms):
    """Ids are the server's or digests; labels are folders by name, and flags; threads are made from references."""

    has_threads = False

    def __init__(self, profile: Profile) -> None:
        self._folder_names = profile.folder_names
        self._has_ids = profile.has("OBJECTID")

    def id_of(self, message_id: str, raw: bytes) -> str:
        """Return the EMAILID of the sandbox, or the digest of size and header block."""
        if self._has_ids:
            return f"EM{message_id}"
        end = raw.index(b"\r\n\r\n") + 4
        digest = hashlib.sha256(b"%d\n" % len(raw) + raw[:end]).digest()
        return "M" + base64.urlsafe_b64encode(digest[:24]).decode()

    def labels_of(self, labels: frozenset[str], names: Mapping[str, str]) -> frozenset[str]:
        """Return names of folders, and marks."""
        folders = {names.get(label, label) for label in labels if label in _ROLES or label in names} or {_ARCHIVE}
        marks = {_MARKS[label] for label in labels if label in _MARKS}
        return frozenset({self._folder_names.get(folder, folder) for folder in folders} | marks)

    def stored_labels(self, label_ids: frozenset[str], names: Mapping[str, str]) -> frozenset[str]:
        """Return names of folders, and marks."""
        return frozenset(names.get(id_, id_) if id_.startswith(_FOLDER) else id_ for id_ in label_ids)

    def label_names(self, names: Mapping[str, str]) -> Mapping[str, str]:
        """Return the names by themselves: the copy's ids of folders are its own."""
        return {name: name for name in names.values()}

    def threads(self, threads: Mapping[str, str], linked: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """Return names of threads, one for those that are linked."""
        names = {thread: thread for pair in linked for thread in pair} | {each: each for each in threads.values()}
        for one, other in linked:
            merged, kept = names[one], names[other]
            names = {thread: kept if name == merged else name for thread, name in names.items()}
        return {id_: names[thread] for id_, thread in threads.items()}
