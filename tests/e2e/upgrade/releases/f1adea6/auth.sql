CREATE TABLE public.accounts (
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    email text NOT NULL,
    status text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    access_denied_reason text DEFAULT ''::text NOT NULL,
    application_id uuid DEFAULT '00000000-0000-4000-8000-000000000000'::uuid NOT NULL,
    grant_account_id uuid,
    CONSTRAINT ck_accounts_status CHECK ((status = ANY (ARRAY['active'::text, 'reauth_required'::text])))
);

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.api_key_events (
    event_id bigint NOT NULL,
    key_id text NOT NULL,
    type text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    client_address text,
    user_agent text
);

ALTER TABLE public.api_key_events ALTER COLUMN event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.api_key_events_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.api_keys (
    key_id text NOT NULL,
    application_id uuid,
    name text NOT NULL,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    mailbox_ids uuid[],
    networks text[],
    created_by text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    used_at timestamp with time zone
);

CREATE TABLE public.applications (
    application_id uuid NOT NULL,
    name text NOT NULL,
    redirect_urls text[] DEFAULT '{}'::text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone
);

CREATE TABLE public.connect_sessions (
    session_id uuid NOT NULL,
    application_id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text,
    access text[] NOT NULL,
    login_hint text NOT NULL,
    redirect_url text NOT NULL,
    token_digest bytea NOT NULL,
    state text NOT NULL,
    grant_id uuid,
    code_digest bytea,
    account_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_connect_sessions_state CHECK ((state = ANY (ARRAY['created'::text, 'consented'::text, 'completed'::text])))
);

