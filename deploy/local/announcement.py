"""Text of `make run` once the stack is up: where everything is, and what to do next."""

from collections.abc import Mapping
from pathlib import Path

_ADMIN_PORTS = {
    "gateway": "GATEWAY_ADMIN_PORT",
    "auth": "AUTH_ADMIN_PORT",
    "mail": "MAIL_ADMIN_PORT",
    "worker": "WORKER_ADMIN_PORT",
    "console": "CONSOLE_ADMIN_PORT",
    "deliverer": "DELIVERER_ADMIN_PORT",
}
_WITH_SANDBOX = """\
  in a browser   the console: connect a mailbox (of the user 42, say; consent
                 as ada@example.com), then let mail arrive: its page Sandbox
"""
_WITHOUT_SANDBOX = """\
  in a browser   the console: connect a mailbox (of the user 42, say)
"""
_IN_A_TERMINAL = """\
  in a terminal  curl -s {api}/mailboxes \\
                   -H "Authorization: Bearer $(cat {key})"
                 README.md goes on from there
"""


def announcement(variables: Mapping[str, str], *, home: Path, sandbox: bool, moved: Mapping[str, int]) -> str:
    """Return the text for the stack with these variables; `moved` are usual ports that are taken, by variable."""
    api, key = variables["PUBLIC_URL"], home / "api-key"
    places = {
        "Console": f"{variables['CONSOLE_PUBLIC_URL']} (sign in with the API key)",
        "API key": str(key),
        "API": f"{api} ({api}/docs)",
        **({"Sandbox": variables["SANDBOX_PUBLIC_URL"]} if sandbox else {}),
        "Postgres": f"{variables['POSTGRES_HOST']}:{variables['POSTGRES_PORT']} (make psql)",
        "Valkey": f"{variables['REDIS_HOST']}:{variables['REDIS_PORT']} (make redis_cli)",
        "gRPC": f"auth {variables['AUTH_ADDRESS']}, mail {variables['MAIL_ADDRESS']}",
        "Metrics": ", ".join(f"{name} {variables[port]}" for name, port in _ADMIN_PORTS.items()),
        "Logs": str(home / "logs"),
    }
    for name, variable in {"Console": "CONSOLE_PORT", "Sandbox": "SANDBOX_PORT"}.items():
        if name in places and variable in moved:
            places[name] += f", since {moved[variable]} is taken"
    listed = "\n".join(f"  {name:<13}  {place}" for name, place in places.items())
    steps = (_WITH_SANDBOX if sandbox else _WITHOUT_SANDBOX) + _IN_A_TERMINAL.format(api=api, key=key)
    return f"\nMailroom is up.\n\n{listed}\n\nNext:\n\n{steps}\nCtrl-C stops everything.\n"
