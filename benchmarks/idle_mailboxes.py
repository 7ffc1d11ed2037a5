"""Cost of idle mailboxes: CPU per check over all processes, while no mailbox changes.

Real Postgres, Valkey, worker and sandbox. Mailboxes share the sandbox's users, and this process stands in for auth (its
CPU counts, too). CPU is dearer on a machine that others use: a bare update of a row and a bare request to the sandbox
are measured in the same run, and a check is told as a multiple of the two. Prints JSON lines and a table; exits 1 above
the goal.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx
from google.protobuf.timestamp_pb2 import Timestamp
from mailroom.auth.v1 import auth_pb2, auth_pb2_grpc

from benchmarks.process_cpu import cpu_seconds
from services.auth.rpc import CALLERS
from services.kit.rpc.server import serve_rpc
from services.mail.model import Lane
from tests.support.e2e.running_stack import RunningStack, running_stack

GOAL_MS = 4.5
_SERVICES = ("worker", "sandbox", "mail", "gateway", "auth")
# Bare updates and bare requests that are measured.
_BARE = 1_000
USERS = 100
SCOPES = "openid email https://www.googleapis.com/auth/gmail.readonly"
REDIRECT = "http://localhost:1/callback"


class Tokens(auth_pb2_grpc.ProviderTokenServiceServicer):
    """Stand-in for auth that returns the sandbox's access tokens; an account's number determines its user."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens

    async def GetAccessToken(self, request, context):  # type: ignore[no-untyped-def]  # noqa: ARG002, N802
        """Implements the contract's method."""
        expires = Timestamp()
        expires.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        token = self._tokens[UUID(request.account_id).int % USERS]
        return auth_pb2.GetAccessTokenResponse(access_token=token, expire_time=expires)


async def measure(stack: RunningStack, *, mailboxes: int, poll: float, seconds: float) -> dict[str, float]:
    """Fill the database, let the worker warm up for two polls, then count checks and CPU."""
    tokens, cursors = await sign_in(stack)
    register = [partial(auth_pb2_grpc.add_ProviderTokenServiceServicer_to_server, Tokens(tokens))]
    async with serve_rpc(host="127.0.0.1", port=0, register=register, callers=CALLERS, identity=None) as port:
        await fill(stack, mailboxes=mailboxes, cursors=cursors, poll=poll)
        bare = await measure_bare(stack, token=tokens[0])
        # All intervals are the shortest, and more of the day than usual may be spent on checks.
        stack.start(
            "worker",
            AUTH_ADDRESS=f"127.0.0.1:{port}",
            MAIL_POLL_SECONDS=str(poll),
            MAIL_POLL_LONGEST_SECONDS=str(poll),
            GMAIL_IDLE_SHARE="0.8",
            MAILROOM_INSECURE_GRPC="true",
        )
        await asyncio.sleep(2 * poll)
        before, looks = cpu(stack), await count_looks(stack)
        await asyncio.sleep(seconds)
        after, looks = cpu(stack), await count_looks(stack) - looks
    spent = {name: (after[name] - before[name]) * 1000 / looks for name in after}
    total = sum(spent.values())
    ratio = total / sum(bare.values())
    return {"looks": looks, "looks_per_second": looks / seconds, **spent, "total": total, **bare, "ratio": ratio}


async def measure_bare(stack: RunningStack, *, token: str) -> dict[str, float]:
    """Return the milliseconds of CPU, over all processes, of an update of a row and of a request to the sandbox."""
    connection = await connect(stack)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False, headers=headers) as http:
        begun = sum(cpu(stack, services=["sandbox"]).values())
        for _ in range(_BARE):
            await connection.execute("UPDATE sync_states SET caught_up_at = now() WHERE mailbox_id = 1")
        updated = sum(cpu(stack, services=["sandbox"]).values())
        for _ in range(_BARE):
            (await http.get("/gmail/v1/users/me/profile")).raise_for_status()
        requested = sum(cpu(stack, services=["sandbox"]).values())
    await connection.close()
    return {
        "bare update": (updated - begun) * 1000 / _BARE,
        "bare request": (requested - updated) * 1000 / _BARE,
    }


def cpu(stack: RunningStack, *, services: Sequence[str] = _SERVICES) -> dict[str, float]:
    """Return the CPU seconds so far by process."""
    pids = {name: stack.pid(name) for name in services}
    pids |= {name: server.pid or 0 for name, server in stack.servers.items()}
    times = os.times()
    return {name: cpu_seconds(pid) for name, pid in pids.items()} | {"stand-in auth": times.user + times.system}


