"""The callers that each RPC service allows; a service without a list is refused to all."""

from collections.abc import Mapping
from typing import Any

import structlog
from grpc import StatusCode, aio

# From RPC services (`package.Service`) to the DNS names in their callers' certificates.
type Callers = Mapping[str, frozenset[str]]

HEALTH = "grpc.health.v1.Health"
# A certificate's DNS names alone: a common name, an address or a URI names no service. Source:
# GRPC_PEER_DNS_PROPERTY_NAME of gRPC's security constants.
_NAMES = "peer_dns"

log = structlog.get_logger()


class AllowList:
    """The allow-list of a server: it refuses unlisted RPC services, and callers whose certificate is not on the list.

    In plaintext (`identified` false) callers have no name: every caller may call the listed services. Every caller with
    a valid certificate may call the health service.
    """

    def __init__(self, callers: Callers, *, identified: bool) -> None:
        self._callers = callers
        self._identified = identified

    async def check(self, method: str, context: aio.ServicerContext[Any, Any]) -> None:
        """End a call of `/package.Service/Method` with PERMISSION_DENIED unless it is allowed."""
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
        # No ErrorInfo: for the client at the gateway this is a defect of ours, not a missing permission of theirs.
        await context.abort(StatusCode.PERMISSION_DENIED, "The caller may not use this service.")
