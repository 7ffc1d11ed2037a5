"""The states of mailboxes and syncs in words, each with its tone: the icon and the colour that go with it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.console.gateway.client import Json
from services.console.words.amounts import counted, number
from services.console.words.times import duration, parse_time


class Tone(StrEnum):
    """How a state is to be taken. Its icon differs, not its colour alone."""

    GOOD = "good"
    BUSY = "busy"
    WAITING = "waiting"
    BAD = "bad"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True)
class State:
    """A state in a word, a sentence about it, and what to do about it if anything."""

    tone: Tone
    word: str
    sentence: str = ""
    remedy: str = ""


# What the provider lets Mailroom do with a mailbox, by the API's words.
MAILBOX_STATES = {
    "active": State(Tone.GOOD, "In reach"),
    "reauth_required": State(Tone.BAD, "Needs a new sign-in"),
    "access_denied": State(Tone.BAD, "Access denied"),
}
_WAITS = {
    "quota": "the provider's quota for this mailbox",
    "quota_project": "the quota of this installation at the provider",
    "quota_day": "the next day of the provider's quota",
    "quota_service": "the count of the quota, which is kept in Redis",
    "provider": "the provider, which does not answer",
    "access": "access, which the provider denies",
    "mailroom": "a part of Mailroom that does not answer",
}
_DENIALS = {
    "admin_policy": ("An administrator blocks this application.", "The user asks their administrator to allow it."),
    "app_restricted": (
        "The application is not open to this account.",
        "Publish its consent screen, or add the account to the test users.",
    ),
    "missing_scope": ("The user did not grant access to mail.", "The user connects again and ticks access to mail."),
    "imap_disabled": (
        "Access by mail programs is switched off in the mailbox.",
        "The user switches it on in the settings of the mailbox.",
    ),
    "mailbox_disabled": ("The account has no mailbox.", "The user, or their administrator, switches mail on."),
}
_DENIED = ("The provider denies access and gives no reason.", "The user connects again; if it stays, see the log.")
_ERRORS = {
    "reauth_required": ("The provider ended the access.", "The user connects the mailbox again."),
    "provider_rate_limited": ("The provider's quota is used up.", "It goes on by itself."),
    "provider_unavailable": ("The provider does not answer.", "It goes on by itself."),
    "provider_misconfigured": (
        "The provider refuses this installation.",
        "Check the client's id and secret in the settings.",
    ),
    "listing_incomplete": ("The provider does not list all messages.", "Retry the sync later."),
    "service_unavailable": ("A part of Mailroom does not answer.", "It goes on by itself."),
}


def explain(error: str, denied_reason: str | None) -> tuple[str, str]:
    """Return what an error of a sync means and what to do about it."""
    if error in ("access_denied", "provider_access_denied"):
        return _DENIALS.get(denied_reason or "", _DENIED)
    return _ERRORS.get(error, (f"It failed: {error.replace('_', ' ')}.", "Look for it in docs/errors.md."))


def mailbox_state(mailbox: Json, sync: Json | None, now: datetime) -> State:
    """Return the state of a mailbox with its newest sync."""
    if mailbox["status"] == "reauth_required":
        sentence, remedy = explain("reauth_required", None)
        return State(Tone.BAD, "Needs a new sign-in", sentence, remedy)
    if mailbox["status"] == "access_denied":
        sentence, remedy = explain("access_denied", mailbox["access_denied_reason"])
        return State(Tone.BAD, "Access denied", sentence, remedy)
    if sync is None:
        return State(Tone.QUIET, "Connected", "Nothing is copied yet.", "Start a sync.")
    return sync_state(sync, now)


def sync_state(sync: Json, now: datetime) -> State:
    """Return the state of a sync."""
    match sync["state"]:
        case "completed":
            return _completed(sync)
        case "failed":
            sentence, remedy = explain(sync["error"] or "unknown", sync["access_denied_reason"])
            return State(Tone.BAD, "Failed", sentence, remedy)
        case "cancelled":
            return State(Tone.QUIET, "Cancelled", f"{counted(sync['stored'], 'message')} copied before its end.")
        case _:
            return _going_on(sync, now)


def _completed(sync: Json) -> State:
    lost = sync["dead_letter_count"]
    if lost:
        sentence = f"{counted(lost, 'message')} could not be fetched."
        return State(Tone.WAITING, "Incomplete", sentence, "Open the mailbox for their reasons, and retry.")
    if sync["verification"]:
        found = sync["verification"]
        differing = found["missing"] + found["extra"] + found["drift"]
        sentence = (
            f"{counted(differing, 'difference')} repaired." if differing else "The copy equals the provider's mail."
        )
        return State(Tone.GOOD, "Verified", sentence)
    return State(Tone.GOOD, "Up to date", _kept(sync["count"]))


def _kept(count: int | str) -> str:
    kept = "The whole mailbox" if count == "all" else f"The newest {counted(int(count), 'message')}"
    return f"{kept} and new mail."


def _going_on(sync: Json, now: datetime) -> State:
    done = [f"{number(sync['listed'])} listed", f"{number(sync['stored'])} copied"]
    if sync["pending"]:
        done.append(f"{number(sync['pending'])} to go")
    if rate := _per_minute(sync, now):
        done.append(f"{number(rate)} a minute")
    if sync["eta_seconds"] is not None:
        done.append(f"{duration(sync['eta_seconds'])} left")
    sentence = f"{', '.join(done).capitalize()}."
    if sync["waiting_for"]:
        until = f" until {parse_time(sync['waiting_until']):%H:%M:%S} UTC" if sync["waiting_until"] else ""
        wait = f"Waits for {_WAITS.get(sync['waiting_for'], sync['waiting_for'])}{until}."
        met = explain(sync["last_error"], sync["access_denied_reason"])[0] if sync["last_error"] else ""
        return State(Tone.WAITING, "Waiting", sentence, " ".join(filter(None, (wait, met))))
    word = "Queued" if sync["state"] == "queued" else "Verifying" if sync["verification"] else "Copying"
    return State(Tone.BUSY, word, sentence)


def _per_minute(sync: Json, now: datetime) -> int:
    """Return the messages that were stored a minute since the sync began, 0 while that says nothing."""
    seconds = (now - parse_time(sync["created_at"])).total_seconds()
    return round(sync["stored"] / seconds * 60) if seconds >= 5 else 0


def progress(sync: Json) -> int | None:
    """Return how much of a sync that goes on is done, in percent; None where that is unknown."""
    stored, pending = int(sync["stored"]), int(sync["pending"])
    if sync["ended_at"] is not None or not stored + pending:
        return None
    return min(99, round(100 * stored / (stored + pending)))
