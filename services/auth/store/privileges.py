"""What auth's role may do with the tables, in SQL's words; the tables' owner is another role.

A new privilege comes with the release that needs it. One that is not needed any more goes a release later: processes of
the release before still run while migrations withdraw it.
"""

from collections.abc import Mapping

# Locking a row needs the privilege to update one of its columns. Deleting rows with others (ON DELETE CASCADE) needs
# none.
AUTH: Mapping[str, str] = {
    "applications": "SELECT, INSERT, UPDATE (redirect_urls, deleted_at), DELETE",
    "api_keys": "SELECT, INSERT, UPDATE (revoked_at, used_at), DELETE",
    "connect_sessions": "SELECT, INSERT, UPDATE (state, grant_id, code_digest, account_id, expires_at), DELETE",
    # Nothing that was recorded is changed; the application of older events is filled in.
    "api_key_events": "SELECT, INSERT, UPDATE (application_id), DELETE",
    "ended_sessions": "SELECT, INSERT, DELETE",
    "users": "SELECT, INSERT, UPDATE (created_at), DELETE",
    "accounts": "SELECT, INSERT, UPDATE (email, status, access_denied_reason, updated_at, grant_account_id), DELETE",
    "provider_tokens": "SELECT, INSERT, UPDATE (access_token, access_token_expires_at, refresh_token, "
    "refresh_token_expires_at, scopes, version, updated_at)",
    "grant_revocations": "SELECT, INSERT, UPDATE (encrypted, pending_link, due_at, attempts), DELETE",
    "sessions": "SELECT, INSERT, UPDATE (used_at, client_address, user_agent), DELETE",
    "refresh_tokens": "SELECT, INSERT, UPDATE (spent_at), DELETE",
    # As api_key_events.
    "security_events": "SELECT, INSERT, UPDATE (application_id), DELETE",
    "signing_keys": "SELECT, INSERT, UPDATE (private_key), DELETE",
}
