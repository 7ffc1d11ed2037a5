CREATE FUNCTION public.skip_lost_ids() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
        DECLARE
            here text;
            given record;
        BEGIN
            IF pg_is_in_recovery() THEN
                RETURN NULL;
            END IF;
            here := (
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), oid,
        left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))
    FROM pg_database WHERE datname = current_database()
);
            IF here = (SELECT database_id FROM id_origin) THEN
                RETURN false;
            ELSIF current_setting('transaction_read_only') = 'on' THEN
                RETURN NULL;
            END IF;
            PERFORM FROM id_origin FOR UPDATE;
            IF here = (SELECT database_id FROM id_origin) THEN
                RETURN false;
            END IF;
            FOR given IN VALUES ('messages', 'message_id', 32), ('syncs', 'sync_id', 32), ('mailboxes', 'mailbox_id', 20)
            LOOP
                PERFORM setval(sequence, nextval(sequence) + (1::bigint << given.column3))
                FROM pg_get_serial_sequence(given.column1, given.column2) AS of(sequence);
            END LOOP;
            UPDATE id_origin SET database_id = here;
            RETURN true;
        END $$;

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.change_feeds (
    mailbox_id bigint NOT NULL,
    last_seq bigint NOT NULL,
    incarnation bigint DEFAULT 0 NOT NULL,
    database_id text DEFAULT ''::text NOT NULL,
    live_from bigint DEFAULT 0,
    message_count bigint,
    unread_count bigint,
    counted_seq bigint
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
    ended_at timestamp with time zone,
    application_id uuid DEFAULT '00000000-0000-4000-8000-000000000000'::uuid NOT NULL
);

