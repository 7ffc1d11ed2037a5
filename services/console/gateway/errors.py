"""How a call of the gateway fails."""


class GatewayError(Exception):
    """The base of both failures. `retry_after` is in seconds, None where the gateway named no time."""

    code = "gateway_unreachable"
    status = 502
    detail = "The gateway did not answer."
    request_id: str | None = None
    retry_after: int | None = None


class UnreachableError(GatewayError):
    """No whole answer came, or none of Mailroom's."""


class SandboxUnreachableError(GatewayError):
    """The sandbox gave no whole answer."""

    code = "sandbox_unreachable"
    detail = "The sandbox did not answer."


class RefusedError(GatewayError):
    """A problem that the gateway answered (RFC 9457)."""

    def __init__(
        self, *, status: int, code: str, detail: str, request_id: str | None, retry_after: int | None = None
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after
