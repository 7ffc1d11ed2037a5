"""Parts of the stack: two servers, the migrations, and the processes in the order of their start."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.local.children import die_with_parent
from deploy.local.environment import Settings, identity_variables, postgres_variables, service_variables
from deploy.local.errors import StackError
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.secrets import own_environment
from deploy.local.supervisor import Server, Service
from deploy.local.valkey import EmbeddedValkey
from services.kit.tls.authority import ensure_certificates
from services.sandbox.certificates import ensure_certificate

MIGRATED = ("auth", "mail")
# Where browsers of connect sessions return to, besides the console: a back end in development.
FIRST_REDIRECT_URL = "http://localhost:3000/connected"
_FIRST_KEY_SCOPES = "mail.read,mailboxes.read,mailboxes.manage,webhooks.manage,keys.manage"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Started:
    """The servers that this process started, and the variables with the addresses of all servers."""

    variables: Mapping[str, str]
    embedded: tuple[Server, ...]


@contextmanager
def servers(
    settings: Settings, home: Home, ports: Ports, *, postgres: bool = True, redis: bool = True
) -> Iterator[Started]:
    """Run the embedded servers among `wanted`; stop them at the end. The caller holds the home's lock."""
    with ExitStack() as started:
        variables: dict[str, str] = {}
        embedded: list[Server] = []
        if postgres:
            address = settings.postgres
            if address is None:
                port = settings.port("POSTGRES_PORT", ports, default=5432)
                database = EmbeddedPostgres(home.path, port=port, password=home.secret("postgres"))
                embedded.append(started.enter_context(database))
                address = database.address
            variables |= postgres_variables(settings, address, home.secret)
        if redis:
            store = settings.redis
            if store is None:
                port = settings.port("REDIS_PORT", ports, default=6379)
                valkey = EmbeddedValkey(home.path, port=port, password=home.secret("redis"))
                embedded.append(started.enter_context(valkey))
                store = valkey.address
            variables |= store.environment()
        yield Started(variables, tuple(embedded))


def process_environment(settings: Settings, variables: Mapping[str, str], *, process: str) -> dict[str, str]:
    """Return the environment of one of our processes: the whole one without the secrets of others."""
    return own_environment(whole_environment(settings, variables), process=process)


def whole_environment(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: the user's, and `variables` over it."""
    return {**settings.inherited, **settings.variables, **variables, "PYTHONUNBUFFERED": "1"}


def processes(settings: Settings, variables: Mapping[str, str]) -> list[Service]:
    """Return the services in the order of their start; `variables` are those of `servers` and `service_variables`.

    Makes or renews their certificates; the caller holds the home's lock.
    """
    if settings.encrypted:
        ensure_certificates(settings.home / "tls", now=datetime.now(UTC))
    if authority := variables.get("SANDBOX_IMAP_CA_FILE"):
        # Workers read it at their start, which may come before the sandbox's.
        ensure_certificate(Path(authority))

    def service(name: str, *, module: str, folder: str, port: str) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", module),
            environment={
                **process_environment(settings, variables, process=name),
                **identity_variables(settings, folder),
            },
            ready_url=f"http://127.0.0.1:{variables[port]}/readyz",
            directory=settings.directory,
            watched=tuple(_ROOT / path for path in (f"services/{folder}", "services/kit", "protos/gen")),
        )

    sandbox = service("sandbox", module="services.sandbox", folder="sandbox", port="SANDBOX_PORT")
    return [
        *([sandbox] if settings.sandbox else []),
        service("auth", module="services.auth", folder="auth", port="AUTH_ADMIN_PORT"),
        service("mail", module="services.mail", folder="mail", port="MAIL_ADMIN_PORT"),
        service("worker", module="services.mail.worker", folder="mail", port="WORKER_ADMIN_PORT"),
        service("deliverer", module="services.mail.deliverer", folder="mail", port="DELIVERER_ADMIN_PORT"),
        service("gateway", module="services.gateway", folder="gateway", port="GATEWAY_ADMIN_PORT"),
        service("console", module="services.console", folder="console", port="CONSOLE_ADMIN_PORT"),
    ]


def migrate(settings: Settings, variables: Mapping[str, str], *arguments: str, only: str | None = None) -> None:
    """Run the migration command (default `upgrade`) of each service with a database.

    Raises StackError when one fails; its own output has the reason.
    """
    for name in [only] if only else MIGRATED:
        environment = process_environment(settings, variables, process=f"{name}.migrations")
        command = [sys.executable, "-m", f"services.{name}.migrations", *(arguments or ("upgrade",))]
        code = subprocess.run(  # noqa: S603  # our own module
            command, env=environment, cwd=settings.directory, check=False, preexec_fn=die_with_parent(signal.SIGKILL)
        ).returncode
        if code != 0:
            raise StackError(f"the migrations of {name} failed with exit code {code}")


def ensure_first_key(settings: Settings, variables: Mapping[str, str], home: Home) -> None:
    """Write an API key of the application `default` into the home, unless one is there. Raises StackError."""
    if home.api_key.exists():
        return
    environment = process_environment(settings, variables, process="auth.command")
    redirect_urls = (FIRST_REDIRECT_URL, f"{variables['CONSOLE_PUBLIC_URL']}/connect/done")
    options = ["--name", "first key", "--scopes", _FIRST_KEY_SCOPES]
    options += [option for url in redirect_urls for option in ("--redirect-url", url)]
    command = [sys.executable, "-m", "services.auth", "api-key", *options]
    made = subprocess.run(  # noqa: S603  # our own module
        command, env=environment, cwd=settings.directory, check=False, stdout=subprocess.PIPE, text=True
    )
    if made.returncode != 0:
        raise StackError("the first API key could not be made")
    home.write_api_key(made.stdout)


def all_variables(settings: Settings, home: Home, ports: Ports, started: Started) -> dict[str, str]:
    """Return every variable that the stack sets itself."""
    cache = {"MAIL_CACHE_DIR": settings.variables.get("MAIL_CACHE_DIR", str(settings.home / "mail-cache"))}
    return {**cache, **service_variables(settings, ports, home.secret), **started.variables}