CREATE TABLE public.feed_heads (
    mailbox_id bigint NOT NULL,
    account_id uuid NOT NULL,
    application_id uuid NOT NULL,
    seq bigint NOT NULL,
    incarnation bigint NOT NULL,
    moved_at timestamp with time zone DEFAULT now() NOT NULL,
    disconnected_at timestamp with time zone
)
WITH (fillfactor='50');

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
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.folder_histories (
    mailbox_id bigint NOT NULL,
    revision bigint DEFAULT 0 NOT NULL,
    pass_number bigint NOT NULL,
    phase text NOT NULL,
    ended_at timestamp with time zone
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

CREATE TABLE public.id_origin (
    is_only boolean DEFAULT true NOT NULL,
    database_id text NOT NULL
);

CREATE TABLE public.idle_groups (
    group_id bigint NOT NULL,
    checked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    all_seen_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    lease_until timestamp with time zone,
    lease_epoch bigint DEFAULT 0 NOT NULL,
    lease_owner uuid
)
WITH (fillfactor='10');

CREATE TABLE public.labels (
    mailbox_id bigint NOT NULL,
    label_id text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    missing_since timestamp with time zone,
    removed_at timestamp with time zone,
    role text DEFAULT 'none'::text NOT NULL
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
    hinted_at timestamp with time zone,
    announced_cursor numeric,
    held_by uuid,
    held_until timestamp with time zone
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');

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
    send_as text[] DEFAULT '{}'::text[] NOT NULL,
    application_id uuid DEFAULT '00000000-0000-4000-8000-000000000000'::uuid NOT NULL,
    provider_identity text,
    limits_identity text
)
WITH (autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

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
    label_id text,
    event text,
    details jsonb
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

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
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.05');

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
    many_until timestamp with time zone NOT NULL,
    provider text DEFAULT ''::text NOT NULL
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
    cursor_loss text,
    listing_pages bigint DEFAULT '0'::bigint NOT NULL,
    listing_trail bigint[] DEFAULT '{}'::bigint[] NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

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

CREATE TABLE public.thread_merges (
    mailbox_id bigint NOT NULL,
    thread_id text NOT NULL,
    kept_id text NOT NULL,
    kept_since timestamp with time zone NOT NULL,
    is_moved boolean DEFAULT false NOT NULL
);

CREATE TABLE public.thread_references (
    mailbox_id bigint NOT NULL,
    reference bytea NOT NULL,
    thread_id text NOT NULL,
    since timestamp with time zone NOT NULL
);

CREATE TABLE public.usage_hours (
    application_id uuid NOT NULL,
    account_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    messages_stored bigint DEFAULT 0 NOT NULL,
    changes bigint DEFAULT 0 NOT NULL,
    deliveries_delivered bigint DEFAULT 0 NOT NULL,
    deliveries_failed bigint DEFAULT 0 NOT NULL,
    deliveries_parked bigint DEFAULT 0 NOT NULL,
    provider_units bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

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

CREATE TABLE public.webhook_cursors (
    endpoint_id uuid NOT NULL,
    mailbox_id bigint NOT NULL,
    seq bigint,
    previous_incarnation bigint DEFAULT 0 NOT NULL,
    previous_seq bigint DEFAULT 0 NOT NULL,
    chain_start boolean DEFAULT true NOT NULL,
    replayed_until bigint DEFAULT 0 NOT NULL,
    resync_due boolean DEFAULT false NOT NULL,
    is_ended boolean DEFAULT false NOT NULL,
    tries bigint DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    due_at timestamp with time zone,
    lease_owner uuid,
    lease_until timestamp with time zone,
    lease_epoch bigint DEFAULT 0 NOT NULL,
    is_refused boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.webhook_deliveries (
    endpoint_id uuid NOT NULL,
    delivery_id bigint NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    mailbox_id bigint,
    account_id uuid,
    seq bigint,
    incarnation bigint,
    state text NOT NULL,
    tries bigint DEFAULT 0 NOT NULL,
    attempts jsonb DEFAULT '[]'::jsonb NOT NULL,
    data jsonb,
    due_at timestamp with time zone,
    lease_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

ALTER TABLE public.webhook_deliveries ALTER COLUMN delivery_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhook_deliveries_delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.webhook_endpoints (
    endpoint_id uuid NOT NULL,
    application_id uuid NOT NULL,
    url text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    event_types text[] DEFAULT '{}'::text[] NOT NULL,
    account_ids uuid[],
    backfill boolean DEFAULT false NOT NULL,
    disabled_reason text DEFAULT ''::text NOT NULL,
    starts_at timestamp with time zone DEFAULT now() NOT NULL,
    failing_since timestamp with time zone,
    refused_in_row bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    disabled_at timestamp with time zone
);

CREATE TABLE public.webhook_secrets (
    endpoint_id uuid NOT NULL,
    secret_id bigint NOT NULL,
    encrypted bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    ends_at timestamp with time zone
);

ALTER TABLE public.webhook_secrets ALTER COLUMN secret_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhook_secrets_secret_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.workers (
    owner uuid NOT NULL
);

INSERT INTO public.alembic_version VALUES ('0033');

INSERT INTO public.id_origin VALUES (true, '7713918267137012068/16657/00000001');

INSERT INTO public.public_id_key VALUES (true, '\x0567844b0e0142ec993dd137045951f9', 0);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.change_feeds
    ADD CONSTRAINT pk_change_feeds PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (mailbox_id, external_id);

ALTER TABLE ONLY public.disconnections
    ADD CONSTRAINT pk_disconnections PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.feed_heads
    ADD CONSTRAINT pk_feed_heads PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.feed_incarnations
    ADD CONSTRAINT pk_feed_incarnations PRIMARY KEY (mailbox_id, incarnation);

ALTER TABLE ONLY public.fetch_queue
    ADD CONSTRAINT pk_fetch_queue PRIMARY KEY (mailbox_id, external_id);

ALTER TABLE ONLY public.folder_histories
    ADD CONSTRAINT pk_folder_histories PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.folder_records
    ADD CONSTRAINT pk_folder_records PRIMARY KEY (mailbox_id, revision);

ALTER TABLE ONLY public.id_origin
    ADD CONSTRAINT pk_id_origin PRIMARY KEY (is_only);

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

ALTER TABLE ONLY public.thread_merges
    ADD CONSTRAINT pk_thread_merges PRIMARY KEY (mailbox_id, thread_id);

ALTER TABLE ONLY public.thread_references
    ADD CONSTRAINT pk_thread_references PRIMARY KEY (mailbox_id, reference);

ALTER TABLE ONLY public.usage_hours
    ADD CONSTRAINT pk_usage_hours PRIMARY KEY (application_id, account_id, hour);

ALTER TABLE ONLY public.user_deletions
    ADD CONSTRAINT pk_user_deletions PRIMARY KEY (user_id);

ALTER TABLE ONLY public.watches
    ADD CONSTRAINT pk_watches PRIMARY KEY (mailbox_id);

ALTER TABLE ONLY public.webhook_cursors
    ADD CONSTRAINT pk_webhook_cursors PRIMARY KEY (endpoint_id, mailbox_id);

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT pk_webhook_deliveries PRIMARY KEY (endpoint_id, delivery_id);

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT pk_webhook_endpoints PRIMARY KEY (endpoint_id);

ALTER TABLE ONLY public.webhook_secrets
    ADD CONSTRAINT pk_webhook_secrets PRIMARY KEY (endpoint_id, secret_id);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (owner);

ALTER TABLE ONLY public.disconnections
    ADD CONSTRAINT uq_disconnections_account_id UNIQUE (account_id);

ALTER TABLE ONLY public.mailboxes
    ADD CONSTRAINT uq_mailboxes_account_id UNIQUE (account_id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT uq_messages_mailbox_id_external_id UNIQUE (mailbox_id, external_id);

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT uq_webhook_deliveries_endpoint_id_event_id UNIQUE (endpoint_id, event_id);

CREATE INDEX ix_disconnections_user_id ON public.disconnections USING btree (user_id);

CREATE INDEX ix_feed_heads_application_id ON public.feed_heads USING btree (application_id);

CREATE INDEX ix_fetch_queue_mailbox_id_lane_ordinal ON public.fetch_queue USING btree (mailbox_id, lane, ordinal);

CREATE INDEX ix_fetch_queue_mailbox_id_thread_id ON public.fetch_queue USING btree (mailbox_id, thread_id);

CREATE UNIQUE INDEX ix_mail_folders_key ON public.mail_folders USING btree (mailbox_id, key) WHERE (NOT is_gone);

CREATE INDEX ix_mail_locations_arrival ON public.mail_locations USING btree (mailbox_id, arrived_at, folder_id, generation, key);

CREATE INDEX ix_mail_locations_external_id ON public.mail_locations USING btree (mailbox_id, external_id) WHERE (external_id IS NOT NULL);

CREATE INDEX ix_mail_locations_gone ON public.mail_locations USING btree (mailbox_id, size) WHERE (gone_in IS NOT NULL);

CREATE INDEX ix_mail_locations_unidentified ON public.mail_locations USING btree (mailbox_id, size) WHERE (external_id IS NULL);

CREATE INDEX ix_mailbox_schedule_lane_due_at ON public.mailbox_schedule USING btree (lane, due_at);

CREATE INDEX ix_mailbox_schedule_look_at ON public.mailbox_schedule USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX ix_mailboxes_application_id_mailbox_id ON public.mailboxes USING btree (application_id, mailbox_id);

CREATE INDEX ix_mailboxes_former_emails ON public.mailboxes USING gin (former_emails);

CREATE INDEX ix_mailboxes_lower_email ON public.mailboxes USING btree (lower(email));

CREATE INDEX ix_mailboxes_provider_identity ON public.mailboxes USING btree (provider_identity);

CREATE INDEX ix_mailboxes_user_id ON public.mailboxes USING btree (user_id);

CREATE INDEX ix_message_search_vector ON public.message_search USING gin (vector) WITH (fastupdate='on', gin_pending_list_limit='1024');

CREATE INDEX ix_messages_label_ids ON public.messages USING gin (label_ids) WITH (fastupdate=off);

CREATE INDEX ix_messages_newest_first ON public.messages USING btree (mailbox_id, received_at DESC, message_id DESC);

CREATE INDEX ix_messages_thread ON public.messages USING btree (mailbox_id, thread_id, received_at DESC, message_id DESC);

CREATE INDEX ix_sync_requests_created_at ON public.sync_requests USING btree (created_at);

CREATE INDEX ix_sync_requests_mailbox_id ON public.sync_requests USING btree (mailbox_id);

CREATE UNIQUE INDEX ix_syncs_active ON public.syncs USING btree (mailbox_id) WHERE (ended_at IS NULL);

CREATE INDEX ix_thread_merges_mailbox_id_kept_id ON public.thread_merges USING btree (mailbox_id, kept_id);

CREATE INDEX ix_thread_merges_unmoved ON public.thread_merges USING btree (mailbox_id, thread_id) WHERE (NOT is_moved);

CREATE INDEX ix_usage_hours_hour ON public.usage_hours USING btree (hour);

CREATE INDEX ix_user_deletions_active ON public.user_deletions USING btree (requested_at) WHERE (ended_at IS NULL);

CREATE INDEX ix_webhook_cursors_due_at ON public.webhook_cursors USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX ix_webhook_deliveries_created_at ON public.webhook_deliveries USING btree (created_at);

CREATE INDEX ix_webhook_deliveries_delivered ON public.webhook_deliveries USING btree (endpoint_id, ended_at) WHERE (state = 'delivered'::text);

CREATE INDEX ix_webhook_deliveries_due_at ON public.webhook_deliveries USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX ix_webhook_endpoints_application_id ON public.webhook_endpoints USING btree (application_id);

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

ALTER TABLE ONLY public.thread_merges
    ADD CONSTRAINT fk_thread_merges_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.thread_references
    ADD CONSTRAINT fk_thread_references_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.watches
    ADD CONSTRAINT fk_watches_mailboxes FOREIGN KEY (mailbox_id) REFERENCES public.mailboxes(mailbox_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_cursors
    ADD CONSTRAINT fk_webhook_cursors_webhook_endpoints FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(endpoint_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT fk_webhook_deliveries_webhook_endpoints FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(endpoint_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.webhook_secrets
    ADD CONSTRAINT fk_webhook_secrets_webhook_endpoints FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(endpoint_id) ON DELETE CASCADE;
