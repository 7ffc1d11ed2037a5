"""Every call of the REST API that the console makes, with the same in Python."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

type Value = str | int | bool
type Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the REST API; `python` is the expression that makes it, for a client named `mailroom`."""

    method: str
    path: str
    python: str
    params: Mapping[str, Value] = field(default_factory=dict)
    body: Body | None = None
    # Seconds for which the gateway may hold the answer (`Prefer: wait`).
    wait: int | None = None
    # Whether it bears a credential.
    authorized: bool = True


def _get(path: str, python: str, **params: Value | None) -> Call:
    return Call("GET", path, python, {name: value for name, value in params.items() if value not in (None, "")})


def _id(value: str) -> str:
    """Return an id for a path: none can name another resource."""
    return quote(value, safe="")


def get_usage(*, hours: int) -> Call:
    """Count what the application used by the hour, and its mailboxes by state."""
    return _get("/usage", f"mailroom.usage.get(hours={hours})", hours=hours)


def list_mailboxes(*, limit: int, status: str = "", cursor: str = "") -> Call:
    """List mailboxes, all or those in a state."""
    named = f"status={status!r}" if status else ""
    python = f"mailroom.mailboxes.list({named}).first({limit})"
    return _get("/mailboxes", python, status=status, limit=limit, cursor=cursor)


def get_mailbox(mailbox_id: str) -> Call:
    """Get a mailbox."""
    return _get(f"/mailboxes/{_id(mailbox_id)}", f"mailroom.mailboxes.get({mailbox_id!r})")


def disconnect_mailbox(mailbox_id: str) -> Call:
    """Disconnect a mailbox and erase its mail."""
    return Call("DELETE", f"/mailboxes/{_id(mailbox_id)}", f"mailroom.mailboxes.disconnect({mailbox_id!r})")


def list_syncs(mailbox_id: str, *, limit: int) -> Call:
    """List the syncs of a mailbox, newest first."""
    python = f"mailroom.syncs.list({mailbox_id!r}).first({limit})"
    return _get("/emails/syncs", python, mailbox_id=mailbox_id, limit=limit)


def get_sync(sync_id: str) -> Call:
    """Get a sync with its dead letters."""
    return _get(f"/emails/syncs/{_id(sync_id)}", f"mailroom.syncs.get({sync_id!r})")


def start_sync(mailbox_id: str, *, count: int | str) -> Call:
    """Bring a mailbox up to date."""
    python = f"mailroom.syncs.start({mailbox_id!r}, count={count!r})"
    return Call("POST", "/emails/sync", python, body={"mailbox_id": mailbox_id, "count": count})


def verify_mailbox(mailbox_id: str) -> Call:
    """Compare a mailbox with the provider."""
    python = f"mailroom.syncs.verify({mailbox_id!r})"
    return Call("POST", "/emails/verify", python, body={"mailbox_id": mailbox_id})


def cancel_sync(sync_id: str) -> Call:
    """Cancel a sync."""
    return Call("DELETE", f"/emails/syncs/{_id(sync_id)}", f"mailroom.syncs.cancel({sync_id!r})")


def retry_sync(sync_id: str) -> Call:
    """Try the dead letters of a sync again."""
    return Call("POST", f"/emails/syncs/{_id(sync_id)}/retry", f"mailroom.syncs.retry({sync_id!r})")


def list_emails(mailbox_id: str, *, query: str, limit: int, cursor: str) -> Call:
    """List messages, newest first; `query` may be empty."""
    found = f", {query!r}, highlight=True" if query else ""
    return _get(
        "/emails",
        f"mailroom.emails.list({mailbox_id!r}{found}).first({limit})",
        mailbox_id=mailbox_id,
        q=query,
        highlight="true" if query else None,
        limit=limit,
        cursor=cursor,
    )


def get_email(email_id: str) -> Call:
    """Get a whole message."""
    return _get(f"/emails/{_id(email_id)}", f"mailroom.emails.get({email_id!r})")


def get_raw(email_id: str) -> Call:
    """Get a message as the provider has it."""
    return _get(f"/emails/{_id(email_id)}/raw", f"mailroom.emails.raw({email_id!r})")


