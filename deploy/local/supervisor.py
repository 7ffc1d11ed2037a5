"""Starts processes in order, stops all when one ends, and leaves none behind."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
from watchfiles import awatch

from deploy.local.children import die_with_parent
from deploy.local.console import Console
from deploy.local.logs import ProcessLogs

_NAME = "mailroom"
_LONGEST_LINE = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process: it is ready when `ready_url` responds 200; changes in `watched` folders restart it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready_url: str
    directory: Path
    watched: Sequence[Path] = ()


class Server(Protocol):
    """A running server that the services depend on."""

    name: str
    log: Path

    def poll(self) -> int | None:
        """Return the exit code of a server that ended, None while it runs."""


@dataclass(slots=True)
class _Running:
    service: Service
    process: Process
    pump: asyncio.Task[None]
    watch: asyncio.Task[None]
    stopping: bool = False


class Supervisor:
    """Runs services until a signal, or until one of them dies.

    With `reload`, a change of watched files restarts a service, and a dead one waits for the next change instead of
    ending the stack. `grace` and `patience` are seconds: to stop, and to become ready.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        console: Console,
        logs: ProcessLogs,
        servers: Sequence[Server] = (),
        reload: bool = False,
        grace: float = 10.0,
        patience: float = 60.0,
    ) -> None:
        self._services = services
        self._servers = servers
        self._console = console
        self._logs = logs
        self._reload = reload
        self._grace = grace
        self._patience = patience
        self._running: dict[str, _Running] = {}
        self._changed: asyncio.Queue[list[Path]] = asyncio.Queue()
        self._end: asyncio.Future[str | None] | None = None

    async def run(self, *, when_ready: Callable[[], None]) -> int:
        """Start all, call `when_ready`, wait for the end, stop all in reverse order.

        Returns 0 after a signal (a second one kills), 1 when a process died or did not start.
        """
        loop = asyncio.get_running_loop()
        self._end = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                loop.add_signal_handler(number, self._interrupt)
        work = [self._watch_files(), self._watch_servers(), self._start_all(when_ready)]
        tasks = [asyncio.create_task(part) for part in work]
        for task in tasks:
            task.add_done_callback(self._report_crash)
        try:
            reason = await self._end
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_all()
        if reason is not None:
            self._say(reason)
        return 0 if reason is None else 1

    @property
    def ending(self) -> bool:
        """Whether the stack is stopping."""
        return self._end is not None and self._end.done()

    def stop(self) -> None:
        """Request the end, as a signal does."""
        self._finish(None)

    def _interrupt(self) -> None:
        if self._finish(None):
            self._say("stopping; interrupt again to kill")
        else:
            for running in self._running.values():
                if running.process.returncode is None:
                    _signal_group(running.process, signal.SIGKILL)

    def _finish(self, reason: str | None) -> bool:
        """Begin to stop; False when stopping already."""
        if self._end is None or self._end.done():
            return False
        self._end.set_result(reason)
        return True

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._finish(f"supervisor failed: {error!r}")

    async def _start_all(self, when_ready: Callable[[], None]) -> None:
        for service in self._services:
            if not await self._start(service) and not self._reload:
                return
        when_ready()
        while True:
            await self._restart(await self._changed.get())

    async def _start(self, service: Service) -> bool:
        """Start one service and wait until it is ready; False if it does not become ready."""
        process = await asyncio.create_subprocess_exec(
            *service.command,
            env=dict(service.environment),
            cwd=service.directory,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,  # Ctrl-C of the terminal is passed on in order
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        pump = asyncio.create_task(self._pump(service.name, process))
        watch = asyncio.create_task(self._watch(service, process))
        for task in (pump, watch):
            task.add_done_callback(self._report_crash)
        self._running[service.name] = _Running(service, process, pump, watch)
        return await self._wait_ready(service, process)

    async def _wait_ready(self, service: Service, process: Process) -> bool:
        ready = asyncio.create_task(_answers(service.ready_url))
        ended = asyncio.create_task(process.wait())
        try:
            done, _ = await asyncio.wait({ready, ended}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if not done:
            self._finish(f"{service.name} was not ready within {self._patience:.0f} s: stopped all")
        return ready in done

    async def _pump(self, name: str, process: Process) -> None:
        """Copy the output of a process line by line; an overlong line is split."""
        if process.stdout is None:
            return
        rest = b""
        while chunk := await process.stdout.read(_LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._write(name, line.rstrip(b"\r").decode(errors="replace"))
        if rest:
            self._write(name, rest.decode(errors="replace"))

    async def _watch(self, service: Service, process: Process) -> None:
        code = await process.wait()
        if self._running[service.name].stopping:
            return
        _signal_group(process, signal.SIGKILL)  # other processes of its group
        if self._reload:
            self._say(f"{service.name} {_ending(code)}: waiting for a change of its files")
        else:
            self._finish(f"{service.name} {_ending(code)}: stopped all")

    async def _watch_servers(self) -> None:
        while True:
            for server in self._servers:
                if (code := server.poll()) is not None:
                    self._finish(f"{server.name} {_ending(code)}, see {server.log}: stopped all")
            await asyncio.sleep(0.25)

    async def _watch_files(self) -> None:
        folders = {folder for service in self._services for folder in service.watched if self._reload}
        if folders:
            async for changes in awatch(*sorted(folders), raise_interrupt=False):
                self._changed.put_nowait([Path(path) for _, path in changes])

    async def _restart(self, paths: Sequence[Path]) -> None:
        """Restart every service with changed files in its watched folders."""
        for service in self._services:
            if any(path.is_relative_to(folder) for path in paths for folder in service.watched):
                self._say(f"{service.name}: files changed, restarting")
                await self._stop(self._running[service.name])
                await self._start(service)

    async def _stop_all(self) -> None:
        for running in reversed(self._running.values()):
            await self._stop(running)
        self._running.clear()

    async def _stop(self, running: _Running) -> None:
        running.stopping = True
        if running.process.returncode is None:  # else the pid may be reused by now
            _signal_group(running.process, signal.SIGTERM)
            try:
                async with asyncio.timeout(self._grace):
                    await running.process.wait()
            except TimeoutError:
                self._say(f"{running.service.name} did not stop within {self._grace:.0f} s: killed")
            _signal_group(running.process, signal.SIGKILL)  # the process, or others of its group
            await running.process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.gather(running.pump, running.watch, return_exceptions=True)

    def _say(self, text: str) -> None:
        self._write(_NAME, text)

    def _write(self, name: str, text: str) -> None:
        self._logs.write(name, text)
        try:
            self._console.line(name, text)
        except BrokenPipeError:
            self._finish("the reader of the output has gone: stopped all")


async def _answers(url: str) -> None:
    """Return whether `url` responds 200."""
    async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get(url)).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS reports a group of zombies as the latter
        os.killpg(process.pid, number)
