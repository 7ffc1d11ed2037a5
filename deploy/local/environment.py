"""Settings of the embedded stack, and the environment of its processes.

Settings of the user, from the environment or `.env`, always win. The others follow from free ports and from the servers
that were started.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from deploy.local.errors import StackError
from deploy.local.ports import Ports
from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from services.kit.tls.authority import identity_in
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET

_SECRET_KEY_LENGTH = 32
_PUSH_SERVICE_ACCOUNT = "gmail-push@sandbox.iam.gserviceaccount.com"
_MEANINGFUL_WHEN_EMPTY = frozenset({"GMAIL_BATCH_URL"})  # empty means: the provider has no batch endpoint
_FALSE = frozenset({"off", "false", "no", "0"})
_TRUE = frozenset({"on", "true", "yes", "1"})
_OURS = (
    *(
        "AUTH_",
        "CONSOLE_",
        "CORS_",
        "DELIVERER_",
        "FRONTEND_",
        "GATEWAY_",
        "GMAIL_",
        "GOOGLE_",
        "IMAP_",
        "MAIL_",
        "MAILROOM_",
        "POSTGRES_",
    ),
    *("PROVIDERS_FILE", "PUBLIC_URL", "REDIS_", "SANDBOX_", "SECRET_KEY", "WEBHOOK_", "WORKER_", "YANDEX_"),
)
# A user who replaces the first with another stand-in must not have its tokens sent to, or verified by, the sandbox.
_COMPANIONS = {
    "GMAIL_API_URL": {"GMAIL_BATCH_URL"},
    "GOOGLE_TOKEN_URL": {"GOOGLE_ISSUER", "GOOGLE_USERINFO_URL", "GOOGLE_JWKS_URL", "GOOGLE_REVOKE_URL"},
}
_MOVABLE_PORTS = {
    "SANDBOX_PORT": 8100,
    "SANDBOX_IMAP_YANDEX_PORT": 8993,
    "AUTH_PORT": 50051,
    "AUTH_ADMIN_PORT": 9101,
    "MAIL_PORT": 50052,
    "MAIL_ADMIN_PORT": 9102,
    "WORKER_ADMIN_PORT": 9103,
    "DELIVERER_ADMIN_PORT": 9105,
    "GATEWAY_ADMIN_PORT": 9100,
    "CONSOLE_PORT": 8001,
    "CONSOLE_ADMIN_PORT": 9104,
}
# The roles at the embedded Postgres by their variables: the owners of the tables, and the processes.
_ROLES = {
    "AUTH_POSTGRES_OWNER": "auth",
    "AUTH_POSTGRES_USER": "auth_service",
    "MAIL_POSTGRES_OWNER": "mail",
    "MAIL_POSTGRES_USER": "mail_service",
    "WORKER_POSTGRES_USER": "mail_worker",
    "DELIVERER_POSTGRES_USER": "mail_deliverer",
}

type Secret = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the user: `variables` is the environment over `.env`, without empty variables.

    Processes get `inherited` below these and below the stack's own variables, and run in `directory`.
    """

    variables: Mapping[str, str]
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: Path = field(default_factory=Path.cwd)

    @property
    def home(self) -> Path:
        """MAILROOM_HOME."""
        return Path(self.variables.get("MAILROOM_HOME", ".mailroom")).absolute()

    @property
    def sandbox(self) -> bool:
        """Whether the stand-in for Google runs: not with a real client, nor when it is switched off."""
        return self._switch("MAILROOM_SANDBOX", default=True) and "GOOGLE_CLIENT_ID" not in self.variables

    @property
    def postgres(self) -> PostgresAddress | None:
        """The server that POSTGRES_HOST names, None for the embedded one."""
        if "POSTGRES_HOST" not in self.variables:
            return None
        return PostgresAddress(
            host=self.variables["POSTGRES_HOST"],
            port=self.number("POSTGRES_PORT", default=5432),
            user=self.variables.get("POSTGRES_USER", "postgres"),
            password=self.variables.get("POSTGRES_PASSWORD", ""),
        )

    @property
    def redis(self) -> RedisAddress | None:
        """The server that REDIS_HOST names, None for the embedded one."""
        if "REDIS_HOST" not in self.variables:
            return None
        return RedisAddress(
            host=self.variables["REDIS_HOST"],
            port=self.number("REDIS_PORT", default=6379),
            database=self.number("REDIS_DB", default=0),
            username=self.variables.get("REDIS_USERNAME"),
            password=self.variables.get("REDIS_PASSWORD"),
        )

    @property
    def encrypted(self) -> bool:
        """Whether the services use TLS: unless the user allows plaintext."""
        return not self._switch("MAILROOM_INSECURE_GRPC", default=False)

    def number(self, name: str, *, default: int) -> int:
        """Return a port or database number. Raises StackError for other text."""
        value = self.variables.get(name, str(default))
        if not value.isascii() or not value.isdigit() or int(value) > 65535:
            raise StackError(f"{name} must be a number from 0 to 65535, not {value!r}")
        return int(value)

    def port(self, name: str, ports: Ports, *, default: int) -> int:
        """Return the user's port, which must be free, or else `default` or a free one."""
        if name in self.variables:
            return ports.fixed(self.number(name, default=default), variable=name)
        return ports.movable(default)

    def _switch(self, name: str, *, default: bool) -> bool:
        value = self.variables.get(name, "").lower()
        if value and value not in _FALSE | _TRUE:
            raise StackError(f"{name} must be on or off, not {value!r}")
        return value in _TRUE if value else default


