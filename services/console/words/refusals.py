"""How a connection ended at the provider, in words (docs/errors.md, errors of a sign-in)."""

from services.console.words.problems import Explanation

_WORDS = {
    "access_denied": ("The user refused", "Or closed the page. Begin again when they agree."),
    "missing_scope": ("Access to mail was not ticked", "Begin again, and tick the access to mail."),
    "email_not_verified": ("The provider has not verified the address", "Use another account."),
    "no_offline_access": (
        "The provider gave no lasting access",
        "Remove the application in the settings of the provider's account, then begin again.",
    ),
    "account_of_another_user": ("The account belongs to another user of the application", "Use another account."),
    "provider_error": ("The provider refused", "Begin again; if it stays, the log of auth has the reason."),
    "provider_unavailable": ("The provider does not answer", "Try again later."),
    "invalid_state": ("The connection took too long, or came back twice", "Begin again."),
    "service_unavailable": ("A part of Mailroom does not answer", "Try again in a moment."),
}


def explain_refusal(error: str) -> Explanation:
    """Return the explanation of an `error` with which a browser came back."""
    title, remedy = _WORDS.get(error, ("The mailbox was not connected", "Begin again."))
    return Explanation(title, "Nothing was connected.", remedy, error, None)
