"""The secrets of each process: those that its settings read, and no other's."""

from collections.abc import Mapping

from pydantic import SecretStr

from services.auth.settings import AuthDatabaseSettings, AuthKeySettings, AuthSettings
from services.gateway.settings import GatewaySettings
from services.kit.settings import Settings
from services.mail.settings import MailDatabaseSettings, MailSettings, WorkerSettings
from services.sandbox.settings import Settings as SandboxSettings

# By the name of a process, or of a command: `auth.migrations`, `auth.command`.
PROCESSES: Mapping[str, type[Settings]] = {
    "sandbox": SandboxSettings,
    "auth": AuthSettings,
    "mail": MailSettings,
    "worker": WorkerSettings,
    "gateway": GatewaySettings,
    "auth.migrations": AuthDatabaseSettings,
    "mail.migrations": MailDatabaseSettings,
    "auth.command": AuthKeySettings,
}
_ADMINISTRATORS = frozenset({"POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE"})


def own_environment(environment: Mapping[str, str], *, process: str) -> dict[str, str]:
    """Return the environment without the secrets of other processes, and without files of these.

    The password of Postgres's administrator is for migrations, and for a process without a role of its own.
    """
    settings = PROCESSES[process]
    foreign = _every_secret() - _secrets_of(settings)
    if not process.endswith(".migrations") and _has_a_role(settings, environment):
        foreign |= _ADMINISTRATORS
    return {name: value for name, value in environment.items() if name not in foreign}


def _has_a_role(settings: type[Settings], environment: Mapping[str, str]) -> bool:
    own = {name for name in _secrets_of(settings) if "_POSTGRES_PASSWORD" in name}
    return any(environment.get(name) for name in own)


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
