"""Webhooks and deliveries in words."""

from services.console.gateway.client import Json
from services.console.words.states import State, Tone

# What can be asked for, by kind; the API's words.
EVENTS = {
    "Messages": ("message.created", "message.updated", "message.deleted"),
    "Labels": ("label.updated", "label.deleted"),
    "Mailboxes": (
        *("mailbox.connected", "mailbox.reauth_required", "mailbox.access_denied", "mailbox.disconnected"),
        "mailbox.resync_required",
    ),
    "Syncs": ("sync.completed", "sync.failed"),
    "Webhooks": ("webhook.disabled",),
}
_DISABLED = {
    "failing": State(
        Tone.BAD, "Disabled", "Nothing was delivered for days. Events wait, and are sent once it is enabled."
    ),
    "gone": State(Tone.BAD, "Disabled", "It answered 410: it wants no more events."),
    "requested": State(
        Tone.QUIET, "Disabled", "It was disabled on purpose. Events wait, and are sent once it is enabled."
    ),
}
_DISABLED_ANYHOW = State(Tone.BAD, "Disabled", "No events are sent.")
DELIVERY_STATES = {
    "pending": State(Tone.BUSY, "Waiting", "It is sent in a moment."),
    "delivered": State(Tone.GOOD, "Delivered"),
    "failing": State(Tone.WAITING, "Failing", "It is tried again; where order is kept, the events after it wait."),
    "parked": State(Tone.BAD, "Parked", "It was given up, and the events after it went on. Retry it once it can pass."),
    "abandoned": State(Tone.QUIET, "Abandoned", "It is not tried again."),
}
_ERRORS = {
    "timeout": "No answer came in time.",
    "address_refused": "The address is one that Mailroom does not call.",
    "unfit_url": "The URL is not one that Mailroom calls.",
}


def webhook_state(webhook: Json) -> State:
    """Return the state of a webhook."""
    if webhook["status"] == "disabled":
        return _DISABLED.get(webhook["disabled_reason"], _DISABLED_ANYHOW)
    if webhook["failing_since"]:
        return State(Tone.WAITING, "Failing", "Tries fail; events wait, and are tried again.")
    return State(Tone.GOOD, "Enabled")


def delivery_state(delivery: Json) -> State:
    """Return the state of a delivery."""
    return DELIVERY_STATES.get(delivery["state"], State(Tone.QUIET, str(delivery["state"]).capitalize()))


def explain_attempt(attempt: Json) -> str:
    """Return what came of a try."""
    if attempt["status"] is not None:
        return f"Answered {attempt['status']}"
    return _ERRORS.get(attempt["error"], f"No answer: {str(attempt['error']).replace('_', ' ')}.")
