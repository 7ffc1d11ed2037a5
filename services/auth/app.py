"""Composition of the auth service."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import structlog
from sqlalchemy.exc import DBAPIError

from services.auth.applications.api_keys import ApiKeys
from services.auth.applications.applications import Applications
from services.auth.applications.audit_events import AuditEvents
from services.auth.applications.connect_sessions import ConnectSessions
from services.auth.applications.deletions import ApplicationDeletions
from services.auth.applications.revoked import Revoked
from services.auth.applications.token_exchange import TokenExchange
from services.auth.cipher import Cipher, DecryptionError
from services.auth.command_settings import AuthKeySettings
from services.auth.provider_grants.accounts import Accounts
from services.auth.provider_grants.disconnect import Disconnections
from services.auth.provider_grants.new_grants import NewGrants
from services.auth.provider_grants.provider_tokens import LOCK_LEASE, LOCK_WAIT, ProviderTokens
from services.auth.provider_grants.recent_revocations import RecentRevocations
from services.auth.provider_grants.refresh_lock import RefreshLock
from services.auth.provider_grants.revocations import GrantRevocations
from services.auth.providers.base import ProviderUnavailableError
from services.auth.providers.registry import build_providers, call_names
from services.auth.reencrypt import Reencryption
from services.auth.rpc import CALLERS, registrations
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
from services.kit.http.admin import admin_app
from services.kit.http.outbound import Egress, create_http_client
from services.kit.http.readiness import Readiness
from services.kit.http.server import serve_http
from services.kit.jwks import KeySet, KeysUnavailableError, PublishedKeys
from services.kit.observe.dependencies import Dependencies
from services.kit.observe.http_calls import CallObserver
from services.kit.observe.postgres_capacity import PostgresCapacity
from services.kit.observe.setup import open_telemetry
from services.kit.periodic import PeriodicTask, repeated
from services.kit.principals import Principals
from services.kit.rpc.server import serve_rpc
from services.kit.stores import engine as sql_engine
from services.kit.stores import redis_client
from services.kit.stores.engine import create_engine
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.redis_client import check_writes, create_redis
from services.kit.tls.expiry import CertificateExpiry

log = structlog.get_logger()

# Seconds between runs of periodic tasks.
REVOKE_INTERVAL = 15.0
SLOW_INTERVAL = 600.0
# Seconds. Our own keys are read for the principals of other services.
_KEYS_MAX_AGE = 60.0
_KEYS_RETRY = 1.0


@dataclass(frozen=True)
class Ports:
    """The ports that a running service listens on, and its readiness."""

    rpc: int
    admin: int
    ready: Readiness


async def run(settings: AuthSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain."""
    async with serving(settings, stop=stop) as ports:
        log.info("serving", rpc_port=ports.rpc, admin_port=ports.admin)
        await ports.ready.until_stopped(drain_delay=settings.drain_delay_seconds)


async def reencrypt(settings: AuthKeySettings) -> bool:
    """Reencrypt all records under SECRET_KEY; return whether all of them could be decrypted."""
    engine = create_engine(settings.database, application_name="mailroom-auth-reencrypt", pool_size=1)
    try:
        reencrypted = await Reencryption(store=Store(engine), cipher=_cipher(settings)).run()
    finally:
        await engine.dispose()
    log.info("reencrypted", records=reencrypted.done, failed=reencrypted.failed)
    return reencrypted.failed == 0


async def rotate_signing_keys(settings: AuthKeySettings) -> bool:
    """Create the next signing key unless one exists that does not sign yet."""
    engine = create_engine(settings.database, application_name="mailroom-auth-rotate", pool_size=1)
    try:
        keys = SigningKeys(store=Store(engine), cipher=_cipher(settings), clock=_now)
        made = await keys.rotate()
    finally:
        await engine.dispose()
    log.info("rotated the signing keys", made=made)
    return True