def get_attachment(email_id: str, attachment_id: str) -> Call:
    """Get the bytes of an attachment."""
    path = f"/emails/{_id(email_id)}/attachments/{_id(attachment_id)}"
    return _get(path, f"mailroom.emails.attachment({email_id!r}, {attachment_id!r})")


def list_threads(mailbox_id: str, *, limit: int, cursor: str) -> Call:
    """List threads, those with the newest messages first."""
    python = f"mailroom.emails.threads({mailbox_id!r}).first({limit})"
    return _get("/emails/threads", python, mailbox_id=mailbox_id, limit=limit, cursor=cursor)


def get_thread(thread_id: str, *, mailbox_id: str) -> Call:
    """Get a thread with its messages. API keys name the mailbox."""
    path = f"/emails/threads/{_id(thread_id)}"
    return _get(path, f"mailroom.emails.thread({thread_id!r})", mailbox_id=mailbox_id)


def list_labels(mailbox_id: str) -> Call:
    """List the labels of a mailbox with their counts."""
    return _get("/emails/labels", f"mailroom.emails.labels({mailbox_id!r})", mailbox_id=mailbox_id)


def list_changes(mailbox_id: str, *, since: str = "", wait: int | None = None) -> Call:
    """List the changes since a position; without one, get the present position."""
    python = (
        f"mailroom.changes.follow({mailbox_id!r}, {since!r})" if since else f"mailroom.changes.position({mailbox_id!r})"
    )
    params: dict[str, Value] = {"mailbox_id": mailbox_id}
    if since:
        params["since"] = since
    return Call("GET", "/emails/changes", python, params, wait=wait)


def list_keys() -> Call:
    """List the API keys of the application."""
    return _get("/keys", "mailroom.keys.list()")


def create_key(name: str, *, scopes: list[str], expires_at: str | None) -> Call:
    """Create an API key."""
    body: dict[str, object] = {"name": name, "scopes": scopes}
    if expires_at is not None:
        body["expires_at"] = expires_at
    return Call("POST", "/keys", f"mailroom.keys.create({name!r}, scopes={scopes!r})", body=body)


def revoke_key(key_id: str) -> Call:
    """Revoke an API key."""
    return Call("DELETE", f"/keys/{_id(key_id)}", f"mailroom.keys.revoke({key_id!r})")


def list_key_events(key_id: str) -> Call:
    """List what happened to an API key."""
    return _get(f"/keys/{_id(key_id)}/events", f"mailroom.keys.events({key_id!r})")


def list_audit_events(*, limit: int, type_: str = "", user_id: str = "", key_id: str = "", cursor: str = "") -> Call:
    """List what happened to users and keys of the application, newest first; empty: no limit."""
    named = ", ".join(
        f"{name}={value!r}" for name, value in (("type", type_), ("user_id", user_id), ("key_id", key_id)) if value
    )
    python = f"mailroom.audit.list({named}).first({limit})"
    return _get("/audit/events", python, type=type_, user_id=user_id, key_id=key_id, limit=limit, cursor=cursor)


def start_connection(external_user_id: str, *, redirect_url: str) -> Call:
    """Have a user of the application connect a mailbox in a browser."""
    python = f"mailroom.connections.start({external_user_id!r}, redirect_url={redirect_url!r})"
    body = {"external_user_id": external_user_id, "redirect_url": redirect_url}
    return Call("POST", "/connect/sessions", python, body=body)


def complete_connection(session_id: str, code: str) -> Call:
    """Connect the mailbox with the code that the browser brought."""
    python = f"mailroom.connections.complete({session_id!r}, {code!r})"
    return Call("POST", f"/connect/sessions/{_id(session_id)}/complete", python, body={"code": code})


def list_webhooks() -> Call:
    """List the webhooks of the application."""
    return _get("/webhooks", "mailroom.webhooks.list()")


def get_webhook(webhook_id: str) -> Call:
    """Get a webhook."""
    return _get(f"/webhooks/{_id(webhook_id)}", f"mailroom.webhooks.get({webhook_id!r})")