async def count_looks(stack: RunningStack) -> int:
    """Return how many history pages the worker has requested."""
    async with httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False) as http:
        users = (await http.get("/_sandbox/calls")).json()["users"]
    return sum(calls.get("gmail.history.list", 0) for calls in users.values())


async def sign_in(stack: RunningStack) -> tuple[list[str], list[int]]:
    """Return access tokens of the sandbox's users and their current cursors."""
    client = {"client_id": stack.variables["GOOGLE_CLIENT_ID"]}
    secret = {"client_secret": stack.variables["GOOGLE_CLIENT_SECRET"], "redirect_uri": REDIRECT}
    ask = {**client, "redirect_uri": REDIRECT, "response_type": "code", "scope": SCOPES, "access_type": "offline"}
    tokens, cursors = [], []
    async with httpx.AsyncClient(base_url=stack.sandbox_url, trust_env=False) as http:
        for number in range(USERS):
            await http.post("/_sandbox/users", json={"email": email(number), "messages": 3})
            page = {"account": email(number), "decision": "allow"}
            answer = await http.post("/o/oauth2/v2/auth", params=ask, data=page)
            code = httpx.URL(answer.headers["location"]).params["code"]
            exchange = {"grant_type": "authorization_code", "code": code, **client, **secret}
            token = (await http.post("/token", data=exchange)).json()["access_token"]
            profile = await http.get("/gmail/v1/users/me/profile", headers={"Authorization": f"Bearer {token}"})
            tokens.append(token)
            cursors.append(int(profile.json()["historyId"]))
    return tokens, cursors


def email(number: int) -> str:
    """Return a user's address."""
    return f"user{number}@example.com"


async def connect(stack: RunningStack) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to mail's database as its owner."""
    variables = stack.variables
    return await asyncpg.connect(
        host=variables["POSTGRES_HOST"],
        port=int(variables["POSTGRES_PORT"]),
        user=variables["POSTGRES_USER"],
        password=variables["POSTGRES_PASSWORD"],
        database=f"{variables['POSTGRES_DB']}_mail",
    )


async def fill(stack: RunningStack, *, mailboxes: int, cursors: list[int], poll: float) -> None:
    """Insert synced, idle mailboxes, due at times spread over one poll."""
    connection = await connect(stack)
    numbers = range(1, mailboxes + 1)
    await connection.execute(
        "INSERT INTO mailboxes (account_id, user_id, provider, email, status) "
        "SELECT id, id, 'google', email, 'active' FROM unnest($1::uuid[], $2::text[]) AS n(id, email)",
        [UUID(int=number) for number in numbers],
        [email(number % USERS) for number in numbers],
    )
    await connection.execute(
        "INSERT INTO sync_states (mailbox_id, cursor, caught_up_hint, caught_up_at, covered_all) "
        "SELECT mailbox_id, ($1::numeric[])[1 + substr(email, 5, strpos(email, '@') - 5)::int], 1, now(), true "
        "FROM mailboxes",
        cursors,
    )
    await connection.execute(
        "INSERT INTO mailbox_schedule (mailbox_id, lane, due_at) "
        "SELECT mailbox_id, $1, now() + make_interval(secs => $2 * random()) FROM mailboxes",
        Lane.IDLE,
        poll,
    )
    await connection.execute(
        "INSERT INTO watches (mailbox_id, expires_at, renew_at) "
        "SELECT mailbox_id, now() + interval '7 days', now() + interval '1 day' FROM mailboxes"
    )
    await connection.close()


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=10_000)
    parser.add_argument("--poll", type=float, default=60, help="seconds between two looks at a mailbox")
    parser.add_argument("--seconds", type=float, default=60, help="how long is measured")
    given = parser.parse_args()
    with ExitStack() as started:
        home = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="mailroom-idle-")))
        stack = started.enter_context(running_stack(home, own_servers=True, SANDBOX_USERS="", LOG_LEVEL="WARNING"))
        stack.stop("worker")
        measured = measure(stack, mailboxes=given.mailboxes, poll=given.poll, seconds=given.seconds)
        result = asyncio.run(measured)
    print(json.dumps({"mailboxes": given.mailboxes, **{name: round(value, 3) for name, value in result.items()}}))
    print(f"{given.mailboxes} idle mailboxes, {result['looks_per_second']:.0f} looks/s; ms CPU per look:")
    for name, value in result.items():
        if not name.startswith("looks"):
            print(f"  {name:14} {value:6.2f}")
    print(f"  {'goal':14} {GOAL_MS:6.2f}")
    return int(result["total"] > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
