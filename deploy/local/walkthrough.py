"""Text of `make run` once the stack is up: all addresses, and the whole flow with curl."""

from collections.abc import Mapping
from pathlib import Path

from deploy.local.stack import FIRST_REDIRECT_URL

_PROOF = """\
  # The proof that whoever redeems a sign-in has begun it (PKCE): a random verifier, and its SHA-256 as the challenge
  prove() {{
    VERIFIER=$(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')
    CHALLENGE=$(python3 -c 'import base64,hashlib,sys; d=hashlib.sha256(sys.argv[1].encode()).digest()
print(base64.urlsafe_b64encode(d).decode().rstrip("="))' "$VERIFIER")
  }}
"""
_SIGN_IN_WITH_SANDBOX = """\
  # Sign in: the sandbox's consent page, answered without a browser
  prove
  URL=$(curl -s "{gateway}/auth/google/start?code_challenge=$CHALLENGE" \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["authorization_url"])')
  CALLBACK=$(curl -s -o /dev/null -w '%{{redirect_url}}' -d account=ada@example.com -d decision=allow "$URL")
  BACK=$(curl -s -o /dev/null -w '%{{redirect_url}}' "$CALLBACK")
  TOKEN=$(curl -s {gateway}/auth/token -H 'Content-Type: application/json' \\
    -d "{{\\"state\\": \\"${{BACK##*state=}}\\", \\"code_verifier\\": \\"$VERIFIER\\"}}" \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
"""
_SIGN_IN_WITH_GOOGLE = """\
  # Sign in: open authorization_url in a browser; Google sends it on to {frontend}?state=LOGIN_CODE
  prove
  curl -s "{gateway}/auth/google/start?code_challenge=$CHALLENGE"
  TOKEN=$(curl -s {gateway}/auth/token -H 'Content-Type: application/json' \\
    -d "{{\\"state\\": \\"LOGIN_CODE\\", \\"code_verifier\\": \\"$VERIFIER\\"}}" \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
"""
_READ = """\
  # Sync the newest 100 messages, then read
  curl -s -w '\\n' {gateway}/mailboxes -H "Authorization: Bearer $TOKEN"
  curl -s -w '\\n' {gateway}/emails/sync -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -H 'Prefer: wait=30' -d '{{"email": "{email}", "count": 100}}'
  curl -s -w '\\n' "{gateway}/emails?email={email}&limit=5" -H "Authorization: Bearer $TOKEN"
"""
_KEY = """\
  # As a back end, without a sign-in of its own (docs/applications.md): the first API key, and a user that you call 42
  KEY=$(cat {key})
  SESSION=$(curl -s {gateway}/connect/sessions -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
    -d '{{"external_user_id": "42", "redirect_url": "{redirect_url}", "provider": "google"}}')
  PAGE=$(echo "$SESSION" | python3 -c 'import json,sys; print(json.load(sys.stdin)["url"])')
  ID=$(echo "$SESSION" | python3 -c 'import json,sys; print(json.load(sys.stdin)["id"])')
"""
_CONNECT_WITH_SANDBOX = """\
  # Connect a mailbox: the page of the session and the sandbox's consent page, answered without a browser
  URL=$(curl -s -o /dev/null -w '%{{redirect_url}}' -X POST "$PAGE&provider=google")
  CALLBACK=$(curl -s -o /dev/null -w '%{{redirect_url}}' -d account=grace@example.org -d decision=allow "$URL")
  BACK=$(curl -s -o /dev/null -w '%{{redirect_url}}' "$CALLBACK")
  curl -s -w '\\n' {gateway}/connect/sessions/$ID/complete -H "Authorization: Bearer $KEY" \\
    -H 'Content-Type: application/json' -d "{{\\"code\\": \\"${{BACK##*code=}}\\"}}"
"""
_CONNECT_WITH_GOOGLE = """\
  # Connect a mailbox: open the page in a browser; at the end it goes to {redirect_url}?session=...&code=CODE
  echo "$PAGE"
  curl -s -w '\\n' {gateway}/connect/sessions/$ID/complete -H "Authorization: Bearer $KEY" \\
    -H 'Content-Type: application/json' -d '{{"code": "CODE"}}'
"""
_READ_WITH_THE_KEY = """\
  # The key reads all mailboxes of the application
  curl -s -w '\\n' {gateway}/mailboxes -H "Authorization: Bearer $KEY"
  curl -s -w '\\n' "{gateway}/emails?email={email}&limit=5" -H "Authorization: Bearer $KEY"
"""
_ADMIN_PORTS = {
    "gateway": "GATEWAY_ADMIN_PORT",
    "console": "CONSOLE_ADMIN_PORT",
    "auth": "AUTH_ADMIN_PORT",
    "mail": "MAIL_ADMIN_PORT",
    "worker": "WORKER_ADMIN_PORT",
}


def walkthrough(variables: Mapping[str, str], *, home: Path, sandbox: bool) -> str:
    """Return the text for the stack with these variables."""
    gateway = variables["PUBLIC_URL"]
    email = "ada@example.com" if sandbox else "you@example.com"
    places = {
        "API": gateway,
        "API docs": f"{gateway}/docs",
        "Console": f"{variables['CONSOLE_PUBLIC_URL']} (sign in with the API key below)",
        **({"Sandbox": variables["SANDBOX_PUBLIC_URL"]} if sandbox else {}),
        "Postgres": f"{variables['POSTGRES_HOST']}:{variables['POSTGRES_PORT']} (make psql)",
        "Valkey": f"{variables['REDIS_HOST']}:{variables['REDIS_PORT']} (make redis_cli)",
        "gRPC": f"auth {variables['AUTH_ADDRESS']}, mail {variables['MAIL_ADDRESS']}",
        "Metrics": ", ".join(f"{name} {variables[port]}" for name, port in _ADMIN_PORTS.items())
        + " (/metrics, /readyz)",
        "State": str(home),
        "API key": str(home / "api-key"),
        "Logs": str(home / "logs"),
    }
    listed = "\n".join(f"  {name:<12} {place}" for name, place in places.items())
    frontend = variables.get("FRONTEND_REDIRECT_URL", "http://localhost:3000/your-frontend")
    signed_in = _PROOF + (_SIGN_IN_WITH_SANDBOX if sandbox else _SIGN_IN_WITH_GOOGLE) + _READ
    by_key = _KEY + (_CONNECT_WITH_SANDBOX if sandbox else _CONNECT_WITH_GOOGLE) + _READ_WITH_THE_KEY
    flow = (signed_in + by_key).format(
        gateway=gateway, email=email, frontend=frontend, key=home / "api-key", redirect_url=FIRST_REDIRECT_URL
    )
    return (
        f"\nMailroom is up.\n\n{listed}\n\nThe whole flow, in another terminal:\n\n{flow}\nCtrl-C stops everything.\n"
    )
