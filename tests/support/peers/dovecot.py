"""Dovecot (https://dovecot.org): an IMAP server in a directory of its own, on loopback, unprivileged."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from grp import getgrgid
from pathlib import Path
from tempfile import mkdtemp

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.mail.providers.imap.client.connection import Connection
from services.mail.providers.imap.client.dial import dial
from services.mail.providers.imap.client.login import Credentials, log_in, log_out
from tests.support.imap.scripted_server import client_tls, server_pem
from tests.support.peers.installation import FOLDER
from tests.support.peers.skips import require

ISSUER = "https://issuer.example/"
YANDEX_LIKE = "IMAP4rev1 CHILDREN UNSELECT LITERAL+ NAMESPACE UIDPLUS ENABLE ID IDLE MOVE"
"""What Yandex advertises, XLIST left out: Dovecot has no such command."""
_SECONDS = 10


@dataclass(frozen=True)
class Dovecot:
    """A running server. Every name is a user, with a mailbox from the first use on."""

    directory: Path
    port: int
    key: ec.EllipticCurvePrivateKey

    def token(self, user: str, *, seconds: float = 3600) -> str:
        """Return an access token that lasts so long."""
        claims = {"sub": user, "email": user, "iss": ISSUER, "exp": int(time.time() + seconds)}
        return jwt.encode(claims, self.key, algorithm="ES256")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Yield a connection before sign-in."""
        connection = await dial("localhost", self.port, tls=client_tls())
        try:
            yield connection
        finally:
            await log_out(connection)

    @asynccontextmanager
    async def session(self, user: str) -> AsyncIterator[Connection]:
        """Yield a connection of a user."""
        credentials = Credentials(user=user, token=self.token(user), host="localhost", port=self.port)
        async with self.connection() as connection:
            await log_in(connection, credentials)
            yield connection

    async def doveadm(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run a command of the administrator. Returns its output."""
        command = ["/usr/bin/doveadm", "-c", str(self.directory / "dovecot.conf"), *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, input=given, capture_output=True, check=False, timeout=_SECONDS
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def heard(self) -> bytes:
        """Return all that clients have sent after sign-in."""
        return b"".join(path.read_bytes() for path in (self.directory / "rawlog").glob("*.in"))

    async def save(self, user: str, folder: str, *messages: bytes) -> None:
        """Put messages into a folder, which is made where it is missing."""
        if folder.encode() not in (await self.doveadm("mailbox", "list", "-u", user)).split(b"\n"):
            await self.doveadm("mailbox", "create", "-u", user, folder)
        for message in messages:
            await self.doveadm("save", "-u", user, "-m", folder, given=message)


@contextmanager
def running_dovecot(*, capability: str = "", separator: str = "/", connections: int = 100) -> Iterator[Dovecot]:
    """Run a server. `capability` are all that it advertises after sign-in, by default all that it has."""
    program = require("/usr/sbin/dovecot", "Dovecot", source="debian")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("2.3."):
        pytest.skip(f"the configuration is for Dovecot 2.3, and this is {version}")
    # Unix sockets have short paths only.
    directory = Path(mkdtemp(prefix="dovecot-", dir="/tmp"))
    user = pwd.getpwuid(os.getuid()) if os.getuid() else pwd.getpwnam("nobody")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    values = {
        "DIR": str(directory),
        "NAME": directory.name,
        "USER": user.pw_name,
        "GROUP": getgrgid(user.pw_gid).gr_name,
        "PORT": str(port),
        "CAPABILITY": capability,
        "SEPARATOR": separator,
        "CONNECTIONS": str(connections),
        "ISSUER": ISSUER,
    }
    key = ec.generate_private_key(ec.SECP256R1())
    _write_files(directory, values, key)
    _give(directory, user)
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    process = subprocess.Popen([program, "-F", "-c", directory / "dovecot.conf"], **identity)  # type: ignore[call-overload]
    try:
        _wait_for_greeting(process, port, directory)
        yield Dovecot(directory, port, key)
    finally:
        process.terminate()
        process.wait(_SECONDS)
        shutil.rmtree(directory)


def _write_files(directory: Path, values: dict[str, str], key: ec.EllipticCurvePrivateKey) -> None:
    for name in ("dovecot.conf", "oauth2.conf"):
        text = (FOLDER / f"dovecot/{name}.in").read_text()
        for field, value in values.items():
            text = text.replace(f"@{field}@", value)
        (directory / name).write_text(text)
    (directory / "certificate.pem").write_bytes(server_pem("localhost"))
    keys = directory / "keys/default/ES256"
    keys.mkdir(parents=True)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (keys / "default").write_bytes(public)
    for name in ("run", "state", "mail", "home", "rawlog"):
        (directory / name).mkdir()


def _give(directory: Path, user: pwd.struct_passwd) -> None:
    """Let the user that Dovecot becomes own everything: it keeps no mail as root."""
    if os.getuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)


def _wait_for_greeting(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        log = directory / "dovecot.log"
        assert process.poll() is None, log.read_text() if log.exists() else "Dovecot ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("Dovecot does not answer")
