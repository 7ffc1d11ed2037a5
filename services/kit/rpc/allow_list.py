"""Which service may call which: a list of callers per RPC service; what is on no list is refused."""

from collections.abc import Mapping
from typing import Any

import structlog
from grpc import StatusCode, aio

# RPC service (`package.Service`) to the names in its callers' certificates.
type Callers = Mapping[str, frozenset[str]]

HEALTH = "grpc.health.v1.Health"
_NAMES = "x509_subject_alternative_name"

log = structlog.get_logger()


class AllowList:
    """Refuses calls to RPC services that are not listed, and by callers whose certificate names nobody on the list.

    Without encryption (`identified` false) callers have no name, and anybody may call what is listed. Anybody with a
    valid certificate may ask for health.
    """

    def __init__(self, callers: Callers, *, identified: bool) -> None:
        self._callers = callers
        self._identified = identified

    async def check(self, method: str, context: aio.ServicerContext[Any, Any]) -> None:
        """Ends the call of `/package.Service/Method` with PERMISSION_DENIED unless it is allowed."""
        service = method[1:].rpartition("/")[0]
        if service == HEALTH:
            return
        allowed = self._callers.get(service)
        if allowed is not None:
            if not self._identified:
                return
            names = [name.decode(errors="replace") for name in context.auth_context().get(_NAMES, ())]
            if not allowed.isdisjoint(names):
                return
        else:
            names = []
        log.error("call refused", method=method, caller=names)
        # No ErrorInfo: to whom the caller serves it is a fault of ours, not something that they may not do.
        await context.abort(StatusCode.PERMISSION_DENIED, "The caller may not use this service.")
