CREATE TABLE public.accounts (
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    email text NOT NULL,
    status text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_accounts_status CHECK ((status = ANY (ARRAY['active'::text, 'reauth_required'::text])))
);

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE public.loose_grants (
    grant_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    sealed bytea NOT NULL,
    parked boolean NOT NULL,
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
    created_at timestamp with time zone DEFAULT now() NOT NULL
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
    expires_at timestamp with time zone DEFAULT now() NOT NULL
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
    login_provider text NOT NULL,
    login_subject text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

INSERT INTO public.alembic_version VALUES ('0001');

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT pk_accounts PRIMARY KEY (account_id);

ALTER TABLE ONLY public.loose_grants
    ADD CONSTRAINT pk_loose_grants PRIMARY KEY (grant_id);

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

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT uq_accounts_provider_subject UNIQUE (provider, subject);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT uq_users_login_provider_login_subject UNIQUE (login_provider, login_subject);

CREATE INDEX ix_accounts_user_id ON public.accounts USING btree (user_id);

CREATE INDEX ix_loose_grants_due_at ON public.loose_grants USING btree (due_at);

CREATE INDEX ix_refresh_tokens_session_id ON public.refresh_tokens USING btree (session_id);

CREATE INDEX ix_security_events_created_at ON public.security_events USING btree (created_at);

CREATE INDEX ix_security_events_user_id_event_id ON public.security_events USING btree (user_id, event_id);

CREATE INDEX ix_sessions_expires_at ON public.sessions USING btree (expires_at);

CREATE INDEX ix_sessions_used_at ON public.sessions USING btree (used_at);

CREATE INDEX ix_sessions_user_id ON public.sessions USING btree (user_id);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT fk_accounts_users FOREIGN KEY (user_id) REFERENCES public.users(user_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.provider_tokens
    ADD CONSTRAINT fk_provider_tokens_accounts FOREIGN KEY (account_id) REFERENCES public.accounts(account_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT fk_refresh_tokens_sessions FOREIGN KEY (session_id) REFERENCES public.sessions(session_id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT fk_sessions_users FOREIGN KEY (user_id) REFERENCES public.users(user_id) ON DELETE CASCADE;
