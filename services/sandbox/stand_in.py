"""The stand-ins of further providers: what they share with the first one, and what each of them adds."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.routing import Route

from services.sandbox.clock import Clock
from services.sandbox.control.users import Grants
from services.sandbox.google.oauth.users import SandboxUsers
from services.sandbox.instruments.call_counts import CallCounts
from services.sandbox.instruments.faults import FaultPlan
from services.sandbox.mailboxes.history import Change
from services.sandbox.mailboxes.mailbox import Mailbox
from services.sandbox.mailboxes.registry import Mailboxes
from services.sandbox.oauth.clients import Clients
from services.sandbox.settings import Settings

type ChangeListener = Callable[[Mailbox, Change], None]
# Called with method, address of the user (None if unknown), and status of each call that was served.
type Observe = Callable[[str, str | None, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Users with their mailboxes, and the instruments, which serve every provider."""

    settings: Settings
    clock: Clock
    users: SandboxUsers
    clients: Clients
    mailboxes: Mailboxes
    faults: FaultPlan
    call_counts: CallCounts
    observe: Observe


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A stand-in at work: its routes with those of its control API, its grants, and its listener of changes."""

    routes: list[Route]
    grants: Grants
    changed: ChangeListener


type OpenStandIn = Callable[[Shared], AbstractAsyncContextManager[StandIn]]
