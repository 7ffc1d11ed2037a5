"""The parts of auth, on connections to its stores and to providers."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import httpx
from grpc import aio
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.applications.api_keys import ApiKeys
from services.auth.applications.applications import Applications
from services.auth.applications.audit_events import AuditEvents
from services.auth.applications.connect_sessions import ConnectSessions
from services.auth.applications.deletions import ApplicationDeletions
from services.auth.applications.revoked import Revoked
from services.auth.applications.token_exchange import TokenExchange
from services.auth.cipher import cipher_of
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.provider_grants.grant_refresh import LOCK_LEASE, LOCK_WAIT
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.provider_tokens import ProviderTokens
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import ProviderUnavailableError
from services.auth.providers.registry import build_providers
from services.auth.rpc import registrations
from services.auth.rpc.proof import proven_by_key
from services.auth.security_events import SecurityEvents
from services.auth.sessions.access_tokens import AccessTokens
from services.auth.sessions.refresh_tokens import RefreshTokens
from services.auth.sessions.sessions import Lifetimes, Sessions
from services.auth.sessions.signing_keys import SigningKeys
from services.auth.settings import AuthSettings
from services.auth.sign_in.linking import Linking
from services.auth.sign_in.one_time_records import (
    AUTHORIZATION_REQUEST_SECONDS,
    LOGIN_CODE_SECONDS,
    AuthorizationRequest,
    LoginCode,
    OneTimeRecords,
    random_value,
)
from services.auth.sign_in.sign_in import SignIn
from services.auth.store.transaction import Store
from services.kit.errors import AppError
from services.kit.http.outbound import Egress
from services.kit.jwks import KeySet, KeysUnavailableError, PublishedKeys
from services.kit.periodic import PeriodicTask
from services.kit.principals import Principals
from services.kit.rpc.server import Authenticate

# Seconds between runs of periodic tasks.
REVOKE_INTERVAL = 15.0
SLOW_INTERVAL = 600.0
# Seconds. Our own keys are read for the principals of other services.
_KEYS_MAX_AGE = 60.0
_KEYS_RETRY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """The connections of a process. Those of sign-ins serve strangers, and nothing else."""

    engine: AsyncEngine
    redis: Redis
    sign_in_redis: Redis
    http: httpx.AsyncClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The services that a process registers and the tasks that it repeats. `provider_tokens` are drained at its end."""

    store: Store
    signing_keys: SigningKeys
    provider_tokens: ProviderTokens
    registrations: Sequence[Callable[[aio.Server], None]]
    authenticate: Authenticate
    tasks: Sequence[PeriodicTask]


