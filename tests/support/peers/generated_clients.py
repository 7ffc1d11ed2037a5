"""Clients that generators of others make from the OpenAPI document of the gateway."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.gateway.document import openapi_document
from tests.support.peers.installation import FOLDER, VENV
from tests.support.peers.skips import require

_SECONDS = 300
# Formats that the generator knows by no name of their own.
_CONFIG = """\
content_type_overrides:
  application/x-ndjson: application/octet-stream
  message/rfc822: application/octet-stream
  "*/*": application/octet-stream
"""


def written_document(folder: Path) -> Path:
    """Write the document into a folder."""
    path = folder / "openapi.json"
    path.write_text(json.dumps(openapi_document()))
    return path


def python_client(document: Path) -> Path:
    """Return the folder of a client by openapi-python-client, which fails for whatever it would leave out."""
    program = require(VENV / "bin/openapi-python-client", "openapi-python-client", source="pypi")
    config, client = document.with_name("config.yml"), document.with_name("python_client")
    config.write_text(_CONFIG)
    files = ["--path", str(document), "--config", str(config), "--output-path", str(client)]
    # It formats with the ruff beside it.
    _run(
        [program, "generate", *files, "--meta", "none", "--fail-on-warning"],
        {"PATH": f"{VENV}/bin:{os.environ['PATH']}"},
    )
    return client


def mypy_errors(client: Path) -> list[str]:
    """Return the findings of mypy --strict in a generated client.

    Those of client.py, the same text for every document, are left out.
    """
    command = [str(VENV / "bin/mypy"), "--strict", "--no-incremental", client.name]
    done = subprocess.run(command, cwd=client.parent, capture_output=True, text=True, check=False, timeout=_SECONDS)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line and f"{client.name}/client.py:" not in line]


def typescript(generator: str, document: Path, program: str = "") -> str:
    """Return the TypeScript that a generator writes, once tsc --strict has accepted it and a program that uses it."""
    require(shutil.which("node"), "Node", source="debian")
    require(FOLDER / "node_modules/.installed", "generators of TypeScript", source="npm")
    folder = document.with_name(generator)
    if generator == "openapi-typescript":
        _run([_npm("openapi-typescript"), document, "--output", folder / "schema.ts"])
    else:
        _run([_npm("openapi-ts"), "--input", document, "--output", folder])
    sources = sorted(folder.rglob("*.ts"))
    user = folder / "program.ts"
    user.write_text(program)
    options = (
        "--strict --noEmit --target es2022 --lib es2023,dom,dom.iterable --module esnext --moduleResolution bundler"
    )
    _run([_npm("tsc"), *options.split(), *sources, user])
    return "\n".join(source.read_text() for source in sources)


def _npm(program: str) -> Path:
    return FOLDER / "node_modules/.bin" / program


def _run(command: Sequence[str | Path], more: Mapping[str, str] | None = None) -> None:
    environment = {"PATH": os.environ["PATH"], **(more or {})}
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