@asynccontextmanager
async def serving(settings: AuthSettings, *, stop: asyncio.Event) -> AsyncIterator[Ports]:
    """Run the service while the block lasts; the two port settings may be 0. Raises OSError if an address is taken."""
    async with AsyncExitStack() as stack:
        telemetry = stack.enter_context(
            open_telemetry("auth", collector=settings.otel_exporter_otlp_endpoint, version=settings.mailroom_version)
        )
        pools = PoolMetrics(telemetry.registry)
        CertificateExpiry(telemetry.registry, settings.identity)
        engine = create_engine(
            settings.database,
            application_name="mailroom-auth",
            pool_size=settings.auth_postgres_pool,
            tracer=telemetry.tracer,
        )
        stack.push_async_callback(engine.dispose)
        sql_engine.show_pool(engine, pools)
        redis = create_redis(settings)
        stack.push_async_callback(redis.aclose)
        redis_client.show_pool(redis, pools)
        # Connections of their own, also where the server is the same: strangers use them.
        sign_in_redis = create_redis(settings.sign_in_redis)
        stack.push_async_callback(sign_in_redis.aclose)
        redis_client.show_pool(sign_in_redis, pools, name="sign_in_redis")
        http_client = await stack.enter_async_context(
            create_http_client(observer=CallObserver(telemetry), name_call=call_names(settings))
        )

        store = Store(engine)
        cipher = _cipher(settings)
        signing_keys = SigningKeys(store=store, cipher=cipher, clock=_now)
        egress = Egress(http_client, unavailable=ProviderUnavailableError)
        providers = build_providers(settings, egress=egress, clock=_now)
        refresh_lock = RefreshLock(redis=redis, lease=LOCK_LEASE, wait=LOCK_WAIT)
        recent_revocations = RecentRevocations(redis)
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
            registry=telemetry.registry,
        )
        stack.push_async_callback(provider_tokens.drain)
        new_grants = NewGrants(recent=recent_revocations, tokens=provider_tokens)
        sessions = _sessions(settings, store=store, signing_keys=signing_keys)
        events = SecurityEvents(
            store=store, cipher=cipher, retention=timedelta(days=settings.auth_event_days), clock=_now
        )
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
                redis=sign_in_redis,
                cipher=cipher,
                kind="authorization_request",
                record_type=AuthorizationRequest,
                seconds=AUTHORIZATION_REQUEST_SECONDS,
            ),
            login_codes=OneTimeRecords(
                redis=sign_in_redis,
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

        dependencies = Dependencies(
            telemetry.registry,
            {
                "postgres": partial(_write, store),
                "redis": partial(check_writes, redis),
                "sign_in_redis": partial(check_writes, sign_in_redis),
            },
        )
        capacity = PostgresCapacity(
            telemetry.registry, wanted=settings.auth_postgres_pool, read=partial(_allowed_connections, store)
        )
        ready = Readiness(stop, check=partial(_check, store=store, signing_keys=signing_keys, capacity=capacity))
        admin = admin_app(ready=ready, registry=telemetry.registry)
        admin_port = await stack.enter_async_context(
            serve_http(admin, host=settings.auth_admin_host, port=settings.auth_admin_port)
        )
        rpc_port = await stack.enter_async_context(
            serve_rpc(
                host=settings.auth_host,
                port=settings.auth_port,
                callers=CALLERS,
                identity=settings.identity,
                register=registrations(
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
                telemetry=telemetry,
                authenticate=proven_by_key(_principals(settings, signing_keys)),
            )
        )
        tasks = [
            dependencies.task,
            capacity.task,
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
        ]
        await stack.enter_async_context(repeated(tasks, explain=_explain))
        ready.serving()
        yield Ports(rpc=rpc_port, admin=admin_port, ready=ready)


def _explain(error: Exception) -> str | None:
    """Return the reason of an expected failure, without the SQL statement, whose values can be secrets."""
    if isinstance(error, AppError):
        return error.reason
    return f"is the database migrated? {error.orig}" if isinstance(error, DBAPIError) else None


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


def _cipher(settings: AuthKeySettings) -> Cipher:
    previous = settings.secret_key_previous
    return Cipher(
        settings.secret_key.get_secret_value(),
        previous=None if previous is None else previous.get_secret_value(),
    )


async def _write(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.write()


async def _allowed_connections(store: Store) -> tuple[str, int]:
    async with store.transaction() as transaction:
        return await transaction.allowed_connections()


async def _check(*, store: Store, signing_keys: SigningKeys, capacity: PostgresCapacity) -> bool:
    """Return whether the database responds and the signing key can be decrypted; log the reason otherwise.

    Without Redis only sign-ins, or refreshes of provider tokens, fail: sessions and tokens that are valid go on.
    """
    try:
        async with asyncio.timeout(3), store.transaction() as transaction:
            await transaction.ping()
        await signing_keys.current()
    except DecryptionError as error:
        log.error("not ready: the signing key does not open; is SECRET_KEY another one now?", reason=str(error))
    except DBAPIError as error:
        log.warning("not ready: is the database migrated?", reason=str(error.orig))
    except (AppError, OSError) as error:
        log.warning("not ready", reason=str(error))
    else:
        return capacity.fits
    return False
