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
    "account_is_linked": (
        "The account is connected to a user who does not sign in with it",
        "Use the account that the user connected first, or one that no application has connected.",
    ),
    "sign_up_not_allowed": ("The address may not sign up", "AUTH_ALLOWED_EMAILS and AUTH_ALLOWED_DOMAINS decide."),
    "reauthentication_required": (
        "The provider does not show that the user has just authenticated",
        "Begin again without max_age, or sign out at the provider first.",
    ),
    "provider_error": ("The provider refused", "Begin again; if it stays, the log of auth has the reason."),
    "provider_unavailable": ("The provider does not answer", "Try again later."),
    "invalid_state": ("The connection took too long, or came back twice", "Begin again."),
    "service_unavailable": ("A part of Mailroom does not answer", "Try again in a moment."),
}


def explain_refusal(error: str) -> Explanation:
    """Return the explanation of an `error` with which a browser came back."""
    title, remedy = _WORDS.get(error, ("The mailbox was not connected", "Begin again."))
    return Explanation(title, "Nothing was connected.", remedy, error, None)