CREATE TABLE public.ended_sessions (
    session_id uuid NOT NULL,
    ended_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.grant_revocations (
    grant_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    encrypted bytea NOT NULL,
    pending_link boolean NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.provider_tokens (
    account_id uuid NOT NULL,
    access_token bytea NOT NULL,
    access_token_expires_at timestamp with time zone NOT NULL,
    refresh_token bytea,
    refresh_token_expires_at timestamp with time zone,
    scopes text[] NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.refresh_tokens (
    token_digest bytea NOT NULL,
    session_id uuid NOT NULL,
    spent_at timestamp with time zone
);

CREATE TABLE public.security_events (
    event_id bigint NOT NULL,
    user_id uuid NOT NULL,
    type text NOT NULL,
    account_id uuid,
    session_id uuid,
    email text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    client_address text,
    user_agent text
);

ALTER TABLE public.security_events ALTER COLUMN event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.security_events_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sessions (
    session_id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone DEFAULT now() NOT NULL,
    client_address text,
    user_agent text
);

CREATE TABLE public.signing_keys (
    key_id text NOT NULL,
    public_jwk jsonb NOT NULL,
    private_key bytea NOT NULL,
    signs_from timestamp with time zone DEFAULT now() NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.users (
    user_id uuid NOT NULL,
    login_provider text,
    login_subject text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    application_id uuid DEFAULT '00000000-0000-4000-8000-000000000000'::uuid NOT NULL,
    external_user_id text
);

INSERT INTO public.alembic_version VALUES ('0016');

INSERT INTO public.applications VALUES ('00000000-0000-4000-8000-000000000000', 'default', '{}', '2026-11-30 11:02:45.811219+00', NULL);

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT pk_accounts PRIMARY KEY (account_id);

ALTER TABLE ONLY public.api_key_events
    ADD CONSTRAINT pk_api_key_events PRIMARY KEY (event_id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (key_id);

ALTER TABLE ONLY public.applications
    ADD CONSTRAINT pk_applications PRIMARY KEY (application_id);

ALTER TABLE ONLY public.connect_sessions
    ADD CONSTRAINT pk_connect_sessions PRIMARY KEY (session_id);

ALTER TABLE ONLY public.ended_sessions
    ADD CONSTRAINT pk_ended_sessions PRIMARY KEY (session_id);

ALTER TABLE ONLY public.grant_revocations
    ADD CONSTRAINT pk_grant_revocations PRIMARY KEY (grant_id);

ALTER TABLE ONLY public.provider_tokens
    ADD CONSTRAINT pk_provider_tokens PRIMARY KEY (account_id);

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT pk_refresh_tokens PRIMARY KEY (token_digest);

ALTER TABLE ONLY public.security_events
    ADD CONSTRAINT pk_security_events PRIMARY KEY (event_id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (session_id);

ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT pk_signing_keys PRIMARY KEY (key_id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT pk_users PRIMARY KEY (user_id);

ALTER TABLE ONLY public.applications
    ADD CONSTRAINT uq_applications_name UNIQUE (name);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT uq_users_login_provider_login_subject UNIQUE (login_provider, login_subject);

CREATE INDEX ix_accounts_application_id_created_at ON public.accounts USING btree (application_id, created_at);

CREATE UNIQUE INDEX ix_accounts_application_id_provider_subject ON public.accounts USING btree (application_id, provider, subject);

CREATE INDEX ix_accounts_grant_account_id ON public.accounts USING btree (grant_account_id);

CREATE INDEX ix_accounts_provider_subject ON public.accounts USING btree (provider, subject);

CREATE INDEX ix_accounts_user_id ON public.accounts USING btree (user_id);

CREATE INDEX ix_api_key_events_created_at ON public.api_key_events USING btree (created_at);

CREATE INDEX ix_api_key_events_key_id_event_id ON public.api_key_events USING btree (key_id, event_id);

CREATE INDEX ix_api_keys_application_id ON public.api_keys USING btree (application_id);

CREATE INDEX ix_api_keys_revoked_at ON public.api_keys USING btree (revoked_at);

CREATE INDEX ix_connect_sessions_application_id ON public.connect_sessions USING btree (application_id);

CREATE INDEX ix_connect_sessions_expires_at ON public.connect_sessions USING btree (expires_at);

CREATE UNIQUE INDEX ix_connect_sessions_token_digest ON public.connect_sessions USING btree (token_digest);

CREATE INDEX ix_connect_sessions_user_id ON public.connect_sessions USING btree (user_id);

CREATE INDEX ix_ended_sessions_ended_at ON public.ended_sessions USING btree (ended_at);

CREATE INDEX ix_grant_revocations_due_at ON public.grant_revocations USING btree (due_at);

CREATE INDEX ix_refresh_tokens_session_id ON public.refresh_tokens USING btree (session_id);

CREATE INDEX ix_security_events_created_at ON public.security_events USING btree (created_at);

CREATE INDEX ix_security_events_user_id_event_id ON public.security_events USING btree (user_id, event_id);

CREATE INDEX ix_sessions_expires_at ON public.sessions USING btree (expires_at);

CREATE INDEX ix_sessions_used_at ON public.sessions USING btree (used_at);

CREATE INDEX ix_sessions_user_id ON public.sessions USING btree (user_id);

CREATE UNIQUE INDEX ix_users_application_id_external_user_id ON public.users USING btree (application_id, external_user_id);

CREATE INDEX ix_users_application_id_user_id ON public.users USING btree (application_id, user_id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT fk_accounts_accounts FOREIGN KEY (grant_account_id) REFERENCES public.accounts(account_id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT fk_accounts_applications FOREIGN KEY (application_id) REFERENCES public.applications(application_id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT fk_accounts_users FOREIGN KEY (user_id) REFERENCES public.users(user_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_applications FOREIGN KEY (application_id) REFERENCES public.applications(application_id);

ALTER TABLE ONLY public.connect_sessions
    ADD CONSTRAINT fk_connect_sessions_applications FOREIGN KEY (application_id) REFERENCES public.applications(application_id);

ALTER TABLE ONLY public.connect_sessions
    ADD CONSTRAINT fk_connect_sessions_users FOREIGN KEY (user_id) REFERENCES public.users(user_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.provider_tokens
    ADD CONSTRAINT fk_provider_tokens_accounts FOREIGN KEY (account_id) REFERENCES public.accounts(account_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT fk_refresh_tokens_sessions FOREIGN KEY (session_id) REFERENCES public.sessions(session_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT fk_sessions_users FOREIGN KEY (user_id) REFERENCES public.users(user_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.users
    ADD CONSTRAINT fk_users_applications FOREIGN KEY (application_id) REFERENCES public.applications(application_id);