def read_settings(environment: Mapping[str, str], *, dotenv: Path) -> Settings:
    """Merge the environment over the file `dotenv`. Raises StackError for a SECRET_KEY that is too short."""
    file = {name: value for name, value in dotenv_values(dotenv).items() if value is not None}
    merged = file | dict(environment)
    variables = {name: value for name, value in merged.items() if value or name in _MEANINGFUL_WHEN_EMPTY}
    settings = Settings(variables, inherited=merged)
    _check_secret_key(settings.variables.get("SECRET_KEY"))
    return settings


def demo_settings(environment: Mapping[str, str], home: Path) -> Settings:
    """Return settings of a separate stack: free ports, no server or provider of the user, a fast sandbox."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_OURS)}
    chosen = dict.fromkeys(("GATEWAY_PORT", "POSTGRES_PORT", "REDIS_PORT", *_MOVABLE_PORTS), "0") | {
        "MAILROOM_HOME": str(home),
        "SANDBOX_MESSAGES": "2000",
        # A minute's units in every 0.2 s: under Gmail's quota a worker mostly waits.
        "SANDBOX_QUOTA_WINDOW": "0.2",
        "GMAIL_QUOTA_WINDOW": "0.2",
    }
    return Settings(kept | chosen, inherited=kept, directory=home)  # no `.env` of the user is read there


def postgres_variables(settings: Settings, server: PostgresAddress, secret: Secret) -> dict[str, str]:
    """Return the addresses of the databases. On the embedded server each process and each owner has its own role."""
    variables = server.environment() | {"POSTGRES_DB": settings.variables.get("POSTGRES_DB", "mailroom")}
    if settings.postgres is None:
        for role, name in _ROLES.items():
            variables[role] = f"mailroom_{name}"
            variables[f"{role.removesuffix('_USER')}_PASSWORD"] = secret(f"postgres_{name}")
    return variables | _chosen(settings, variables, except_for=server.environment())


def service_variables(settings: Settings, ports: Ports, secret: Secret) -> dict[str, str]:
    """Return the variables of the processes except the servers' addresses: ports, peers, keys, URLs."""
    gateway = ports.fixed(settings.number("GATEWAY_PORT", default=8000), variable="GATEWAY_PORT")
    numbers = {name: settings.port(name, ports, default=default) for name, default in _MOVABLE_PORTS.items()}
    numbers["GATEWAY_PORT"] = gateway
    fixed = {name: str(number) for name, number in numbers.items()}
    variables = {
        "SECRET_KEY": settings.variables.get("SECRET_KEY") or secret("secret_key"),
        "MAIL_SECRET_KEY": settings.variables.get("MAIL_SECRET_KEY") or secret("mail_secret_key"),
        # Receivers under development are on this machine.
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "WEBHOOK_ALLOW_HTTP": "true",
        "AUTH_ADDRESS": f"127.0.0.1:{numbers['AUTH_PORT']}",
        "MAIL_ADDRESS": f"127.0.0.1:{numbers['MAIL_PORT']}",
        "PUBLIC_URL": f"http://localhost:{gateway}",
        "CONSOLE_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
        "CONSOLE_PUBLIC_URL": f"http://localhost:{numbers['CONSOLE_PORT']}",
        "CONSOLE_SECRET_KEY": settings.variables.get("CONSOLE_SECRET_KEY") or secret("console_secret_key"),
    }
    variables["CONSOLE_ENDED_SESSIONS_FILE"] = str(settings.home / "console-ended-sessions.json")
    variables |= _chosen(settings, variables)
    variables["GOOGLE_REDIRECT_URI"] = f"{variables['PUBLIC_URL']}/auth/google/callback"
    if settings.sandbox:
        variables |= _sandbox(settings.variables, numbers["SANDBOX_PORT"]) | _push(gateway)
        variables["FRONTEND_REDIRECT_URL"] = f"{variables['CONSOLE_PUBLIC_URL']}/signed-in"
        variables["SANDBOX_GRANTS_FILE"] = str(settings.home / "sandbox-grants.json")
        if "YANDEX_CLIENT_ID" not in settings.variables:
            variables |= _yandex(variables, imap_port=fixed["SANDBOX_IMAP_YANDEX_PORT"], home=settings.home)
        for replaced, companions in _COMPANIONS.items():
            if replaced in settings.variables:
                unwanted = companions - settings.variables.keys()
                variables = {name: value for name, value in variables.items() if name not in unwanted}
    return variables | _chosen(settings, variables) | fixed


