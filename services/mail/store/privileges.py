"""What the roles of mail's processes may do with the tables, in SQL's words; the tables' owner is another role.

The service serves readers: it changes and erases no message. Workers write the copy: they make no mailbox, and move
none to another account. Deliverers write neither.

A new privilege comes with the release that needs it. One that is not needed any more goes a release later: processes of
the release before still run while migrations withdraw it.
"""

from collections.abc import Mapping

# Locking a row needs the privilege to update one of its columns. Deleting rows with others (ON DELETE CASCADE) needs
# none.
MAIL: Mapping[str, str] = {
    "mailboxes": "SELECT, INSERT, UPDATE (user_id, email, former_emails, status, reconnect_by, access_denied_reason, "
    "denials, denied_since, address_check_due, provider_identity, limits_identity)",
    "mailbox_schedule": "SELECT, INSERT, UPDATE (lane, due_at, hint_seq, hinted_at, attempts, lease_owner, "
    "lease_until, lease_epoch, look_at, active_at, announced_at, announced_cursor)",
    "disconnections": "SELECT, INSERT",
    "user_deletions": "SELECT, INSERT, UPDATE (ended_at)",
    "quota_watermarks": "SELECT, INSERT, UPDATE (provider, few_until, many_until), DELETE",
    "sync_states": "SELECT, INSERT, UPDATE (covered_count, covered_all, listing, verify_at, labels_due_at)",
    "syncs": "SELECT, INSERT, UPDATE (state, error, ended_at, newest_count, hint_seq, listing_done, verification, "
    "trace_parent)",
    "sync_requests": "SELECT, INSERT, UPDATE (mailbox_id, newest_count, sync_id, created_at), DELETE",
    "fetch_queue": "SELECT, INSERT, DELETE",
    "dead_letters": "SELECT, DELETE",
    "idle_groups": "SELECT",
    "public_id_key": "SELECT",
    "folder_histories": "SELECT",
    "mail_folders": "SELECT",
    "mail_locations": "SELECT",
    "thread_merges": "SELECT",
    "watches": "SELECT",
    "labels": "SELECT",
    "messages": "SELECT",
    "message_contents": "SELECT",
    "message_search": "SELECT",
    # Events of mailboxes: what the service does to them shows in their feeds.
    "message_changes": "SELECT, INSERT",
    "change_feeds": "SELECT, INSERT, "
    "UPDATE (last_seq, incarnation, database_id, live_from, message_count, unread_count, counted_seq)",
    "feed_incarnations": "SELECT, INSERT",
    "feed_heads": "SELECT, INSERT, UPDATE (seq, incarnation, moved_at, disconnected_at)",
    "webhook_endpoints": "SELECT, INSERT, UPDATE (application_id, url, description, event_types, account_ids, "
    "delivery_order, starts_at, disabled_reason, disabled_at, failing_since, refused_in_row), DELETE",
    "webhook_secrets": "SELECT, INSERT, UPDATE (ends_at), DELETE",
    "webhook_cursors": "SELECT, INSERT, UPDATE, DELETE",
    "webhook_deliveries": "SELECT, INSERT, UPDATE (state, due_at, ended_at)",
    "usage_hours": "SELECT, INSERT, UPDATE (messages_stored, changes, deliveries_delivered, deliveries_failed, "
    "deliveries_parked, provider_units)",
}
WORKER: Mapping[str, str] = {
    "mailboxes": "SELECT, UPDATE (user_id, email, former_emails, status, access_denied_reason, denials, denied_since, "
    "address_checked_at, address_check_due, send_as, limits_identity), DELETE",
    "mailbox_schedule": "SELECT, INSERT, UPDATE",
    "disconnections": "SELECT, INSERT, UPDATE (message_count, revoked_at, erased_at, ended_at), DELETE",
    "user_deletions": "SELECT, INSERT, UPDATE (ended_at), DELETE",
    "quota_watermarks": "SELECT, INSERT, UPDATE (provider, few_until, many_until), DELETE",
    "idle_groups": "SELECT, INSERT, UPDATE (checked_at, all_seen_at, lease_until, lease_epoch, lease_owner)",
    "workers": "SELECT, INSERT, DELETE",
    "watches": "SELECT, INSERT, UPDATE (expires_at, renew_at)",
    "sync_states": "SELECT, INSERT, UPDATE",
    "syncs": "SELECT, INSERT, UPDATE, DELETE",
    "fetch_queue": "SELECT, INSERT, UPDATE, DELETE",
    "dead_letters": "SELECT, INSERT, UPDATE (wanted_version, reason, attempts, died_at), DELETE",
    "listed_ids": "SELECT, INSERT, DELETE",
    "labels": "SELECT, INSERT, UPDATE (name, type, role, missing_since, removed_at), DELETE",
    # A statement that replaces a row reads it, in Postgres's eyes.
    "messages": "SELECT, INSERT, UPDATE (thread_id, version, received_at, from_name, from_email, to_addresses, "
    "cc_addresses, subject, snippet, label_ids, has_attachments, size), DELETE",
    "message_contents": "SELECT, INSERT, UPDATE (headers, recipients, text, html, attachments)",
    "message_search": "SELECT, INSERT, UPDATE (received_at, vector)",
    "message_changes": "SELECT, INSERT, DELETE",
    "change_feeds": "SELECT, INSERT, "
    "UPDATE (last_seq, incarnation, database_id, live_from, message_count, unread_count, counted_seq)",
    "feed_heads": "SELECT, INSERT, UPDATE (seq, incarnation, moved_at, disconnected_at), DELETE",
    "feed_incarnations": "SELECT, INSERT",
    "folder_histories": "SELECT, INSERT, UPDATE (revision, pass_number, phase, ended_at)",
    "mail_folders": "SELECT, INSERT, UPDATE, DELETE",
    "mail_locations": "SELECT, INSERT, UPDATE (external_id, marks, gone_in), DELETE",
    "folder_records": "SELECT, INSERT, DELETE",
    "thread_references": "SELECT, INSERT, DELETE",
    "thread_merges": "SELECT, INSERT, UPDATE (kept_id, kept_since, is_moved), DELETE",
    # Those of deleted applications.
    "webhook_endpoints": "SELECT (endpoint_id, application_id), "
    "UPDATE (application_id, disabled_reason, disabled_at), DELETE",
    "webhook_cursors": "SELECT (endpoint_id, lease_until, lease_epoch), UPDATE (lease_owner, lease_until, lease_epoch)",
    "usage_hours": "SELECT, INSERT, UPDATE (messages_stored, changes, deliveries_delivered, deliveries_failed, "
    "deliveries_parked, provider_units), DELETE",
}
# Deliverers reach the endpoints of applications: they read what lists show of a message, and no bodies.
DELIVERER: Mapping[str, str] = {
    "mailboxes": "SELECT (mailbox_id, account_id, application_id, user_id)",
    "feed_heads": "SELECT, INSERT, UPDATE (seq, incarnation, moved_at)",
    "change_feeds": "SELECT",
    "message_changes": "SELECT",
    "messages": "SELECT",
    "labels": "SELECT",
    "public_id_key": "SELECT",
    "webhook_endpoints": "SELECT, UPDATE (starts_at, disabled_reason, disabled_at, failing_since, refused_in_row), "
    "DELETE",
    "webhook_secrets": "SELECT, UPDATE (encrypted)",
    "webhook_cursors": "SELECT, INSERT, UPDATE, DELETE",
    "webhook_deliveries": "SELECT, INSERT, UPDATE, DELETE",
    "usage_hours": "SELECT, INSERT, UPDATE (messages_stored, changes, deliveries_delivered, deliveries_failed, "
    "deliveries_parked, provider_units)",
}
