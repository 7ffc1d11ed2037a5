"""Audit events in words, each with its tone (docs/threat-model.md, security events)."""

from services.console.words.states import State, Tone

# By kind; the API's words.
EVENTS = {
    "Sessions": {
        "signed_in": State(Tone.GOOD, "Signed in"),
        "signed_out": State(Tone.QUIET, "Signed out"),
        "signed_out_everywhere": State(Tone.QUIET, "Signed out everywhere"),
        "refresh_token_reused": State(Tone.BAD, "Refresh token reused", "A token may have been copied."),
        "sign_up_refused": State(Tone.BAD, "Sign-up refused"),
    },
    "Mailboxes": {
        "account_connected": State(Tone.GOOD, "Mailbox connected"),
        "account_linked": State(Tone.GOOD, "Mailbox linked"),
        "account_reconnected": State(Tone.GOOD, "Mailbox reconnected"),
        "account_disconnected": State(Tone.QUIET, "Mailbox disconnected"),
        "account_renamed": State(Tone.QUIET, "Address changed"),
        "link_refused": State(Tone.BAD, "Link refused"),
        "reauth_required": State(Tone.BAD, "Needs a new sign-in"),
        "access_denied": State(Tone.BAD, "Access denied"),
        "access_restored": State(Tone.GOOD, "Access restored"),
    },
    "Users": {
        "deletion_requested": State(Tone.WAITING, "Deletion requested"),
        "user_deleted": State(Tone.QUIET, "User deleted"),
    },
    "Keys": {
        "key_created": State(Tone.GOOD, "Key created"),
        "key_refused": State(Tone.BAD, "Key refused", "A series of refusals is one event."),
        "key_revoked": State(Tone.QUIET, "Key revoked"),
    },
}
_BY_TYPE = {name: state for events in EVENTS.values() for name, state in events.items()}


def event_state(type_: str) -> State:
    """Return a type of events in words; one of a later release by its name."""
    return _BY_TYPE.get(type_, State(Tone.QUIET, type_.replace("_", " ").capitalize()))