def build_parts(settings: AuthSettings, connections: Connections, *, registry: CollectorRegistry) -> Parts:
    """Build all parts; nothing is asked of the stores yet."""
    store = Store(connections.engine)
    cipher = cipher_of(settings)
    signing_keys = SigningKeys(store=store, cipher=cipher, clock=_now)
    egress = Egress(connections.http, unavailable=ProviderUnavailableError)
    providers = build_providers(settings, egress=egress, clock=_now)
    refresh_lock = RefreshLock(redis=connections.redis, lease=LOCK_LEASE, wait=LOCK_WAIT)
    recent_revocations = RecentRevocations(connections.redis)
    revocations = GrantRevocations(
        store=store, cipher=cipher, providers=providers, recent=recent_revocations, clock=_now, new_id=uuid4
    )
    accounts = Accounts(
        store=store,
        cipher=cipher,
        revocations=revocations,
        sign_ups=settings.sign_ups,
        new_id=uuid4,
        clock=_now,
    )
    provider_tokens = ProviderTokens(
        providers=providers,
        store=store,
        cipher=cipher,
        lock=refresh_lock,
        clock=_now,
        registry=registry,
    )
    new_grants = NewGrants(recent=recent_revocations, tokens=provider_tokens)
    sessions = _sessions(settings, store=store, signing_keys=signing_keys)
    events = SecurityEvents(store=store, cipher=cipher, retention=timedelta(days=settings.auth_event_days), clock=_now)
    api_keys = ApiKeys(store=store, clock=_now, random=os.urandom)
    applications = Applications(store=store, api_keys=api_keys, new_id=uuid4)
    connect_sessions = ConnectSessions(
        store=store,
        applications=applications,
        accounts=accounts,
        new_grants=new_grants,
        revocations=revocations,
        providers=providers,
        clock=_now,
        new_id=uuid4,
        random=random_value,
    )
    sign_in = SignIn(
        providers=providers,
        authorization_requests=OneTimeRecords(
            redis=connections.sign_in_redis,
            cipher=cipher,
            kind="authorization_request",
            record_type=AuthorizationRequest,
            seconds=AUTHORIZATION_REQUEST_SECONDS,
        ),
        login_codes=OneTimeRecords(
            redis=connections.sign_in_redis,
            cipher=cipher,
            kind="login_code",
            record_type=LoginCode,
            seconds=LOGIN_CODE_SECONDS,
        ),
        accounts=accounts,
        new_grants=new_grants,
        linking=Linking(store=store, accounts=accounts, new_grants=new_grants, revocations=revocations),
        connect_sessions=connect_sessions,
        sessions=sessions,
        require_pkce=settings.auth_require_client_proof,
        clock=_now,
    )
    revoked = Revoked(store=store, clock=_now)
    access_tokens = _access_tokens(settings, signing_keys)
    disconnections = Disconnections(store=store, cipher=cipher, revocations=revocations, lock=refresh_lock)
    return Parts(
        store=store,
        signing_keys=signing_keys,
        provider_tokens=provider_tokens,
        registrations=registrations(
            sign_in=sign_in,
            sessions=sessions,
            signing_keys=signing_keys,
            accounts=accounts,
            events=events,
            disconnections=disconnections,
            provider_tokens=provider_tokens,
            api_keys=api_keys,
            audit_events=AuditEvents(store=store, api_keys=api_keys, cipher=cipher),
            access_tokens=access_tokens,
            token_exchange=TokenExchange(store=store, api_keys=api_keys, access_tokens=access_tokens),
            revoked=revoked,
            applications=applications,
            application_deletions=ApplicationDeletions(
                store=store, api_keys=api_keys, disconnections=disconnections, clock=_now
            ),
            connect_sessions=connect_sessions,
        ),
        authenticate=proven_by_key(_principals(settings, signing_keys)),
        tasks=[
            PeriodicTask("revoke grants", REVOKE_INTERVAL, revocations.revoke_due),
            PeriodicTask(
                "rotate signing keys",
                SLOW_INTERVAL,
                partial(signing_keys.rotate, older_than=timedelta(days=settings.auth_signing_key_days)),
            ),
            PeriodicTask("refresh old grants", SLOW_INTERVAL, provider_tokens.refresh_old),
            PeriodicTask("forget sessions", SLOW_INTERVAL, sessions.forget_expired),
            PeriodicTask("forget events", SLOW_INTERVAL, events.forget_old),
            PeriodicTask("fill applications of events", SLOW_INTERVAL, events.fill_applications),
            PeriodicTask("forget ended sessions", SLOW_INTERVAL, revoked.forget_old),
            PeriodicTask("forget connect sessions", SLOW_INTERVAL, connect_sessions.forget_old),
        ],
    )


def _access_tokens(settings: AuthSettings, signing_keys: SigningKeys) -> AccessTokens:
    return AccessTokens(signing_keys=signing_keys, issuer=settings.issuer, clock=_now, new_id=uuid4)


def _principals(settings: AuthSettings, signing_keys: SigningKeys) -> Principals:
    async def fetch() -> PublishedKeys:
        try:
            return PublishedKeys((await signing_keys.jwks()).encode(), max_age=_KEYS_MAX_AGE)
        except AppError as error:
            raise KeysUnavailableError(error.reason) from error

    keys = KeySet(fetch, algorithm="ES256", retry_interval=_KEYS_RETRY, monotonic=time.monotonic)
    return Principals(keys, issuer=settings.issuer, operators=True)


def _sessions(settings: AuthSettings, *, store: Store, signing_keys: SigningKeys) -> Sessions:
    previous = settings.secret_key_previous
    return Sessions(
        store=store,
        access_tokens=_access_tokens(settings, signing_keys),
        refresh_tokens=RefreshTokens(
            settings.secret_key.get_secret_value(),
            previous=None if previous is None else previous.get_secret_value(),
            random=os.urandom,
        ),
        lifetimes=Lifetimes(
            idle=timedelta(seconds=settings.auth_session_idle_seconds),
            absolute=timedelta(seconds=settings.auth_session_seconds),
        ),
        clock=_now,
        new_id=uuid4,
    )


def _now() -> datetime:
    return datetime.now(UTC)
