"""The whole stack as real processes, each of which a test may kill and restart."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx

from deploy.local import stack
from deploy.local.children import die_with_parent
from deploy.local.environment import Settings
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.supervisor import Server, Service
from deploy.local.valkey import EmbeddedValkey
from services.kit.tls.authorities import public_authorities

READY_SECONDS = 60
STOP_SECONDS = 20
_PORTS = (
    "SANDBOX_PORT", "AUTH_PORT", "AUTH_ADMIN_PORT", "MAIL_PORT", "MAIL_ADMIN_PORT", "WORKER_ADMIN_PORT",
    "DELIVERER_ADMIN_PORT", "GATEWAY_ADMIN_PORT", "GATEWAY_PORT", "CONSOLE_PORT", "CONSOLE_ADMIN_PORT", "POSTGRES_PORT",
    "REDIS_PORT",
)  # fmt: skip

# What a developer's shell may hold, and what would lead a stack elsewhere.
_FOREIGN = ("POSTGRES_HOST", "REDIS_HOST", "GOOGLE_CLIENT_ID", "MAILROOM_SANDBOX", "SECRET_KEY")

# Tests send all requests from one address and for few users.
_UNLIMITED = {"GATEWAY_AUTH_LIMIT": "1000000/minute", "GATEWAY_USER_LIMIT": "10000000/minute"}


class RunningStack:
    """The services of one stack by name: sandbox, auth, mail, worker, gateway, console.

    Logs go to files of these names. `servers` are the embedded ones of the stack: postgres, valkey.
    """

    def __init__(
        self, services: list[Service], *, servers: Sequence[Server], variables: Mapping[str, str], logs: Path
    ) -> None:
        self.variables = variables
        self.servers = {
            server.name: server for server in servers if isinstance(server, EmbeddedPostgres | EmbeddedValkey)
        }
        self._services = {service.name: service for service in services}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = logs

    @property
    def gateway_url(self) -> str:
        """The address of the gateway."""
        return self.variables["PUBLIC_URL"]

    @property
    def sandbox_url(self) -> str:
        """The address of the sandbox."""
        return self.variables["SANDBOX_PUBLIC_URL"]

    def start_all(self, order: Sequence[str] = ()) -> None:
        """Start every service in `order`, or in the usual one without the console, which few tests look at."""
        for name in order or [name for name in self._services if name != "console"]:
            self.start(name)

    def add_twin(self, name: str, *, number: int = 2, **ports: int) -> str:
        """Add another instance of a service without starting it. Returns its name.

        `ports` are the variables in which it differs, its ..._ADMIN_PORT among them.
        """
        twin = _twin(self._services[name], number=number, ports=ports)
        self._services[twin.name] = twin
        return twin.name

    def start(self, name: str, *, command: Sequence[str] | None = None, **environment: str) -> None:
        """Start a service, with these variables over its own, and wait until it is ready.

        `command` replaces the service's own.
        """
        service = self._services[name]
        with self.log_file(name).open("ab") as log:
            process = subprocess.Popen(
                command or service.command,
                env={**service.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        self._processes[name] = process
        wait_for_answer(service.ready_url, process, log=self.log_file(name))

    def api_key(self, *options: str) -> str:
        """Make an API key by the server's command line; return its text."""
        auth = self._services["auth"]
        made = subprocess.run(
            [*auth.command, "api-key", *options], env=auth.environment, check=True, capture_output=True, text=True
        )
        return made.stdout.strip()

    def stop(self, name: str) -> int:
        """Stop a service gracefully. Returns its exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """Return the process id of a running service."""
        return self._processes[name].pid

    def running(self) -> list[str]:
        """Return the services that were started and not stopped."""
        return list(self._processes)

    def ended(self) -> list[str]:
        """Return the services that ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def stop_all(self) -> None:
        """End all running services, the last one started first."""
        for name in list(reversed(self._processes)):
            self.stop(name)

    def log_file(self, name: str) -> Path:
        """Return the output of a service since the stack's first start."""
        return self._logs / f"{name}.log"


def plain_environment(**chosen: str) -> dict[str, str]:
    """Return the environment of a shell for `make run` with servers of its own, on free ports where none is chosen."""
    return {**os.environ, **dict.fromkeys(_PORTS, "0"), **dict.fromkeys(_FOREIGN, ""), **chosen}


@contextmanager
def running_stack(
    home: Path, *, more_workers: int = 0, own_servers: bool = False, order: Sequence[str] = (), **chosen: str
) -> Iterator[RunningStack]:
    """Run a stack on free ports in `home` until the block ends; `chosen` are variables of the user.

    `more_workers` are called worker-2 and so on; `own_servers` are used even where the user names others. The services
    start in `order`, if given.
    """
    servers = {} if own_servers else _user_servers()
    settings = Settings({"MAILROOM_HOME": str(home), **_UNLIMITED, **dict.fromkeys(_PORTS, "0"), **servers, **chosen})
    record = Home(settings.home)
    ports = Ports()
    with ExitStack() as stopping:
        stopping.callback(ports.release)
        stopping.enter_context(record.lock())
        started = stopping.enter_context(stack.servers(settings, record, ports))
        variables = stack.all_variables(settings, record, ports, started)
        stack.migrate(settings, variables)
        services = stack.processes(settings, variables)
        running = RunningStack(services, servers=started.embedded, variables=variables, logs=home)
        for number in range(2, 2 + more_workers):
            running.add_twin("worker", number=number, WORKER_ADMIN_PORT=ports.free())
        stopping.callback(running.stop_all)
        running.start_all(order)
        yield running


def _twin(service: Service, *, number: int, ports: Mapping[str, int]) -> Service:
    [admin_port] = [port for name, port in ports.items() if name.endswith("_ADMIN_PORT")]
    variables = {name: str(port) for name, port in ports.items()}
    return replace(
        service,
        name=f"{service.name}-{number}",
        environment={**service.environment, **variables},
        ready_url=f"http://127.0.0.1:{admin_port}/readyz",
    )


def _user_servers() -> dict[str, str]:
    """Return POSTGRES_HOST, REDIS_HOST and related variables, if tests use the user's own servers."""
    prefixes = tuple(name for name in ("POSTGRES_", "REDIS_") if os.environ.get(f"{name}HOST"))
    return {name: value for name, value in os.environ.items() if prefixes and name.startswith(prefixes)}


def wait_for_answer(url: str, process: subprocess.Popen[bytes], *, log: Path) -> None:
    """Wait until `url` responds 200. Raises AssertionError with the end of the log after a time-out."""
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(trust_env=False, timeout=2, verify=public_authorities(trust_env=False)) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(httpx.TransportError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            time.sleep(0.02)
    raise AssertionError(f"{url} never became ready:\n{log.read_text(errors='replace')[-4000:]}")
