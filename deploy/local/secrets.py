"""The secrets of each process: those that its settings read, and no other's."""

from collections.abc import Mapping

from pydantic import SecretStr

from services.auth.command_settings import AuthKeySettings, AuthMigrationSettings
from services.auth.settings import AuthSettings
from services.console.settings import ConsoleSettings
from services.gateway.settings import GatewaySettings
from services.kit.settings import Settings
from services.mail.settings import DelivererSettings, MailMigrationSettings, MailSettings, WorkerSettings
from services.sandbox.settings import Settings as SandboxSettings

# By the name of a process, or of a command: `auth.migrations`, `auth.command`.
PROCESSES: Mapping[str, type[Settings]] = {
    "sandbox": SandboxSettings,
    "auth": AuthSettings,
    "mail": MailSettings,
    "worker": WorkerSettings,
    "deliverer": DelivererSettings,
    "gateway": GatewaySettings,
    "console": ConsoleSettings,
    "auth.migrations": AuthMigrationSettings,
    "mail.migrations": MailMigrationSettings,
    "auth.command": AuthKeySettings,
}
# A process enters its database with the first of these that it has and that is set.
_POSTGRES = (
    *("DELIVERER_POSTGRES_PASSWORD", "WORKER_POSTGRES_PASSWORD", "MAIL_POSTGRES_PASSWORD", "AUTH_POSTGRES_PASSWORD"),
    "POSTGRES_PASSWORD",
)


def own_environment(environment: Mapping[str, str], *, process: str) -> dict[str, str]:
    """Return the environment without the secrets of other processes, and without files of these.

    The passwords of other roles at Postgres are for migrations, and for a process without a role of its own.
    """
    settings = PROCESSES[process]
    foreign = _every_secret() - _secrets_of(settings)
    if not process.endswith(".migrations"):
        foreign |= _passwords_of_others(settings, environment)
    return {name: value for name, value in environment.items() if name not in foreign}


def _passwords_of_others(settings: type[Settings], environment: Mapping[str, str]) -> frozenset[str]:
    """Return the variables of the passwords at Postgres that the process reads and does not use."""
    known = [name for name in _POSTGRES if name in _secrets_of(settings)]
    own = next((name for name in known if environment.get(name) or environment.get(f"{name}_FILE")), None)
    others = known[known.index(own) + 1 :] if own else []
    return frozenset(variable for name in others for variable in (name, f"{name}_FILE"))


def _every_secret() -> frozenset[str]:
    return frozenset().union(*(_secrets_of(settings) for settings in PROCESSES.values()))


def _secrets_of(settings: type[Settings]) -> frozenset[str]:
    """Return the variables of the secrets among the settings, and those that name their files."""
    names = (
        str(field.validation_alias or name).upper()
        for name, field in settings.model_fields.items()
        if SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))
    )
    return frozenset(variable for name in names for variable in (name, f"{name}_FILE"))
