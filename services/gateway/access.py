"""What each operation asks of its caller: the one table of which routes, OpenAPI and docs/applications.md speak."""

from collections.abc import Mapping
from enum import Enum

from services.kit.scopes import Scope


class Credential(Enum):
    """What is asked instead of a scope."""

    # No credential; some operations take a user's.
    NONE = "none"
    # The access token of a user who has signed in, for operations on their own sessions.
    USER = "a user's access token"


type Requirement = Scope | Credential

# By operation id, but for those that providers call. An API key needs the scope, and so does an access token that was
# exchanged for it. A user's own access token serves for all but those of KEYS_ONLY.
OPERATIONS: Mapping[str, Requirement] = {
    **dict.fromkeys(
        (
            *("listEmails", "getEmail", "getRawEmail", "getAttachment", "exportEmails"),
            *("listChanges", "streamChanges"),
            *("listLabels", "listThreads", "getThread"),
        ),
        Scope.MAIL_READ,
    ),
    **dict.fromkeys(
        (
            *("listMailboxes", "getMailbox", "listAddresses", "listSyncs", "getSync"),
            *("listUsers", "getOneUser", "exchangeToken", "getUsage"),
        ),
        Scope.MAILBOXES_READ,
    ),
    **dict.fromkeys(
        (
            *("startSync", "cancelSync", "retrySync", "verifyMailbox", "disconnectMailbox", "disconnectAddress"),
            *("addUser", "deleteOneUser", "createConnectSession", "completeConnectSession"),
        ),
        Scope.MAILBOXES_MANAGE,
    ),
    **dict.fromkeys(("listKeys", "createKey", "revokeKey", "listKeyEvents", "listAuditEvents"), Scope.KEYS_MANAGE),
    **dict.fromkeys(
        (
            *("listWebhooks", "createWebhook", "getWebhook", "updateWebhook", "deleteWebhook", "rotateWebhookSecret"),
            *("testWebhook", "enableWebhook", "listWebhookDeliveries", "retryWebhookDelivery", "replayWebhook"),
        ),
        Scope.WEBHOOKS_MANAGE,
    ),
    **dict.fromkeys(
        ("listApplications", "createApplication", "updateApplication", "deleteApplication"), Scope.APPLICATIONS_MANAGE
    ),
    **dict.fromkeys(
        ("getUser", "deleteUser", "listSessions", "endOneSession", "endSession", "listSecurityEvents"),
        Credential.USER,
    ),
    **dict.fromkeys(
        (
            *("startSignIn", "redeemSignIn", "refreshSession", "listSigningKeys"),
            *("getLiveness", "getReadiness"),
            *("showLandingPage", "getAsset", "showDocs", "getOpenapiDocument"),
            *("showConnectPage", "beginConnectSession"),
        ),
        Credential.NONE,
    ),
}

# Operations on the users of an application.
OF_USERS = frozenset(
    (
        *("listUsers", "getOneUser", "addUser", "deleteOneUser", "exchangeToken"),
        *("createConnectSession", "completeConnectSession"),
    )
)

# Operations on an application as a whole: no user's access token serves for them.
KEYS_ONLY = (
    frozenset(
        operation
        for operation, requirement in OPERATIONS.items()
        if requirement in (Scope.KEYS_MANAGE, Scope.WEBHOOKS_MANAGE, Scope.APPLICATIONS_MANAGE)
    )
    | OF_USERS
    | {"getUsage"}
)

# Codes of operations that an API key may try.
OF_A_KEY = ("malformed_api_key", "invalid_api_key", "network_not_allowed")


def requirement_of(operation: str) -> Requirement:
    """Return what an operation asks of its caller; nothing of a provider."""
    return OPERATIONS.get(operation, Credential.NONE)


def codes_of(operation: str) -> tuple[str, ...]:
    """Return the error codes that follow from the operation's row."""
    match requirement_of(operation):
        case Credential.NONE:
            return ()
        case Credential.USER:
            return (*OF_A_KEY, "wrong_credential")
        case _:
            return (*OF_A_KEY, "insufficient_scope", *(["wrong_credential"] if operation in KEYS_ONLY else []))
