"""`make demo`: starts a separate stack in a temporary home, takes the tour through it and removes it."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console as Screen

from deploy.local import placement, stack
from deploy.local.console import Console
from deploy.local.environment import demo_settings
from deploy.local.errors import StackError
from deploy.local.home import Home
from deploy.local.logs import ProcessLogs
from deploy.local.ports import Ports
from deploy.local.supervisor import Supervisor
from deploy.local.tour import Tour

_INTERRUPTED = 130
_LAST_LINES = 40


def run_demo(environment: Mapping[str, str]) -> int:
    """Return 0 if all steps of the tour succeeded."""
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="mailroom-demo-") as directory:
        home = Home(Path(directory))
        try:
            with home.lock():
                return _boot_and_tour(home, environment, screen)
        finally:
            placement.remove(home.path)


def _boot_and_tour(home: Home, environment: Mapping[str, str], screen: Screen) -> int:
    settings, ports = demo_settings(environment, home.path), Ports()
    screen.print("Starting Postgres, Valkey, Mailroom and a stand-in Google on free ports")
    with stack.servers(settings, home, ports) as started:
        variables = stack.all_variables(settings, home, ports, started)
        stack.migrate(settings, variables)
        log = home.logs / "processes.log"
        with log.open("w", encoding="utf-8") as output:
            services = stack.processes(settings, variables)
            supervisor = Supervisor(
                services, console=Console(output), logs=ProcessLogs(home.logs), servers=started.embedded
            )
            tour = Tour(variables["PUBLIC_URL"], variables["SANDBOX_PUBLIC_URL"], screen)
            try:
                return asyncio.run(_take(tour, supervisor))
            except StackError:
                last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
                screen.print("The last lines of the processes:", *last, sep="\n", markup=False, highlight=False)
                raise


async def _take(tour: Tour, supervisor: Supervisor) -> int:
    """Take the tour once the stack is ready, then stop the stack; the end of the stack ends the tour."""
    ready = asyncio.Event()
    running = asyncio.create_task(supervisor.run(when_ready=ready.set))
    touring = asyncio.create_task(_when(ready, tour))
    await asyncio.wait({running, touring}, return_when=asyncio.FIRST_COMPLETED)
    if supervisor.ending:
        touring.cancel()
        await asyncio.gather(touring, return_exceptions=True)  # its requests fail when the gateway stops
        if await running != 0:
            raise StackError("the stack ended before the demo did")
        return _INTERRUPTED
    supervisor.stop()
    await running
    touring.result()
    return 0


async def _when(ready: asyncio.Event, tour: Tour) -> None:
    await ready.wait()
    await tour.take()
