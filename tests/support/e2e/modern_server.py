"""The file that makes the sandbox's second IMAP server a provider of its own, as docs/any-imap.md says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import Ports
from services.sandbox.settings import DEV_CLIENT_ID, DEV_CLIENT_SECRET

NAME = "modern"
_TABLE = """
[{name}]
client_id = "{client_id}"
client_secret = "{client_secret}"
authorization_url = "http://localhost:{port}/yandex/authorize"
token_url = "http://127.0.0.1:{port}/yandex/token"
scopes = ["login:email", "mail:imap_full"]
mail_scopes = ["mail:imap_full"]

[{name}.userinfo]
url = "http://127.0.0.1:{port}/yandex/info"
scheme = "OAuth"
subject = "id"
address = "default_email"

[{name}.imap]
host = "localhost"
port = {imap_port}
"""


@contextmanager
def modern_server(home: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of a stack that has this provider. Its ports are held while the block lasts."""
    ports = Ports()
    port, imap_port = ports.free(), ports.free()
    file = home / "providers.toml"
    file.write_text(
        _TABLE.format(
            name=NAME, client_id=DEV_CLIENT_ID, client_secret=DEV_CLIENT_SECRET, port=port, imap_port=imap_port
        ),
        encoding="utf-8",
    )
    try:
        yield {"SANDBOX_PORT": str(port), "SANDBOX_IMAP_MODERN_PORT": str(imap_port), "PROVIDERS_FILE": str(file)}
    finally:
        ports.release()
