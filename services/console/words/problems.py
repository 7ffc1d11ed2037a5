"""Failures of the API in words for people: a title, what happened, what to do."""

from dataclasses import dataclass

from services.console.gateway.errors import GatewayError

_WORDS = {
    "gateway_unreachable": (
        "Mailroom does not answer",
        "Check that the gateway runs, and that CONSOLE_GATEWAY_URL names it. Then load the page again.",
    ),
    "service_unavailable": ("A part of Mailroom does not answer", "Try again in a moment."),
    "deadline_exceeded": ("Mailroom took too long", "Try again in a moment."),
    "internal": ("Mailroom has a fault", "Report it with the request id below."),
    "insufficient_scope": ("This key may not do that", "Sign in with a key that has the scope."),
    "wrong_credential": ("This needs another kind of key", "Operator keys reach applications, and no mail."),
    "network_not_allowed": ("This key is limited to other networks", "It would have to include the console's address."),
    "mailbox_not_found": ("There is no such mailbox", "It may have been disconnected."),
    "invalid_account_id": ("There is no such mailbox", "The list of mailboxes has all."),
    "message_not_found": ("There is no such message", "It may have been deleted."),
    "message_gone": ("The provider no longer has this message", "What is stored can still be read."),
    "thread_not_found": ("There is no such thread", "Its messages may have been deleted."),
    "sync_not_found": ("There is no such sync", "Only the newest thousand of a mailbox are kept."),
    "attachment_not_found": ("There is no such attachment", "The message may have changed."),
    "invalid_query": ("The search has a mistake", "The help beside the search box lists the operators."),
    "invalid_page_token": ("This page of the list is no longer valid", "Begin at the first page."),
    "nothing_to_verify": ("There is nothing to verify yet", "Start a sync first."),
    "reauth_required": ("The provider ended the access", "The user connects the mailbox again."),
    "provider_access_denied": ("The provider denies access", "The mailbox's page says why."),
    "provider_rate_limited": ("The provider's quota is used up", "Try again later."),
    "provider_unavailable": ("The provider does not answer", "Try again later."),
    "too_many_requests": ("Too many requests", "Wait a moment."),
    "resync_required": ("This position is no longer known", "Begin at the present one."),
    "api_key_not_found": ("There is no such key", "It may belong to another application."),
    "invalid_key_rules": ("Such a key cannot be made", "It can do no more than the key that you signed in with."),
    "invalid_api_key": ("The key is unknown, revoked or expired", "Sign in with another one."),
    "invalid_redirect_url": (
        "The application does not know the console's address",
        "An operator adds it to the application's redirect URLs.",
    ),
    "invalid_connect_code": ("The connection was not finished in time", "Begin again."),
    "connect_session_not_found": ("There is no such connection", "Begin again."),
    "account_of_another_user": ("The account belongs to another user of the application", "Use another account."),
    "no_offline_access": ("The provider gave no lasting access", "Begin again."),
    "webhook_not_found": ("There is no such webhook", "It may have been deleted."),
    "delivery_not_found": ("There is no such delivery", "Delivered events are shown for some days only."),
    "invalid_webhook": ("Such a webhook cannot be made", "It needs a URL with https that others can reach."),
    "too_many_webhooks": ("The application has as many webhooks as it may", "Delete one that is not used."),
    "webhooks_off": ("Webhooks are switched off", "The operator sets MAIL_SECRET_KEY at mail."),
    "invalid_since": ("This position is none that a feed gave", "Copy the whole of it again."),
    "sandbox_unreachable": (
        "The sandbox does not answer",
        "Check that it runs, and that CONSOLE_SANDBOX_URL names it. Then load the page again.",
    ),
    "sandbox_refused": ("The sandbox refused", "Its answer says why."),
    "malformed_api_key": ("The key has a typo", "Copy the whole of it again."),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A failure as a page shows it."""

    title: str
    detail: str
    remedy: str
    code: str
    request_id: str | None


def explain(error: GatewayError) -> Explanation:
    """Return the failure in words."""
    title, remedy = _WORDS.get(error.code, ("That did not work", "Try again; docs/errors.md explains the code."))
    if error.retry_after:
        remedy = f"Try again in {error.retry_after} seconds."
    return Explanation(title, error.detail, remedy, error.code, error.request_id)