def moved_ports(settings: Settings, variables: Mapping[str, str]) -> dict[str, int]:
    """Return the usual ports of which the stack with these variables has others, since they are taken."""
    return {
        name: usual
        for name, usual in _MOVABLE_PORTS.items()
        if name not in settings.variables and variables[name] != str(usual)
    }


def identity_variables(settings: Settings, service: str) -> dict[str, str]:
    """Return the path of a service's certificate below MAILROOM_HOME; empty where plaintext is allowed."""
    if not settings.encrypted:
        return {}
    identity = identity_in(settings.home / "tls", service)
    return {
        "MAILROOM_TLS_CERT": str(identity.certificate),
        "MAILROOM_TLS_KEY": str(identity.key),
        "MAILROOM_TLS_CA": str(identity.ca),
    }


def _sandbox(chosen: Mapping[str, str], port: int) -> dict[str, str]:
    browser = chosen.get("SANDBOX_PUBLIC_URL", f"http://localhost:{port}")
    server = f"http://127.0.0.1:{port}"  # no name to resolve, no IPv6 to try first
    client_id = chosen.get("SANDBOX_CLIENT_ID", DEV_CLIENT_ID)
    client_secret = chosen.get("SANDBOX_CLIENT_SECRET", DEV_CLIENT_SECRET)
    return {
        "SANDBOX_ENABLED": "true",
        "SANDBOX_PUBLIC_URL": browser,
        "SANDBOX_CLIENT_ID": client_id,
        "SANDBOX_CLIENT_SECRET": client_secret,
        "GOOGLE_CLIENT_ID": client_id,
        "GOOGLE_CLIENT_SECRET": client_secret,
        "GOOGLE_ISSUER": browser,
        "GOOGLE_AUTH_URL": f"{browser}/o/oauth2/v2/auth",
        "GOOGLE_TOKEN_URL": f"{server}/token",
        "GOOGLE_USERINFO_URL": f"{server}/v1/userinfo",
        "GOOGLE_JWKS_URL": f"{server}/oauth2/v3/certs",
        "GOOGLE_REVOKE_URL": f"{server}/revoke",
        "GMAIL_API_URL": server,
        "GMAIL_BATCH_URL": f"{server}/batch/gmail/v1",
        "CONSOLE_SANDBOX_URL": server,
    }


def _yandex(sandbox: Mapping[str, str], *, imap_port: str, home: Path) -> dict[str, str]:
    browser, server = sandbox["GOOGLE_ISSUER"], sandbox["GMAIL_API_URL"]
    authority = str(home / "sandbox-imap-ca.pem")
    return {
        "YANDEX_CLIENT_ID": sandbox["SANDBOX_CLIENT_ID"],
        "YANDEX_CLIENT_SECRET": sandbox["SANDBOX_CLIENT_SECRET"],
        "YANDEX_AUTH_URL": f"{browser}/yandex/authorize",
        "YANDEX_TOKEN_URL": f"{server}/yandex/token",
        "YANDEX_USERINFO_URL": f"{server}/yandex/info",
        "YANDEX_REVOKE_URL": f"{server}/yandex/revoke_token",
        "YANDEX_IMAP_HOST": "localhost",
        "YANDEX_IMAP_PORT": imap_port,
        "SANDBOX_IMAP_CA_FILE": authority,
        "IMAP_CA_FILE": authority,
    }


def _push(gateway_port: int) -> dict[str, str]:
    endpoint = f"http://127.0.0.1:{gateway_port}/hooks/google"
    return {
        "SANDBOX_PUSH_ENDPOINT": endpoint,
        "SANDBOX_PUSH_AUDIENCE": endpoint,
        "SANDBOX_PUSH_SERVICE_ACCOUNT": _PUSH_SERVICE_ACCOUNT,
        "GOOGLE_PUSH_AUDIENCE": endpoint,
        "GOOGLE_PUSH_SERVICE_ACCOUNT": _PUSH_SERVICE_ACCOUNT,
        "GMAIL_PUSH_TOPIC": "projects/sandbox/topics/mail",
    }


def _chosen(
    settings: Settings, defaults: Mapping[str, str], *, except_for: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the user's values for those of `defaults` that the user has set."""
    return {
        name: settings.variables[name]
        for name in defaults
        if name in settings.variables and name not in (except_for or {})
    }


def _check_secret_key(value: str | None) -> None:
    if value is not None and len(value) < _SECRET_KEY_LENGTH:
        raise StackError(
            f"SECRET_KEY has {len(value)} characters and needs {_SECRET_KEY_LENGTH}: leave it unset to have one "
            "generated, or make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
