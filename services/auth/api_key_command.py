"""`python -m services.auth api-key`: the first keys of applications, and those of operators."""

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from services.auth.applications.api_keys import ApiKeys, KeyRules
from services.auth.applications.applications import Applications
from services.auth.command_settings import AuthDatabaseSettings
from services.auth.model import UNKNOWN_CLIENT
from services.auth.store.transaction import Store
from services.kit.errors import AppError, Kind
from services.kit.scopes import DEFAULT_SCOPES, OPERATOR_SCOPES, Scope
from services.kit.stores.engine import create_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--application", default="default", metavar="NAME", help="whose key it is (default)")
    parser.add_argument(
        "--operator", action="store_true", help="an operator's: it manages applications, and reads no mail"
    )
    parser.add_argument("--name", default="command line", help="what the key is for")
    parser.add_argument(
        "--scopes",
        type=_scopes,
        default=DEFAULT_SCOPES,
        metavar="SCOPE,...",
        help=f"of {', '.join(sorted(set(Scope) - OPERATOR_SCOPES))} ({','.join(sorted(DEFAULT_SCOPES))})",
    )
    parser.add_argument("--mailboxes", type=_ids, metavar="ID,...", help="the only mailboxes that it reaches")
    parser.add_argument("--networks", type=_names, metavar="CIDR,...", help="the only networks that it is used from")
    parser.add_argument(
        "--redirect-url",
        action="append",
        default=[],
        metavar="URL",
        help="also let browsers of connect sessions return to this URL of the application; may be given again",
    )
    parser.add_argument("--days", type=int, help="after which it expires")
    parser.add_argument(
        "--revoke", metavar="ID", help="revoke the key of this id instead, of the application or operator"
    )


async def run(settings: AuthDatabaseSettings, options: argparse.Namespace) -> bool:
    """Print a new key, or revoke one; return whether it was done."""
    engine = create_engine(settings.database, application_name="mailroom-auth-api-key", pool_size=1)
    try:
        await _run(Store(engine), options)
    except AppError as error:
        sys.stderr.write(f"{error.message}\n")
        return False
    finally:
        await engine.dispose()
    return True


async def _run(store: Store, options: argparse.Namespace) -> None:
    application_id = None if options.operator else await _application_id(store, options.application)
    keys = ApiKeys(store=store, clock=_now, random=os.urandom)
    if options.revoke:
        await keys.revoke(options.revoke, application_id=application_id, client=UNKNOWN_CLIENT)
        return
    applications = Applications(store=store, api_keys=keys, new_id=uuid4)
    if application_id is not None:
        for url in options.redirect_url:
            await applications.allow_redirect_url(application_id, url)
    rules = KeyRules(
        name=options.name,
        scopes=OPERATOR_SCOPES if options.operator else options.scopes,
        mailbox_ids=options.mailboxes,
        networks=options.networks,
        expires_at=None if options.days is None else _now() + timedelta(days=options.days),
    )
    _, text = await keys.create(rules, application_id=application_id)
    sys.stdout.write(f"{text.value}\n")


async def _application_id(store: Store, name: str) -> UUID:
    async with store.transaction() as transaction:
        found = await transaction.applications.find_by_name(name)
    if found is None:
        raise AppError(Kind.NOT_FOUND, "application_not_found", f"There is no application {name}.")
    return found.application_id


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _scopes(text: str) -> frozenset[Scope]:
    return frozenset(map(Scope, _names(text)))


def _ids(text: str) -> frozenset[UUID]:
    return frozenset(map(UUID, _names(text)))


def _now() -> datetime:
    return datetime.now(UTC)