def create_webhook(
    url: str, *, events: list[str], mailbox_ids: list[str] | None, description: str, backfill: bool, order: str
) -> Call:
    """Create a webhook; no `events` are all, and `mailbox_ids` None is all mailboxes."""
    body: dict[str, object] = {"url": url, "events": events, "description": description}
    body |= {"backfill": backfill, "order": order}
    named = f"events={events!r}, description={description!r}, backfill={backfill!r}, order={order!r}"
    if mailbox_ids is not None:
        body["mailbox_ids"] = mailbox_ids
        named += f", mailbox_ids={mailbox_ids!r}"
    return Call("POST", "/webhooks", f"mailroom.webhooks.create({url!r}, {named})", body=body)


def update_webhook(
    webhook_id: str, *, url: str, events: list[str], mailbox_ids: list[str] | None, description: str, order: str
) -> Call:
    """Change what a webhook is sent, and where to; no `events` are all, and `mailbox_ids` None is all mailboxes."""
    mailboxes = "all_mailboxes=True" if mailbox_ids is None else f"mailbox_ids={mailbox_ids!r}"
    named = f"url={url!r}, events={events!r}, {mailboxes}, description={description!r}, order={order!r}"
    python = f"mailroom.webhooks.update({webhook_id!r}, {named})"
    body = {"url": url, "events": events, "mailbox_ids": mailbox_ids, "description": description, "order": order}
    return Call("PATCH", f"/webhooks/{_id(webhook_id)}", python, body=body)


def delete_webhook(webhook_id: str) -> Call:
    """Delete a webhook with its deliveries."""
    return Call("DELETE", f"/webhooks/{_id(webhook_id)}", f"mailroom.webhooks.delete({webhook_id!r})")


def rotate_webhook_secret(webhook_id: str, *, overlap_seconds: int) -> Call:
    """Make another secret, beside which the one before signs for a while."""
    python = f"mailroom.webhooks.rotate({webhook_id!r}, overlap_seconds={overlap_seconds})"
    return Call("POST", f"/webhooks/{_id(webhook_id)}/rotate", python, body={"overlap_seconds": overlap_seconds})


def test_webhook(webhook_id: str) -> Call:
    """Send a test."""
    return Call("POST", f"/webhooks/{_id(webhook_id)}/test", f"mailroom.webhooks.test({webhook_id!r})")


def disable_webhook(webhook_id: str) -> Call:
    """Disable a webhook: nothing is sent until it is enabled."""
    python = f"mailroom.webhooks.update({webhook_id!r}, status='disabled')"
    return Call("PATCH", f"/webhooks/{_id(webhook_id)}", python, body={"status": "disabled"})


def enable_webhook(webhook_id: str) -> Call:
    """Enable a webhook that was disabled."""
    return Call("POST", f"/webhooks/{_id(webhook_id)}/enable", f"mailroom.webhooks.enable({webhook_id!r})")


def list_deliveries(webhook_id: str, *, state: str, limit: int, cursor: str) -> Call:
    """List what a webhook was sent, newest first; `state` empty: all."""
    named = f", state={state!r}" if state else ""
    python = f"mailroom.webhooks.deliveries({webhook_id!r}{named}).first({limit})"
    return _get(f"/webhooks/{_id(webhook_id)}/deliveries", python, state=state, limit=limit, cursor=cursor)


def retry_delivery(webhook_id: str, delivery_id: str) -> Call:
    """Send an event once more by itself."""
    path = f"/webhooks/{_id(webhook_id)}/deliveries/{_id(delivery_id)}/retry"
    return Call("POST", path, f"mailroom.webhooks.retry({webhook_id!r}, {delivery_id!r})")


def replay_webhook(webhook_id: str, *, since: str) -> Call:
    """Send again what followed a position, or a time."""
    python = f"mailroom.webhooks.replay({webhook_id!r}, since={since!r})"
    return Call("POST", f"/webhooks/{_id(webhook_id)}/replay", python, body={"since": since})
