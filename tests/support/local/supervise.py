"""Runs the real supervisor over fake services, for tests that send it signals: `supervise.py JSON`.

`{"services": {name: [port, behaviour...]}, "grace": seconds, "patience": seconds, "logs": folder,
"reload": folder or null}`
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from deploy.local.console import Console
from deploy.local.logs import ProcessLogs
from deploy.local.supervisor import Service, Supervisor

_FAKE_SERVICE = Path(__file__).with_name("fake_service.py")


def main(plan: dict[str, object]) -> int:
    """Run until a signal or a death; the exit code is the supervisor's."""
    services, folder = plan["services"], plan["reload"]
    assert isinstance(services, dict)
    console = Console(sys.stdout)
    supervisor = Supervisor(
        [_service(name, *arguments, folder=folder) for name, arguments in services.items()],
        console=console,
        logs=ProcessLogs(Path(str(plan["logs"]))),
        reload=folder is not None,
        grace=float(str(plan["grace"])),
        patience=float(str(plan["patience"])),
    )
    return asyncio.run(supervisor.run(when_ready=lambda: console.plain("all ready")))


def _service(name: str, port: int, *behaviour: str, folder: object) -> Service:
    program = Path(str(folder)) / "fake_service.py" if folder else _FAKE_SERVICE
    return Service(
        name=name,
        command=[sys.executable, str(program), name, str(port), *behaviour],
        environment=dict(os.environ),
        ready_url=f"http://127.0.0.1:{port}/readyz",
        directory=Path.cwd(),
        watched=[Path(str(folder))] if folder else [],
    )


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
