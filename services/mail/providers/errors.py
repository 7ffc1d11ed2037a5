"""The errors of mail providers, by what they say of the call, the message, or the access to the mailbox."""

from typing import Final

from services.mail.model import Denial

# Seconds without calls after too many concurrent requests: providers name no time for this limit.
CONCURRENCY_PAUSE: Final = 2.0


class ProviderError(Exception):
    """A failure of a provider. `reason` is a stable snake_case code, as in docs/errors.md."""

    reason = "provider_error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(f"{self.reason}: {detail}")
        self.detail = detail


class ProviderUnavailableError(ProviderError):
    """A server error, a time-out, or an answer that is malformed or not from the provider. Try again later."""

    reason = "provider_unavailable"


class NoAnswerError(ProviderUnavailableError):
    """The provider did not answer in time, or the connection broke before the answer.

    Only calls without side effects raise it, so a repeat is safe. The provider may have counted the lost call: a repeat
    takes its units again, and goes over a connection opened after the loss.
    """


class RouteMissingError(ProviderUnavailableError):
    """The server does not know the method: the answer of a proxy, of an outage, or of a stand-in that lacks the method.

    It says nothing about the object of the call. Only a stand-in keeps giving it while other methods work.
    """


class TokenRefusedError(ProviderError):
    """The provider refuses the access token."""

    reason = "token_refused"


class AccessDeniedError(ProviderError):
    """The provider itself denies the access. Only the user or an administrator can change that."""

    reason = "access_denied"
    denial: str = Denial.DENIED


class ConfirmedDenialError(AccessDeniedError):
    """A denial on which two answers of the provider agree: one refuses the token, another one says that it lives."""

    def __init__(self, detail: str, *, denial: str) -> None:
        super().__init__(detail)
        self.denial = denial


class AdminPolicyError(AccessDeniedError):
    """An administrator blocks the application."""

    denial = Denial.ADMIN_POLICY


class ScopeMissingError(AccessDeniedError):
    """The user did not grant a scope that the call needs."""

    denial = Denial.MISSING_SCOPE


class MailboxDisabledError(AccessDeniedError):
    """The account has no mailbox."""

    denial = Denial.MAILBOX_DISABLED


class LimitError(ProviderError):
    """A limit of the provider is reached, for all mailboxes if `whole_project`. `retry_after` is in seconds."""

    def __init__(self, detail: str, *, retry_after: float, whole_project: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.whole_project = whole_project


class RateLimitedError(LimitError):
    """The quota is used up."""

    reason = "rate_limited"


class UnclearLimitError(RateLimitedError):
    """The quota is used up, and the answer does not say whose: that of the mailbox, or of the whole project.

    It counts as the mailbox's until another mailbox meets it, too.
    """


class OwnLimitError(RateLimitedError):
    """A limit of our own count, before anything is sent: processes that do not need what it counts go on."""


class TooConcurrentError(LimitError):
    """Too many concurrent requests for this mailbox, those of other applications included."""

    reason = "too_many_concurrent_requests"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, retry_after=CONCURRENCY_PAUSE)


class MessageGoneError(ProviderError):
    """The provider itself says that the message does not exist."""

    reason = "message_gone"


class PostponedError(ProviderError):
    """The message has failed, or another one that was asked for with it, and is not asked for within `retry_after` s.

    A further failure would cost what is left for other messages of the mailbox.
    """

    reason = "postponed"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotInThreadError(ProviderError):
    """The message was not in the answer for its thread. A get of the message itself tells whether it exists."""

    reason = "not_in_thread"


class PartMissingError(ProviderError):
    """The message exists, but has no such part."""

    reason = "part_missing"


class RejectedError(ProviderError):
    """The provider refuses this request. A repeat seldom helps."""

    reason = "rejected_by_provider"


class UnreadableMessageError(ProviderError):
    """The provider's answer for a message cannot be interpreted."""

    reason = "unreadable_message"


class CursorLostError(ProviderError):
    """The provider itself says that its history no longer reaches back to the cursor: list all messages and compare."""

    reason = "cursor_lost"


class HistoryRestartedError(CursorLostError):
    """The provider's history ends before the cursor: it has restarted, or this answer is outdated."""


class PageTokenExpiredError(ProviderError):
    """The provider itself refuses the page token. The listing must start again."""

    reason = "page_token_expired"


class LabelGoneError(ProviderError):
    """The provider itself says that the label of the listing does not exist."""

    reason = "label_gone"
