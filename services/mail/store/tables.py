"""The tables of the mail service. Keys of mailboxes' data lead with `mailbox_id`, to be spread over servers."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSVECTOR

from services.mail.model import DEFAULT_APPLICATION, Measure

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


def _time(name: str, *, nullable: bool = False, default: str | None = None) -> Column[object]:
    return Column(
        name,
        TIMESTAMP(timezone=True),
        nullable=nullable,
        server_default=None if default is None else text(default),
    )


def _vacuum(scale_factor: float, threshold: int = 1000, **others: float) -> dict[str, float]:
    """Return the storage parameters by which autovacuum takes a table in hand at this part of dead rows.

    Postgres waits for a fifth of all rows, which in large tables are days of work at once, and in small ones pages that
    every claim reads. A change needs a migration. What they save, and figures: docs/operate.md#vacuum.
    """
    return {
        "autovacuum_vacuum_scale_factor": scale_factor,
        "autovacuum_vacuum_threshold": threshold,
        **{f"autovacuum_{name}": value for name, value in others.items()},
    }


mailboxes = Table(
    "mailboxes",
    metadata,
    Column("mailbox_id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Uuid, nullable=False, unique=True),
    # Null once disconnected, until the mailbox is erased.
    Column("user_id", Uuid, index=True),
    # Auth's, kept here since the mailboxes of an application are listed and checked with each read of an API key.
    Column("application_id", Uuid, nullable=False, server_default=text(f"'{DEFAULT_APPLICATION}'")),
    Column("provider", Text, nullable=False),
    # Auth's name of the account at the provider: several applications can have connected it. Null until auth tells it.
    Column("provider_identity", Text),
    # `Mailbox.identity`. Null in rows of a release that made it of the address each time.
    Column("limits_identity", Text),
    Column("email", Text, nullable=False),
    Column("status", Text, nullable=False),
    # Why the provider denies access lastingly. Beside the status, which earlier releases read.
    Column("access_denied_reason", Text, nullable=False, server_default=text("''")),
    # Turns in a row that have met a denial, and when the first of them did.
    Column("denials", BigInteger, nullable=False, server_default=text("0")),
    _time("denied_since", nullable=True),
    # Earlier addresses, in lower case, the latest last: they still find the mailbox.
    Column("former_emails", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # When the address was last compared with the provider's, and whether an unknown one calls for another comparison.
    _time("address_checked_at", nullable=True),
    Column("address_check_due", Boolean, nullable=False, server_default=text("false")),
    # The addresses that the user may send mail from, as the provider lists them.
    Column("send_as", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    _time("reconnect_by", nullable=True),
    _time("created_at", default="now()"),
    # Notifications name a mailbox by its address, in any letter case.
    Index("ix_mailboxes_application_id_mailbox_id", "application_id", "mailbox_id"),
    Index("ix_mailboxes_lower_email", text("lower(email)")),
    Index("ix_mailboxes_provider_identity", "provider_identity"),
    Index("ix_mailboxes_former_emails", "former_emails", postgresql_using="gin"),
    # Each address is compared once a day: that many dead rows come in an hour.
    postgresql_with=_vacuum(0.05),
)

# Disconnected mailboxes. A row outlives its mailbox and records what was erased and when.
disconnections = Table(
    "disconnections",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", Uuid, nullable=False, unique=True),
    Column("user_id", Uuid, nullable=False, index=True),
    Column("application_id", Uuid, nullable=False, server_default=text(f"'{DEFAULT_APPLICATION}'")),
    Column("provider", Text, nullable=False),
    Column("message_count", BigInteger, nullable=False, server_default=text("0")),
    _time("requested_at", default="now()"),
    # When auth ended the account, when all data was erased, and when the mailbox was deleted.
    _time("revoked_at", nullable=True),
    _time("erased_at", nullable=True),
    _time("ended_at", nullable=True),
)

# The latest change of each feed, and of disconnected mailboxes their end, for 30 days: where webhooks look for news.
# Mailboxes have one before their first turn, which is why it is no column of the schedule.
feed_heads = Table(
    "feed_heads",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", Uuid, nullable=False),
    Column("application_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    _time("moved_at", default="now()"),
    _time("disconnected_at", nullable=True),
    # No index on what changes, so that updates stay in place.
    Index("ix_feed_heads_application_id", "application_id"),
    postgresql_with={"fillfactor": 50},
)

# Requested deletions of users. One ends when auth has deleted the user, after the last mailbox was erased.
user_deletions = Table(
    "user_deletions",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    _time("requested_at", default="now()"),
    _time("ended_at", nullable=True),
    # Read often, and nearly empty.
    Index("ix_user_deletions_active", "requested_at", postgresql_where=text("ended_at IS NULL")),
)

# The progress of a mailbox's copy. One row per mailbox that was synced at least once.
sync_states = Table(
    "sync_states",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    # All changes that the provider recorded up to here are stored or queued. Can exceed 64 bits.
    Column("cursor", Numeric),
    # Why history cannot be read from it (CursorLoss); null if it can.
    Column("cursor_loss", Text),
    # The hint (mailbox_schedule.hint_seq) up to which history has been read, and the time of that.
    Column("caught_up_hint", BigInteger, nullable=False, server_default=text("0")),
    _time("caught_up_at", nullable=True),
    # The coverage of all completed listings. Null and false mean none.
    Column("covered_count", Integer, nullable=False, server_default=text("0")),
    Column("covered_all", Boolean, nullable=False, server_default=text("false")),
    # The coverage that was also fetched. A cancelled sync restores it.
    Column("fetched_count", Integer, nullable=False, server_default=text("0")),
    Column("fetched_all", Boolean, nullable=False, server_default=text("false")),
    # The current listing: newest, all, relist and relabel (after a lost cursor), verify_ids, verify_label, or null.
    Column("listing", Text),
    Column("listing_label", Text),
    Column("listing_target", Integer),
    Column("listing_round", SmallInteger, nullable=False, server_default=text("1")),
    Column("listing_page_token", Text),
    # The pages of the pass so far, and digests of tokens, by which a circle of pages is told (PageTrail).
    Column("listing_pages", BigInteger, nullable=False, server_default=text("0")),
    Column("listing_trail", ARRAY(BigInteger), nullable=False, server_default=text("'{}'")),
    # The cursor at its start. The listing proves nothing about later changes, which history delivers.
    Column("listing_floor", Numeric),
    Column("listed_count", BigInteger, nullable=False, server_default=text("0")),
    # A listing is repeated in passes until a pass shows no new message. For the current pass: when its last page was
    # listed, how many unknown ids it showed, and whether history had deletions meanwhile, which can make pages skip
    # messages.
    Column("listing_pass", BigInteger, nullable=False, server_default=text("1")),
    _time("listing_ended_at", nullable=True),
    Column("listing_found", BigInteger, nullable=False, server_default=text("0")),
    Column("listing_disturbed", Boolean, nullable=False, server_default=text("false")),
    # When the pass may begin: the one before was too short. Null for the first pass.
    _time("listing_resumes_at", nullable=True),
    # When the provider's listings can be expected to show all changes up to the cursor; null means now.
    _time("listable_at", nullable=True),
    _time("last_synced_at", nullable=True),
    _time("verify_at", nullable=True),
    # When to look at the provider's labels. Null: with the next turn that comes to an end.
    _time("labels_due_at", nullable=True),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    # Each turn updates it at least once.
    postgresql_with=_vacuum(0.02),
)

# The database that gave out the last ids; its only row. The function skip_lost_ids() of the migrations compares it.
id_origin = Table(
    "id_origin",
    metadata,
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("database_id", Text, nullable=False),
)

# The only queue: which mailboxes are due, and which worker has the lease. Narrow, and separate from all data. Idle
# mailboxes are checked by groups (idle_groups); only the release before this one looks at their due_at.
mailbox_schedule = Table(
    "mailbox_schedule",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("lane", SmallInteger, nullable=False),
    _time("due_at"),
    Column("hint_seq", BigInteger, nullable=False, server_default=text("1")),
    # While there are hints that history has not been read for (sync_states.caught_up_hint): when the first one came.
    _time("hinted_at", nullable=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_owner", Uuid),
    _time("lease_until", nullable=True),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    # The reason for waiting (WaitReason) and the error of the last turn; empty if there is none.
    Column("waiting_for", Text, nullable=False, server_default=text("''")),
    Column("last_error", Text, nullable=False, server_default=text("''")),
    # When an idle mailbox is to be looked at apart from its group; null: only with it.
    _time("look_at", nullable=True),
    # When something new was last known of at the provider, when it last announced something, and when a look last found
    # what it had not announced.
    _time("active_at", default="now()"),
    _time("announced_at", nullable=True),
    # The history record up to which announcements reach: history that ends before it lags.
    Column("announced_cursor", Numeric),
    _time("missed_at", nullable=True),
    # The worker that holds a connection of the mailbox at the provider, and until when: see control/holds.py.
    Column("held_by", Uuid),
    _time("held_until", nullable=True),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(None, "lane", "due_at"),
    Index("ix_mailbox_schedule_look_at", "look_at", postgresql_where=text("look_at IS NOT NULL")),
    # Each turn moves its entry in the index that claims read from its beginning, so that they meet the dead ones first.
    # Vacuuming 50,000 mailboxes takes 20 ms: it can be done each minute, and without pauses.
    postgresql_with={"fillfactor": 50} | _vacuum(0, vacuum_cost_delay=0),
)

# Groups of mailboxes with consecutive ids, whose idle ones are checked together: see control/idle_groups.py. Checks
# that find nothing write here, and to no row of a mailbox.
idle_groups = Table(
    "idle_groups",
    metadata,
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    # All checks that were due until then are done.
    _time("checked_at", default="'-infinity'"),
    # Each idle mailbox was checked then or later.
    _time("all_seen_at", default="'-infinity'"),
    _time("lease_until", nullable=True),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    # The worker that has or had the claim; null: one of the release before this one, or one without an owner id.
    Column("lease_owner", Uuid),
    postgresql_with={"fillfactor": 10},
)

# The key of public ids (ids.py), in one row, and the last mailbox whose ids have plain numbers.
public_id_key = Table(
    "public_id_key",
    metadata,
    Column("is_only", Boolean, primary_key=True, server_default=text("true")),
    Column("key", LargeBinary, nullable=False),
    Column("plain_until", BigInteger, nullable=False),
)

# Running workers, and those whose end was not noticed yet. See store/control/workers.py.
workers = Table("workers", metadata, Column("owner", Uuid, primary_key=True))

# Watches: the provider's announcements of a mailbox's changes.
watches = Table(
    "watches",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    # Null without a watch so far.
    _time("expires_at", nullable=True),
    _time("renew_at"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

syncs = Table(
    "syncs",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("sync_id", BigInteger, Identity(always=True), nullable=False),
    Column("state", Text, nullable=False),
    # Null for the whole mailbox.
    Column("newest_count", Integer),
    # The sync ends only after history was read up to this hint.
    Column("hint_seq", BigInteger, nullable=False),
    Column("listing_done", Boolean, nullable=False, server_default=text("false")),
    Column("listed_count", BigInteger, nullable=False, server_default=text("0")),
    Column("stored_count", BigInteger, nullable=False, server_default=text("0")),
    Column("units_spent", BigInteger, nullable=False, server_default=text("0")),
    Column("error", Text, nullable=False, server_default=text("''")),
    # Time of the last listed, fetched or stored message.
    _time("progress_at", nullable=True),
    # The comparison with the provider: wanted, done (differences are queued), or null.
    Column("verification", Text),
    Column("missing_count", BigInteger, nullable=False, server_default=text("0")),
    Column("extra_count", BigInteger, nullable=False, server_default=text("0")),
    Column("drift_count", BigInteger, nullable=False, server_default=text("0")),
    Column("digest", Text, nullable=False, server_default=text("''")),
    # W3C traceparent of the last request for this sync; null if that was not traced.
    Column("trace_parent", Text),
    _time("created_at", default="now()"),
    _time("ended_at", nullable=True),
    PrimaryKeyConstraint("mailbox_id", "sync_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index("ix_syncs_active", "mailbox_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)

# Requests for a sync that had an idempotency key, for a day.
sync_requests = Table(
    "sync_requests",
    metadata,
    Column("user_id", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("mailbox_id", BigInteger, nullable=False),
    # Null for the whole mailbox.
    Column("newest_count", BigInteger),
    # The sync that answered the request; null only within the request's transaction.
    Column("sync_id", BigInteger),
    _time("created_at", default="now()"),
    PrimaryKeyConstraint("user_id", "key"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(None, "mailbox_id"),
    Index(None, "created_at"),
)

# Messages to fetch: not stored yet, or stored in an older version.
fetch_queue = Table(
    "fetch_queue",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    # Null if unknown, or if a get of the thread did not return the message.
    Column("thread_id", Text),
    Column("lane", SmallInteger, nullable=False),
    Column("ordinal", BigInteger, nullable=False),
    # The highest history record of the message. The fetched version must reach it.
    Column("wanted_version", Numeric, nullable=False, server_default=text("0")),
    # Gets that returned a version older than wanted.
    Column("stale_gets", SmallInteger, nullable=False, server_default=text("0")),
    # The provider did not have the message. The next get is of it alone, and decides.
    Column("doubted", Boolean, nullable=False, server_default=text("false")),
    # Units of the text that a get of the message delivered by reference.
    Column("completion_units", BigInteger, nullable=False, server_default=text("0")),
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    _time("not_before", default="'-infinity'"),
    PrimaryKeyConstraint("mailbox_id", "external_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(None, "mailbox_id", "lane", "ordinal"),
    Index(None, "mailbox_id", "thread_id"),
    # Every row dies soon; a part rather than a number, since a vacuum reads all indexes: 0.4 s with a million messages.
    postgresql_with=_vacuum(0.05),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("wanted_version", Numeric, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    _time("died_at", default="now()"),
    PrimaryKeyConstraint("mailbox_id", "external_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

# The ids that the current listing has shown, by round, for the comparison with the stored messages. Round 0 holds
# messages that were listed but gone when fetched.
listed_ids = Table(
    "listed_ids",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("round", SmallInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("ordinal", BigInteger, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "round", "external_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

labels = Table(
    "labels",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("label_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    # inbox, sent, drafts, spam, trash, archive or none. Releases before 0022 do not write it.
    Column("role", Text, nullable=False, server_default=text("'none'")),
    # Since when the provider has not listed it, and since when it is believed to be gone and comes off its messages.
    _time("missing_since", nullable=True),
    _time("removed_at", nullable=True),
    PrimaryKeyConstraint("mailbox_id", "label_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

# The columns of lists: about half a kilobyte a row.
messages = Table(
    "messages",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, Identity(always=True), nullable=False),
    Column("external_id", Text, nullable=False),
    Column("thread_id", Text, nullable=False),
    # The provider's version of the message, for example a history id. Can exceed 64 bits.
    Column("version", Numeric, nullable=False),
    _time("received_at"),
    Column("from_name", Text),
    Column("from_email", Text),
    Column("to_addresses", JSONB, nullable=False),
    Column("cc_addresses", JSONB, nullable=False),
    Column("subject", Text),
    Column("snippet", Text, nullable=False),
    Column("label_ids", ARRAY(Text), nullable=False),
    Column("has_attachments", Boolean, nullable=False),
    Column("size", BigInteger, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "message_id"),
    UniqueConstraint("mailbox_id", "external_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index("ix_messages_newest_first", "mailbox_id", text("received_at DESC"), text("message_id DESC")),
    Index("ix_messages_thread", "mailbox_id", "thread_id", text("received_at DESC"), text("message_id DESC")),
    # Labels are indexed without the mailbox: they change too often for entries that carry it, as those of words do.
    Index("ix_messages_label_ids", "label_ids", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    # Each change of labels leaves a dead row with entries in five indexes. Comparisons with the provider's ids read the
    # table, too, where pages are not known to be visible: only a vacuum notes it, of inserts as well.
    postgresql_with=_vacuum(0.02, vacuum_insert_scale_factor=0.05, analyze_scale_factor=0.05),
)

# The columns for queries (search/vector.py), kept apart so that rows of lists stay small.
message_search = Table(
    "message_search",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    _time("received_at"),
    Column("vector", TSVECTOR, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "message_id"),
    ForeignKeyConstraint(
        ["mailbox_id", "message_id"], ["messages.mailbox_id", "messages.message_id"], ondelete="CASCADE"
    ),
    # A short pending list, since every query reads it: a full one of 1 MB costs a query 0.2 ms. With 150,000 messages
    # in the index, storing one takes 0.97 ms of Postgres's CPU without a pending list, 0.77 with 256 kB, and 0.55 with
    # 1 MB.
    Index(
        "ix_message_search_vector",
        "vector",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "on", "gin_pending_list_limit": 1024},
    ),
)

# The columns of a whole message.
message_contents = Table(
    "message_contents",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("message_id", BigInteger, nullable=False),
    Column("headers", JSONB, nullable=False),
    # Arrays of [name, address] for To, Cc, Bcc and Reply-To, which decoded headers do not determine.
    Column("recipients", JSONB, nullable=False),
    Column("text", Text),
    Column("html", Text),
    Column("attachments", JSONB, nullable=False),
    PrimaryKeyConstraint("mailbox_id", "message_id"),
    ForeignKeyConstraint(
        ["mailbox_id", "message_id"], ["messages.mailbox_id", "messages.message_id"], ondelete="CASCADE"
    ),
)

# The number of a mailbox's latest change. Writers of changes lock this row until their commit. `database_id` names the
# database of the last write: after a failover, a restore or a clone the next write begins a new incarnation.
change_feeds = Table(
    "change_feeds",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False, server_default=text("0")),
    Column("database_id", Text, nullable=False, server_default=text("''")),
    # The last change of the first sync: webhooks tell of later ones. Null until that ends; 0 in feeds of releases
    # before 0028.
    Column("live_from", BigInteger, server_default=text("0")),
    # How many messages there are, and unread ones, if counted_seq is last_seq. Else they mean nothing, as after changes
    # by a release that did not count.
    Column("message_count", BigInteger),
    Column("unread_count", BigInteger),
    Column("counted_seq", BigInteger),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    postgresql_with={"fillfactor": 50},
)

# Ended incarnations of a feed, with the last number that this database has of each.
feed_incarnations = Table(
    "feed_incarnations",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("incarnation", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    _time("ended_at", default="now()"),
    PrimaryKeyConstraint("mailbox_id", "incarnation"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

# Changes of messages and labels, and events, numbered without gaps in commit order. Kept for 30 days.
message_changes = Table(
    "message_changes",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    # 0 for a change of a label, and for an event; releases before 0002, or before 0028, read it as a message that no
    # longer exists.
    Column("message_id", BigInteger, nullable=False),
    Column("label_id", Text),
    # created, updated or deleted.
    Column("kind", Text, nullable=False),
    # An event of the mailbox or of a sync (FeedEvent), and what is to be told of it.
    Column("event", Text),
    Column("details", JSONB),
    _time("changed_at", default="now()"),
    PrimaryKeyConstraint("mailbox_id", "seq"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    # A thirtieth expires a day: their space serves new ones within the day, not after six.
    postgresql_with=_vacuum(0.02),
)

# Threads that are made from references, for providers without threads. The ids that messages have or refer to, as
# digests, each with its thread and when that began. They outlive their messages: a thread does not split.
thread_references = Table(
    "thread_references",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("reference", LargeBinary, nullable=False),
    # Of a merged thread, too: thread_merges then names the kept one.
    Column("thread_id", Text, nullable=False),
    _time("since"),
    PrimaryKeyConstraint("mailbox_id", "reference"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

# Threads that became part of another one, to which their ids lead: these were shown before.
thread_merges = Table(
    "thread_merges",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("thread_id", Text, nullable=False),
    # The thread that has the messages in the end, never a merged one itself, and when that began.
    Column("kept_id", Text, nullable=False),
    _time("kept_since"),
    # Whether all messages have the id of the kept thread.
    Column("is_moved", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("mailbox_id", "thread_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(None, "mailbox_id", "kept_id"),
    Index("ix_thread_merges_unmoved", "mailbox_id", "thread_id", postgresql_where=text("NOT is_moved")),
)

# The history that is made from looks at folders, for providers that keep none: see providers/folder_history.
folder_histories = Table(
    "folder_histories",
    metadata,
    Column("mailbox_id", BigInteger, primary_key=True, autoincrement=False),
    # The number of the last record.
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    Column("pass_number", BigInteger, nullable=False),
    # idle, look or settle.
    Column("phase", Text, nullable=False),
    # The end of the last pass.
    _time("ended_at", nullable=True),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    postgresql_with={"fillfactor": 50},
)

mail_folders = Table(
    "mail_folders",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("folder_id", BigInteger, nullable=False),
    # The provider's key, its name in requests, and the one for people.
    Column("key", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    # What the adapter remembers of the last look, and of the page that the present one has reached.
    Column("state", Text),
    Column("token", Text),
    # Grows when the provider numbers the messages anew. Of this generation `known` messages are there.
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    Column("known", BigInteger, nullable=False, server_default=text("0")),
    # The last pass that has looked at it, or has left it out.
    Column("looked_pass", BigInteger, nullable=False, server_default=text("0")),
    # Whether messages of earlier generations are not marked as gone yet, and whether the provider has it no more.
    Column("is_retiring", Boolean, nullable=False, server_default=text("false")),
    Column("is_gone", Boolean, nullable=False, server_default=text("false")),
    # Since when listings lack it, since when looks fail, outages in a row, and the begin of the generation.
    _time("missing_since", nullable=True),
    _time("failing_since", nullable=True),
    Column("failures", BigInteger, nullable=False, server_default=text("0")),
    # The pass that found it to lose so many messages that each loss needs a proof.
    Column("doubtful_in", BigInteger),
    _time("restarted_at", nullable=True),
    PrimaryKeyConstraint("mailbox_id", "folder_id"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index("ix_mail_folders_key", "mailbox_id", "key", unique=True, postgresql_where=text("NOT is_gone")),
    postgresql_with={"fillfactor": 70},
)

# A message in a folder. A mailbox may have millions: about 100 bytes a row.
mail_locations = Table(
    "mail_locations",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("folder_id", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    # The provider's key within the folder, in the order of arrival.
    Column("key", Text, nullable=False),
    # Null until the message is compared with others: outside of the copy it never has to be.
    Column("external_id", Text),
    Column("size", BigInteger, nullable=False),
    _time("arrived_at"),
    Column("marks", ARRAY(Text), nullable=False),
    # The pass that missed it; null while it is there.
    Column("gone_in", BigInteger),
    PrimaryKeyConstraint("mailbox_id", "folder_id", "generation", "key"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
    Index(
        "ix_mail_locations_external_id",
        "mailbox_id",
        "external_id",
        postgresql_where=text("external_id IS NOT NULL"),
    ),
    Index("ix_mail_locations_arrival", "mailbox_id", "arrived_at", "folder_id", "generation", "key"),
    Index("ix_mail_locations_gone", "mailbox_id", "size", postgresql_where=text("gone_in IS NOT NULL")),
    Index("ix_mail_locations_unidentified", "mailbox_id", "size", postgresql_where=text("external_id IS NULL")),
)

# Numbered changes of messages. Those that the copy contains are deleted.
folder_records = Table(
    "folder_records",
    metadata,
    Column("mailbox_id", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("external_id", Text, nullable=False),
    # added, labels or deleted.
    Column("kind", Text, nullable=False),
    Column("added", ARRAY(Text), nullable=False),
    Column("removed", ARRAY(Text), nullable=False),
    PrimaryKeyConstraint("mailbox_id", "revision"),
    ForeignKeyConstraint(["mailbox_id"], ["mailboxes.mailbox_id"], ondelete="CASCADE"),
)

# The upper bounds of calls that lost counts of quota may owe, by identity at the provider: rows outlive the mailbox.
# They are updated often and never grow.
quota_watermarks = Table(
    "quota_watermarks",
    metadata,
    # `Mailbox.identity`.
    Column("scope", Text, primary_key=True),
    # Ends of the periods in which calls may use few units, and units up to the limit.
    _time("few_until"),
    _time("many_until"),
    # Empty in rows that a release without it has written: they count for every provider.
    Column("provider", Text, nullable=False, server_default=text("''")),
    postgresql_with={"fillfactor": 50},
)

# What applications have asked webhooks for, and where these stand. The tables below hold no mail.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("endpoint_id", Uuid, primary_key=True),
    # Null: it is deleted, and erased by deliverers.
    Column("application_id", Uuid, index=True),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    # Types of events; empty: all.
    Column("event_types", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Accounts of the mailboxes; null: all of the application.
    Column("account_ids", ARRAY(Uuid)),
    # Whether changes from before the endpoint, and those of first syncs, are delivered.
    Column("backfill", Boolean, nullable=False, server_default=text("false")),
    # mailbox: one event of a mailbox after the other; none: several at a time.
    Column("delivery_order", Text, nullable=False, server_default=text("'mailbox'")),
    # Why it is disabled: failing, gone, requested. Empty: it is enabled.
    Column("disabled_reason", Text, nullable=False, server_default=text("''")),
    # Changes from then on are delivered, where no cursor says otherwise.
    _time("starts_at", default="now()"),
    # Since when nothing has been delivered although it was tried, and how many events in a row were refused.
    _time("failing_since", nullable=True),
    Column("refused_in_row", BigInteger, nullable=False, server_default=text("0")),
    _time("created_at", default="now()"),
    _time("disabled_at", nullable=True),
)

# The secrets that sign deliveries to an endpoint, encrypted: the newest one, and an earlier one until it ends.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("endpoint_id", Uuid, nullable=False),
    Column("secret_id", BigInteger, Identity(always=True), nullable=False),
    Column("encrypted", LargeBinary, nullable=False),
    _time("created_at", default="now()"),
    _time("ends_at", nullable=True),
    PrimaryKeyConstraint("endpoint_id", "secret_id"),
    ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.endpoint_id"], ondelete="CASCADE"),
)

# How far the feed of a mailbox is delivered to an endpoint, the lease of the deliverer that has it, and when a failed
# event is tried again. A row exists where the feed has moved since the endpoint was made.
webhook_cursors = Table(
    "webhook_cursors",
    metadata,
    Column("endpoint_id", Uuid, nullable=False),
    Column("mailbox_id", BigInteger, nullable=False),
    # The last change that was delivered, parked, or not asked for; null: it is still to be looked up.
    Column("seq", BigInteger),
    # Changes after then are delivered, too; once the cursor is claimed it goes back to them.
    _time("starts_at", nullable=True),
    # The position that the next event names as the one before it, and whether a chain begins with it.
    Column("previous_incarnation", BigInteger, nullable=False, server_default=text("0")),
    Column("previous_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("chain_start", Boolean, nullable=False, server_default=text("true")),
    # Up to this change events are delivered once more.
    Column("replayed_until", BigInteger, nullable=False, server_default=text("0")),
    # Whether the next event is `mailbox.resync_required`, at the change `seq`, and whether nothing more is to be
    # delivered, since the mailbox is disconnected.
    Column("resync_due", Boolean, nullable=False, server_default=text("false")),
    Column("is_ended", Boolean, nullable=False, server_default=text("false")),
    # Failed tries of the next event, since when, and whether the endpoint refused it the last time.
    Column("tries", BigInteger, nullable=False, server_default=text("0")),
    _time("failing_since", nullable=True),
    Column("is_refused", Boolean, nullable=False, server_default=text("false")),
    _time("due_at", nullable=True),
    Column("lease_owner", Uuid),
    _time("lease_until", nullable=True),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("endpoint_id", "mailbox_id"),
    ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.endpoint_id"], ondelete="CASCADE"),
    Index("ix_webhook_cursors_planned", "endpoint_id", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    postgresql_with={"fillfactor": 50, **_vacuum(0.05)},
)

# Events that were tried, with their last tries, and those that belong to no feed until they are: tests, and news of
# other endpoints. Kept for some days.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("endpoint_id", Uuid, nullable=False),
    Column("delivery_id", BigInteger, Identity(always=True), nullable=False),
    # `webhook-id`, the same for each try.
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    # Null for events that belong to no feed.
    Column("mailbox_id", BigInteger),
    Column("account_id", Uuid),
    Column("seq", BigInteger),
    Column("incarnation", BigInteger),
    # pending, delivered, failing, parked or abandoned.
    Column("state", Text, nullable=False),
    Column("tries", BigInteger, nullable=False, server_default=text("0")),
    # The last tries: JSON objects with at, status, milliseconds, error, body.
    Column("attempts", JSONB, nullable=False, server_default=text("'[]'")),
    # The event's data, of those that belong to no feed; its place in the chain, of those that others have overtaken.
    Column("data", JSONB),
    # When it is tried apart from its feed, and until when a deliverer does so.
    _time("due_at", nullable=True),
    _time("lease_until", nullable=True),
    _time("created_at", default="now()"),
    _time("ended_at", nullable=True),
    PrimaryKeyConstraint("endpoint_id", "delivery_id"),
    UniqueConstraint("endpoint_id", "event_id"),
    ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.endpoint_id"], ondelete="CASCADE"),
    Index(
        "ix_webhook_deliveries_state",
        "endpoint_id",
        "state",
        "delivery_id",
        postgresql_where=text("state <> 'delivered'"),
    ),
    Index("ix_webhook_deliveries_planned", "endpoint_id", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("ix_webhook_deliveries_created_at", "created_at"),
    # Whether an endpoint takes anything.
    Index("ix_webhook_deliveries_delivered", "endpoint_id", "ended_at", postgresql_where=text("state = 'delivered'")),
    postgresql_with=_vacuum(0.02),
)

# What an application, and each of its mailboxes, used in an hour: processes add to the rows every few seconds. Kept for
# days, also after the mailbox.
usage_hours = Table(
    "usage_hours",
    metadata,
    Column("application_id", Uuid, nullable=False),
    # Of the mailbox; the nil UUID: of all mailboxes together.
    Column("account_id", Uuid, nullable=False),
    _time("hour"),
    *(Column(measure.value, BigInteger, nullable=False, server_default=text("0")) for measure in Measure),
    PrimaryKeyConstraint("application_id", "account_id", "hour"),
    Index("ix_usage_hours_hour", "hour"),
    postgresql_with={"fillfactor": 70} | _vacuum(0.05),
)
