"""`.env.example` lists every variable of the settings, with its default."""

import re
from collections.abc import Iterator
from pathlib import Path

from limits import RateLimitItem
from opentelemetry.sdk import environment_variables
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from services.auth.command_settings import AuthMigrationSettings
from services.auth.settings import AuthSettings
from services.console.settings import ConsoleSettings
from services.gateway.settings import GatewaySettings
from services.kit.settings import Settings
from services.mail.settings import DelivererSettings, MailMigrationSettings, MailSettings, WorkerSettings
from services.sandbox.settings import Settings as SandboxSettings

ROOT = Path(__file__).parents[2]
SETTINGS: tuple[type[Settings], ...] = (
    *(AuthSettings, GatewaySettings, ConsoleSettings, MailSettings, WorkerSettings, DelivererSettings),
    SandboxSettings,
    *(AuthMigrationSettings, MailMigrationSettings),
)
OF_OPENTELEMETRY = {environment_variables.OTEL_TRACES_SAMPLER, environment_variables.OTEL_TRACES_SAMPLER_ARG}
OF_THE_EMBEDDED_STACK = {"MAILROOM_HOME", "MAILROOM_SANDBOX"}
# An embedded or composed stack sets these for its processes; each follows from another variable.
FOLLOWING = {"PUBLIC_URL", "GOOGLE_REDIRECT_URI", "SANDBOX_PUBLIC_URL"}


def _listed() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"#([A-Z_0-9]+)=(.*)", line))}


def _read() -> Iterator[tuple[str, FieldInfo]]:
    for settings in SETTINGS:
        for name, field in settings.model_fields.items():
            yield str(field.validation_alias or name).upper(), field


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, RateLimitItem):
        return f"{default.amount}/{default.GRANULARITY.name}"
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_the_file_lists_exactly_the_variables_that_are_read() -> None:
    assert set(_listed()) == {name for name, _ in _read()} | OF_OPENTELEMETRY | OF_THE_EMBEDDED_STACK


def test_the_embedded_stack_reads_the_variables_that_no_service_reads() -> None:
    source = "".join(path.read_text() for path in (ROOT / "deploy/local").glob("*.py"))
    assert {name for name in OF_THE_EMBEDDED_STACK if f'"{name}"' not in source} == set()


def test_the_values_shown_are_the_defaults() -> None:
    defaults: dict[str, set[str]] = {}
    for name, field in _read():
        if field.default is not None and not field.is_required():
            defaults.setdefault(name, set()).add(_shown(field.default))
    listed = _listed()
    differing = {name: (listed[name], known) for name, known in defaults.items() if listed[name] not in known}
    assert {name: pair for name, pair in differing.items() if name not in FOLLOWING} == {}


def test_every_variable_has_an_explanation_and_is_commented_out() -> None:
    lines = [line for line in (ROOT / ".env.example").read_text().splitlines() if line]
    for before, line in zip(["", *lines], lines, strict=False):
        assert line.startswith("#"), line
        if re.match(r"#[A-Z]", line):
            assert before.startswith("# "), f"{line} is not explained"


def test_variables_of_the_compose_files_are_listed() -> None:
    files = [ROOT / "docker-compose.yml", *(ROOT / "deploy/compose").iterdir()]
    text = "\n".join(path.read_text() for path in files)
    named = {*re.findall(r"\$\{([A-Z_0-9]+)", text), *re.findall(r"^ *([A-Z_0-9]+):?$", text, re.MULTILINE)}
    assert "GATEWAY_PORT" in named
    assert "WORKER_SLOTS" in named
    assert named <= _listed().keys()
