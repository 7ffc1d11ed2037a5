CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.change_feeds (
    mailbox_id bigint NOT NULL,
    last_seq bigint NOT NULL,
    incarnation bigint DEFAULT 0 NOT NULL,
    database_id text DEFAULT ''::text NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.dead_letters (
    mailbox_id bigint NOT NULL,
    external_id text NOT NULL,
    wanted_version numeric NOT NULL,
    reason text NOT NULL,
    attempts smallint NOT NULL,
    died_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.disconnections (
    mailbox_id bigint NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    message_count bigint DEFAULT 0 NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    erased_at timestamp with time zone,
    ended_at timestamp with time zone
);

CREATE TABLE public.feed_incarnations (
    mailbox_id bigint NOT NULL,
    incarnation bigint NOT NULL,
    last_seq bigint NOT NULL,
    ended_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.fetch_queue (
    mailbox_id bigint NOT NULL,
    external_id text NOT NULL,
    thread_id text,
    lane smallint NOT NULL,
    ordinal bigint NOT NULL,
    wanted_version numeric DEFAULT 0 NOT NULL,
    stale_gets smallint DEFAULT 0 NOT NULL,
    attempts smallint DEFAULT 0 NOT NULL,
    not_before timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    doubted boolean DEFAULT false NOT NULL,
    completion_units bigint DEFAULT 0 NOT NULL
);

CREATE TABLE public.folder_histories (
    mailbox_id bigint NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    pass_number bigint NOT NULL,
    phase text NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.folder_records (
    mailbox_id bigint NOT NULL,
    revision bigint NOT NULL,
    external_id text NOT NULL,
    kind text NOT NULL,
    added text[] NOT NULL,
    removed text[] NOT NULL
);

CREATE TABLE public.idle_groups (
    group_id bigint NOT NULL,
    checked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    all_seen_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    lease_until timestamp with time zone,
    lease_epoch bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='10');

CREATE TABLE public.labels (
    mailbox_id bigint NOT NULL,
    label_id text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    missing_since timestamp with time zone,
    removed_at timestamp with time zone
);

CREATE TABLE public.listed_ids (
    mailbox_id bigint NOT NULL,
    round smallint NOT NULL,
    external_id text NOT NULL,
    ordinal bigint NOT NULL
);

CREATE TABLE public.mail_folders (
    mailbox_id bigint NOT NULL,
    folder_id bigint NOT NULL,
    key text NOT NULL,
    path text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    state text,
    token text,
    generation bigint DEFAULT 1 NOT NULL,
    known bigint DEFAULT 0 NOT NULL,
    looked_pass bigint DEFAULT 0 NOT NULL,
    is_retiring boolean DEFAULT false NOT NULL,
    is_gone boolean DEFAULT false NOT NULL,
    missing_since timestamp with time zone,
    failing_since timestamp with time zone,
    failures bigint DEFAULT 0 NOT NULL,
    doubtful_in bigint,
    restarted_at timestamp with time zone
)
WITH (fillfactor='70');

CREATE TABLE public.mail_locations (
    mailbox_id bigint NOT NULL,
    folder_id bigint NOT NULL,
    generation bigint NOT NULL,
    key text NOT NULL,
    external_id text,
    size bigint NOT NULL,
    arrived_at timestamp with time zone NOT NULL,
    marks text[] NOT NULL,
    gone_in bigint
);

CREATE TABLE public.mailbox_schedule (
    mailbox_id bigint NOT NULL,
    lane smallint NOT NULL,
    due_at timestamp with time zone NOT NULL,
    hint_seq bigint DEFAULT 1 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lease_owner uuid,
    lease_until timestamp with time zone,
    lease_epoch bigint DEFAULT 0 NOT NULL,
    waiting_for text DEFAULT ''::text NOT NULL,
    last_error text DEFAULT ''::text NOT NULL,
    look_at timestamp with time zone,
    active_at timestamp with time zone DEFAULT now() NOT NULL,
    announced_at timestamp with time zone,
    missed_at timestamp with time zone,
    hinted_at timestamp with time zone
)
WITH (fillfactor='50');

CREATE TABLE public.mailboxes (
    mailbox_id bigint NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid,
    provider text NOT NULL,
    email text NOT NULL,
    status text NOT NULL,
    reconnect_by timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    access_denied_reason text DEFAULT ''::text NOT NULL,
    denials bigint DEFAULT 0 NOT NULL,
    denied_since timestamp with time zone,
    former_emails text[] DEFAULT '{}'::text[] NOT NULL,
    address_check_due boolean DEFAULT false NOT NULL,
    address_checked_at timestamp with time zone,
    send_as text[] DEFAULT '{}'::text[] NOT NULL
);

ALTER TABLE public.mailboxes ALTER COLUMN mailbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.mailboxes_mailbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.message_changes (
    mailbox_id bigint NOT NULL,
    seq bigint NOT NULL,
    message_id bigint NOT NULL,
    kind text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    label_id text
);

CREATE TABLE public.message_contents (
    mailbox_id bigint NOT NULL,
    message_id bigint NOT NULL,
    headers jsonb NOT NULL,
    recipients jsonb NOT NULL,
    text text,
    html text,
    attachments jsonb NOT NULL
);

CREATE TABLE public.message_search (
    mailbox_id bigint NOT NULL,
    message_id bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    vector tsvector NOT NULL
);

CREATE TABLE public.messages (
    mailbox_id bigint NOT NULL,
    message_id bigint NOT NULL,
    external_id text NOT NULL,
    thread_id text NOT NULL,
    version numeric NOT NULL,
    received_at timestamp with time zone NOT NULL,
    from_name text,
    from_email text,
    to_addresses jsonb NOT NULL,
    cc_addresses jsonb NOT NULL,
    subject text,
    snippet text NOT NULL,
    label_ids text[] NOT NULL,
    has_attachments boolean NOT NULL,
    size bigint NOT NULL
);

ALTER TABLE public.messages ALTER COLUMN message_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.messages_message_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.public_id_key (
    is_only boolean DEFAULT true NOT NULL,
    key bytea NOT NULL,
    plain_until bigint NOT NULL
);

CREATE TABLE public.quota_watermarks (
    scope text NOT NULL,
    few_until timestamp with time zone NOT NULL,
    many_until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE public.sync_requests (
    user_id uuid NOT NULL,
    key text NOT NULL,
    mailbox_id bigint NOT NULL,
    newest_count bigint,
    sync_id bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.sync_states (
    mailbox_id bigint NOT NULL,
    cursor numeric,
    caught_up_hint bigint DEFAULT 0 NOT NULL,
    caught_up_at timestamp with time zone,
    covered_count integer DEFAULT 0 NOT NULL,
    covered_all boolean DEFAULT false NOT NULL,
    fetched_count integer DEFAULT 0 NOT NULL,
    fetched_all boolean DEFAULT false NOT NULL,
    listing text,
    listing_label text,
    listing_target integer,
    listing_round smallint DEFAULT 1 NOT NULL,
    listing_page_token text,
    listing_floor numeric,
    listed_count bigint DEFAULT 0 NOT NULL,
    last_synced_at timestamp with time zone,
    verify_at timestamp with time zone,
    listing_pass bigint DEFAULT 1 NOT NULL,
    listing_ended_at timestamp with time zone,
    listing_found bigint DEFAULT 0 NOT NULL,
    listing_disturbed boolean DEFAULT false NOT NULL,
    listable_at timestamp with time zone,
    labels_due_at timestamp with time zone,
    cursor_loss text
);

CREATE TABLE public.syncs (
    mailbox_id bigint NOT NULL,
    sync_id bigint NOT NULL,
    state text NOT NULL,
    newest_count integer,
    hint_seq bigint NOT NULL,
    listing_done boolean DEFAULT false NOT NULL,
    listed_count bigint DEFAULT 0 NOT NULL,
    stored_count bigint DEFAULT 0 NOT NULL,
    units_spent bigint DEFAULT 0 NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    verification text,
    missing_count bigint DEFAULT 0 NOT NULL,
    extra_count bigint DEFAULT 0 NOT NULL,
    drift_count bigint DEFAULT 0 NOT NULL,
    digest text DEFAULT ''::text NOT NULL,
    trace_parent text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    progress_at timestamp with time zone
);

ALTER TABLE public.syncs ALTER COLUMN sync_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.syncs_sync_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.user_deletions (
    user_id uuid NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone
);

CREATE TABLE public.watches (
    mailbox_id bigint NOT NULL,
    expires_at timestamp with time zone,
    renew_at timestamp with time zone NOT NULL
);

CREATE TABLE public.workers (
    owner uuid NOT NULL
);

INSERT INTO public.alembic_version VALUES ('0016');

INSERT INTO public.public_id_key VALUES (true, '\x7fee5f32b7d7454d8e268ff761d290c2', 0);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.change_feeds
    ADD CONSTRAINT pk_change_feeds PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (mailbox_id, external_id);

ALTER TABLE ONLY public.disconnections
    ADD CONSTRAINT pk_disconnections PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.feed_incarnations
    ADD CONSTRAINT pk_feed_incarnations PRIMARY KEY (mailbox_id, incarnation);

ALTER TABLE ONLY public.fetch_queue
    ADD CONSTRAINT pk_fetch_queue PRIMARY KEY (mailbox_id, external_id);

ALTER TABLE ONLY public.folder_histories
    ADD CONSTRAINT pk_folder_histories PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.folder_records
    ADD CONSTRAINT pk_folder_records PRIMARY KEY (mailbox_id, revision);

ALTER TABLE ONLY public.idle_groups
    ADD CONSTRAINT pk_idle_groups PRIMARY KEY (group_id);

ALTER TABLE ONLY public.labels
    ADD CONSTRAINT pk_labels PRIMARY KEY (mailbox_id, label_id);

ALTER TABLE ONLY public.listed_ids
    ADD CONSTRAINT pk_listed_ids PRIMARY KEY (mailbox_id, round, external_id);

ALTER TABLE ONLY public.mail_folders
    ADD CONSTRAINT pk_mail_folders PRIMARY KEY (mailbox_id, folder_id);

ALTER TABLE ONLY public.mail_locations
    ADD CONSTRAINT pk_mail_locations PRIMARY KEY (mailbox_id, folder_id, generation, key);

ALTER TABLE ONLY public.mailbox_schedule
    ADD CONSTRAINT pk_mailbox_schedule PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.mailboxes
    ADD CONSTRAINT pk_mailboxes PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.message_changes
    ADD CONSTRAINT pk_message_changes PRIMARY KEY (mailbox_id, seq);

ALTER TABLE ONLY public.message_contents
    ADD CONSTRAINT pk_message_contents PRIMARY KEY (mailbox_id, message_id);

ALTER TABLE ONLY public.message_search
    ADD CONSTRAINT pk_message_search PRIMARY KEY (mailbox_id, message_id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT pk_messages PRIMARY KEY (mailbox_id, message_id);

ALTER TABLE ONLY public.public_id_key
    ADD CONSTRAINT pk_public_id_key PRIMARY KEY (is_only);

ALTER TABLE ONLY public.quota_watermarks
    ADD CONSTRAINT pk_quota_watermarks PRIMARY KEY (scope);

ALTER TABLE ONLY public.sync_requests
    ADD CONSTRAINT pk_sync_requests PRIMARY KEY (user_id, key);

ALTER TABLE ONLY public.sync_states
    ADD CONSTRAINT pk_sync_states PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.syncs
    ADD CONSTRAINT pk_syncs PRIMARY KEY (mailbox_id, sync_id);

ALTER TABLE ONLY public.user_deletions
    ADD CONSTRAINT pk_user_deletions PRIMARY KEY (user_id);

ALTER TABLE ONLY public.watches
    ADD CONSTRAINT pk_watches PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (owner);

ALTER TABLE ONLY public.disconnections
    ADD CONSTRAINT uq_disconnections_account_id UNIQUE (account_id);

ALTER TABLE ONLY public.mailboxes
    ADD CONSTRAINT uq_mailboxes_account_id UNIQUE (account_id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT uq_messages_mailbox_id_external_id UNIQUE (mailbox_id, external_id);

CREATE INDEX ix_disconnections_user_id ON public.disconnections USING btree (user_id);

CREATE INDEX ix_fetch_queue_mailbox_id_lane_ordinal ON public.fetch_queue USING btree (mailbox_id, lane, ordinal);

CREATE INDEX ix_fetch_queue_mailbox_id_thread_id ON public.fetch_queue USING btree (mailbox_id, thread_id);

CREATE UNIQUE INDEX ix_mail_folders_key ON public.mail_folders USING btree (mailbox_id, key) WHERE (NOT is_gone);

CREATE INDEX ix_mail_locations_external_id ON public.mail_locations USING btree (mailbox_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX ix_mail_locations_gone ON public.mail_locations USING btree (mailbox_id, size) WHERE (gone_in IS NOT NULL);

CREATE INDEX ix_mail_locations_unidentified ON public.mail_locations USING btree (mailbox_id, size) WHERE (external_id IS NULL);

CREATE INDEX ix_mailbox_schedule_lane_due_at ON public.mailbox_schedule USING btree (lane, due_at);

CREATE INDEX ix_mailbox_schedule_look_at ON public.mailbox_schedule USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX ix_mailboxes_former_emails ON public.mailboxes USING gin (former_emails);

CREATE INDEX ix_mailboxes_lower_email ON public.mailboxes USING btree (lower(email));

CREATE INDEX ix_mailboxes_user_id ON public.mailboxes USING btree (user_id);

CREATE INDEX ix_message_search_vector ON public.message_search USING gin (vector) WITH (fastupdate='on', gin_pending_list_limit='1024');

CREATE INDEX ix_messages_label_ids ON public.messages USING gin (label_ids) WITH (fastupdate=off);

CREATE INDEX ix_messages_newest_first ON public.messages USING btree (mailbox_id, received_at DESC, message_id DESC);

CREATE INDEX ix_messages_thread ON public.messages USING btree (mailbox_id, thread_id, received_at DESC, message_id DESC);

CREATE INDEX ix_sync_requests_created_at ON public.sync_requests USING btree (created_at);

CREATE INDEX ix_sync_requests_mailbox_id ON public.sync_requests USING btree (mailbox_id);

CREATE UNIQUE INDEX ix_syncs_active ON public.syncs USING btree (mailbox_id) WHERE (ended_at IS NULL);

CREATE INDEX ix_user_deletions_active ON public.user_deletions USING btree (requested_at) WHERE (ended_at IS NULL);

ALTER TABLE ONLY public.change_feeds
    ADD CONSTRAINT fk_change_feeds_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT fk_dead_letters_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.feed_incarnations
    ADD CONSTRAINT fk_feed_incarnations_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.fetch_queue
    ADD CONSTRAINT fk_fetch_queue_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.folder_histories
    ADD CONSTRAINT fk_folder_histories_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.folder_records
    ADD CONSTRAINT fk_folder_records_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.labels
    ADD CONSTRAINT fk_labels_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.listed_ids
    ADD CONSTRAINT fk_listed_ids_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.mail_folders
    ADD CONSTRAINT fk_mail_folders_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.mail_locations
    ADD CONSTRAINT fk_mail_locations_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.mailbox_schedule
    ADD CONSTRAINT fk_mailbox_schedule_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.message_changes
    ADD CONSTRAINT fk_message_changes_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.message_contents
    ADD CONSTRAINT fk_message_contents_messages FOREIGN KEY (mailbox_id, message_id) REFERENCES public.messages(mailbox_id, message_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.message_search
    ADD CONSTRAINT fk_message_search_messages FOREIGN KEY (mailbox_id, message_id) REFERENCES public.messages(mailbox_id, message_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT fk_messages_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_requests
    ADD CONSTRAINT fk_sync_requests_mailbox_id_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sync_states
    ADD CONSTRAINT fk_sync_states_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.syncs
    ADD CONSTRAINT fk_syncs_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.watches
    ADD CONSTRAINT fk_watches_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;
