"""The package as it is published."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

CLIENT = Path(__file__).parents[3] / "clients/python"


def test_the_wheel_holds_the_typed_package_alone(tmp_path: Path) -> None:
    build = ["uv", "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", *build, str(CLIENT)], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    files = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(CLIENT / "src")) for path in (CLIENT / "src").rglob("*.py")}
    assert {"mailroom_client/py.typed", *modules} <= files
    assert {name.split("/")[0] for name in files} == {
        "mailroom_cli", "mailroom_client", "mailroom_client-0.1.0.dist-info",
    }  # fmt: skip


def test_help_loads_neither_the_client_nor_what_it_needs() -> None:
    code = (
        "import sys\nfrom mailroom_cli.main import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(sys.modules.keys() & {'httpx', 'pydantic', 'rich', 'mailroom_client', 'asyncio'})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_comes_as_soon_as_promised() -> None:
    nothing = min(_cpu_seconds("-c", "pass") for _ in range(4))
    shown = min(_cpu_seconds("-m", "mailroom_cli", "--help") for _ in range(4))
    # Twice a bare start and 100 ms, which are nine starts more on the machine of which that was said.
    assert shown <= 2 * nothing + max(0.1, 9 * nothing)


def _cpu_seconds(*arguments: str) -> float:
    """Run Python; return the seconds of CPU, which other work on the machine does not lengthen as it does real time."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_importing_it_loads_nothing_of_the_services() -> None:
    code = "import mailroom_client, sys; print({name.split('.')[0] for name in sys.modules} & {'services', 'deploy'})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
